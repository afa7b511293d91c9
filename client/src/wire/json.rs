//! JSON bodies and their conversion to the canonical types.

use fairlane_types::{
    BlockHeader, BlockId, Certificate, ChainId, CtId, Digest, Envelope, Epoch, Height, Item, KeyId,
    Label, MemberId, MerkleProof, Micros, Millis, Outcome, Position, PublicKey, Receipt, Root, Seq,
    SequencedBlock, Signature,
};
use serde::{Deserialize, Serialize};

/// A `u64` or a newtype around one as a decimal string.
pub mod dec {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the string.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads the string; refuses signs, blanks, leading zeros and numbers.
    ///
    /// # Errors
    /// The deserializer's, or that the text is not a decimal `u64`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        parse(&text)
            .ok_or_else(|| D::Error::custom(format!("expected a decimal string, not {text:?}")))
    }

    pub(crate) fn parse(text: &str) -> Option<u64> {
        let canonical = text == "0" || !text.starts_with(['0', '+', '-']);
        text.parse().ok().filter(|_| canonical)
    }
}

/// An optional `u64` as a decimal string.
pub mod dec_option {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the string or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the string or null.
    ///
    /// # Errors
    /// The deserializer's, or that the text is not a decimal `u64`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = <Option<std::borrow::Cow<'de, str>>>::deserialize(from)? else {
            return Ok(None);
        };
        super::dec::parse(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("expected a decimal string, not {text:?}")))
    }
}

/// A JSON body whose parts do not make a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

/// `GET /v1/info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoBody {
    /// Version of the member's program.
    pub version: String,
    /// Version of this API.
    pub api: u32,
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Hash of the genesis file.
    pub genesis: Digest,
    /// Whether unsafe things are allowed on this chain.
    pub experiment: bool,
    /// This member.
    pub member: u8,
    /// Members.
    pub members: u8,
    /// Quorum.
    pub quorum: u8,
    /// Members whose shares open an order.
    pub threshold: u8,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Encryption scheme.
    pub scheme: String,
    /// Encryption key.
    pub key_id: KeyId,
    /// The last emitted block.
    pub head: Head,
    /// The first height that is served.
    #[serde(with = "dec")]
    pub first_available: u64,
    /// This member's clock, ms since the Unix epoch.
    #[serde(with = "dec")]
    pub now_ms: u64,
    /// Limits that this member holds requests to.
    pub limits: Limits,
}

/// The last emitted block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Height; 0 before the first block.
    #[serde(with = "dec")]
    pub height: u64,
    /// Root after it.
    pub root: Root,
    /// Finalized time, ms.
    #[serde(with = "dec")]
    pub time_ms: u64,
    /// Position of the next item.
    #[serde(with = "dec")]
    pub next_position: u64,
}

/// Limits of a member's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest body of one order, bytes.
    pub order_bytes: u32,
    /// Most envelopes in a batch.
    pub batch: u32,
    /// Largest payload before encryption, bytes.
    pub payload_bytes: u32,
    /// An expiry lies at most this far ahead of finalized time, ms.
    #[serde(with = "dec")]
    pub ttl_ms: u64,
    /// Most blocks in a page.
    pub blocks: u32,
    /// Longest wait of a submission, ms.
    #[serde(with = "dec")]
    pub wait_ms: u64,
}

/// `GET /v1/epochs/{n|current}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochBody {
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Hash of the genesis file that all of this follows from.
    pub genesis: Digest,
    /// Identity keys in the order of member ids.
    pub members: Vec<MemberBody>,
    /// Quorum.
    pub quorum: u8,
    /// Members whose shares open an order.
    pub threshold: u8,
    /// Scheme.
    pub scheme: String,
    /// Suite number for the label.
    pub suite: u8,
    /// Key id for the label.
    pub key_id: KeyId,
    /// Public key and verification keys in the scheme's encoding.
    #[serde(with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// First height of the epoch.
    #[serde(with = "dec")]
    pub first_height: u64,
    /// Last height of the epoch, none while it runs.
    #[serde(with = "dec_option")]
    pub last_height: Option<u64>,
}

/// A member of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberBody {
    /// Member id.
    pub id: u8,
    /// Identity key.
    pub key: PublicKey,
}

/// A label in JSON; reserved bytes are zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelBody {
    /// Encryption suite.
    pub suite: u8,
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Key the order is encrypted to.
    pub key_id: KeyId,
    /// The account.
    pub sender: PublicKey,
    /// Any unused number.
    #[serde(with = "dec")]
    pub nonce: u64,
    /// Last finalized time at which the order may be decrypted, ms.
    #[serde(with = "dec")]
    pub expiry_ms: u64,
    /// Must be 0 for now.
    #[serde(with = "dec")]
    pub fee: u64,
    /// Primary member, 255 for none.
    pub lane: u8,
}

impl From<&Label> for LabelBody {
    fn from(label: &Label) -> Self {
        Self {
            suite: label.suite,
            chain: label.chain.0,
            key_id: label.key_id,
            sender: label.sender,
            nonce: label.nonce,
            expiry_ms: label.expiry.0,
            fee: label.fee,
            lane: label.lane,
        }
    }
}

impl From<LabelBody> for Label {
    fn from(body: LabelBody) -> Self {
        Self {
            suite: body.suite,
            chain: ChainId(body.chain),
            key_id: body.key_id,
            sender: body.sender,
            nonce: body.nonce,
            expiry: Millis(body.expiry_ms),
            fee: body.fee,
            lane: body.lane,
            reserved: [0; 19],
        }
    }
}

/// An envelope in JSON: its three parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeBody {
    /// Public part.
    pub label: LabelBody,
    /// Sealed part.
    #[serde(with = "hex::serde")]
    pub ciphertext: Vec<u8>,
    /// By the sender over label ‖ ciphertext.
    pub signature: Signature,
}

impl From<&Envelope> for EnvelopeBody {
    fn from(envelope: &Envelope) -> Self {
        Self {
            label: LabelBody::from(&envelope.label),
            ciphertext: envelope.ciphertext.clone(),
            signature: envelope.signature,
        }
    }
}

impl From<EnvelopeBody> for Envelope {
    fn from(body: EnvelopeBody) -> Self {
        Self {
            label: body.label.into(),
            ciphertext: body.ciphertext,
            signature: body.signature,
        }
    }
}

/// A receipt in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptBody {
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// The order.
    pub id: CtId,
    /// The member that signs.
    pub lane: u8,
    /// Batch number in its lane.
    #[serde(with = "dec")]
    pub seq: u64,
    /// Entry number in the batch.
    pub entry: u32,
    /// When the lane recorded it, µs.
    #[serde(with = "dec")]
    pub stamp_us: u64,
    /// By the member's identity key.
    pub signature: Signature,
}

impl From<&Receipt> for ReceiptBody {
    fn from(receipt: &Receipt) -> Self {
        Self {
            chain: receipt.chain.0,
            epoch: receipt.epoch.0,
            id: receipt.ct_id,
            lane: receipt.lane.0,
            seq: receipt.seq.0,
            entry: receipt.entry,
            stamp_us: receipt.stamp.0,
            signature: receipt.signature,
        }
    }
}

impl From<ReceiptBody> for Receipt {
    fn from(body: ReceiptBody) -> Self {
        Self {
            chain: ChainId(body.chain),
            epoch: Epoch(body.epoch),
            ct_id: body.id,
            lane: MemberId(body.lane),
            seq: Seq(body.seq),
            entry: body.entry,
            stamp: Micros(body.stamp_us),
            signature: body.signature,
        }
    }
}

/// Where an order is (`received → laned → final → opened | …`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderWord {
    /// Held, not yet in a durable batch.
    Received,
    /// In a lane.
    Laned,
    /// Its place is final.
    Final,
    /// Decrypted.
    Opened,
    /// Malformed by its maker's doing.
    Undecryptable,
    /// Past its expiry, never decrypted.
    Expired,
    /// Another order with the same sender and nonce came first.
    DuplicateNonce,
}

impl OrderWord {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Laned => "laned",
            Self::Final => "final",
            Self::Opened => "opened",
            Self::Undecryptable => "undecryptable",
            Self::Expired => "expired",
            Self::DuplicateNonce => "duplicate_nonce",
        }
    }

    /// Whether nothing more will happen to the order.
    #[must_use]
    pub const fn is_done(self) -> bool {
        !matches!(self, Self::Received | Self::Laned | Self::Final)
    }
}

impl From<&Outcome> for OrderWord {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Opened { .. } => Self::Opened,
            Outcome::Undecryptable => Self::Undecryptable,
            Outcome::Expired => Self::Expired,
            Outcome::DuplicateNonce => Self::DuplicateNonce,
        }
    }
}

/// `GET /v1/orders/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBody {
    /// The order.
    pub id: CtId,
    /// Where it is.
    pub status: OrderWord,
    /// Height it came out of, once final.
    #[serde(with = "dec_option")]
    pub height: Option<u64>,
    /// Its global position, once emitted.
    #[serde(with = "dec_option")]
    pub position: Option<u64>,
    /// The item as emitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemBody>,
}

/// Answer to `POST /v1/orders`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitBody {
    /// The signed acknowledgement.
    pub receipt: ReceiptBody,
    /// Where the order is; with a wait, at least what was waited for.
    pub order: OrderBody,
}

/// An item of the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    /// Global number.
    #[serde(with = "dec")]
    pub position: u64,
    /// The order.
    pub id: CtId,
    /// Its public label.
    pub label: LabelBody,
    /// The key it was ordered by, µs.
    #[serde(with = "dec")]
    pub stamp_us: u64,
    /// What became of it.
    pub outcome: OrderWord,
    /// What the sender sealed, if opened.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_option")]
    pub payload: Option<Vec<u8>>,
    /// Proof that this is the payload, if opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Digest>,
}

mod hex_option {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(bytes) => to.serialize_str(&hex::encode(bytes)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        <Option<std::borrow::Cow<'de, str>>>::deserialize(from)?
            .map(|text| hex::decode(&*text).map_err(D::Error::custom))
            .transpose()
    }
}

impl From<&Item> for ItemBody {
    fn from(item: &Item) -> Self {
        let (payload, opening) = match &item.outcome {
            Outcome::Opened { payload, opening } => (Some(payload.clone()), Some(Digest(*opening))),
            _ => (None, None),
        };
        Self {
            position: item.position.0,
            id: item.ct_id,
            label: LabelBody::from(&item.label),
            stamp_us: item.stamp.0,
            outcome: OrderWord::from(&item.outcome),
            payload,
            opening,
        }
    }
}

impl TryFrom<ItemBody> for Item {
    type Error = WireError;
    fn try_from(body: ItemBody) -> Result<Self, WireError> {
        let outcome = match (body.outcome, body.payload, body.opening) {
            (OrderWord::Opened, Some(payload), Some(opening)) => Outcome::Opened {
                payload,
                opening: opening.0,
            },
            (OrderWord::Undecryptable, None, None) => Outcome::Undecryptable,
            (OrderWord::Expired, None, None) => Outcome::Expired,
            (OrderWord::DuplicateNonce, None, None) => Outcome::DuplicateNonce,
            (word, ..) => {
                return Err(WireError(format!(
                    "item {}: outcome {} does not fit its payload and opening",
                    body.position,
                    word.word()
                )));
            }
        };
        Ok(Self {
            position: Position(body.position),
            label: body.label.into(),
            ct_id: body.id,
            stamp: Micros(body.stamp_us),
            outcome,
        })
    }
}

/// A block of the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockBody {
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Height.
    #[serde(with = "dec")]
    pub height: u64,
    /// The final block.
    pub block: BlockId,
    /// Finalized time, ms.
    #[serde(with = "dec")]
    pub time_ms: u64,
    /// Root of the block before.
    pub parent_root: Root,
    /// Position of the first item.
    #[serde(with = "dec")]
    pub first_position: u64,
    /// Items in order.
    pub items: Vec<ItemBody>,
    /// Digest of the order rule's state, every K blocks.
    pub state: Option<Digest>,
    /// Root after this block.
    pub root: Root,
}

impl From<&SequencedBlock> for BlockBody {
    fn from(block: &SequencedBlock) -> Self {
        Self {
            chain: block.chain.0,
            epoch: block.epoch.0,
            height: block.height.0,
            block: block.block,
            time_ms: block.time.0,
            parent_root: block.parent_root,
            first_position: block.first_position.0,
            items: block.items.iter().map(ItemBody::from).collect(),
            state: block.state,
            root: block.root,
        }
    }
}

impl TryFrom<BlockBody> for SequencedBlock {
    type Error = WireError;
    fn try_from(body: BlockBody) -> Result<Self, WireError> {
        Ok(Self {
            chain: ChainId(body.chain),
            epoch: Epoch(body.epoch),
            height: Height(body.height),
            block: body.block,
            time: Millis(body.time_ms),
            parent_root: body.parent_root,
            first_position: Position(body.first_position),
            items: body
                .items
                .into_iter()
                .map(Item::try_from)
                .collect::<Result<_, _>>()?,
            state: body.state,
            root: body.root,
        })
    }
}

/// `GET /v1/orders/{id}/proof`: the envelope, and that its item is under the block's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofBody {
    /// The envelope as carried in lanes; none once pruned.
    pub envelope: Option<EnvelopeBody>,
    /// The item.
    pub item: ItemBody,
    /// Index of the item in its block.
    pub index: u32,
    /// Items in the block.
    pub len: u32,
    /// Merkle siblings, lowest first.
    pub siblings: Vec<Digest>,
    /// The block without its items.
    pub block: BlockBody,
}

impl ProofBody {
    /// The Merkle path.
    #[must_use]
    pub fn path(&self) -> MerkleProof {
        MerkleProof {
            index: self.index,
            len: self.len,
            siblings: self.siblings.clone(),
        }
    }
}

/// `GET /v1/evidence`: proofs of misbehaviour that a member keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceBody {
    /// Hash of the genesis that the accused are members of.
    pub genesis: Digest,
    /// At most 64, one an offence.
    pub evidence: Vec<EvidenceRecord>,
}

/// One proof; it convicts by itself, whoever hands it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRecord {
    /// `contradiction`, `lane_fork` or `false_shares`.
    pub kind: String,
    /// Member accused.
    pub accused: u8,
    /// The proof, borsh.
    #[serde(with = "hex::serde")]
    pub proof: Vec<u8>,
}

/// `GET /v1/certs/{height}`: q commit signatures on a block, and the headers down from it
/// to the height asked for (a block may be final through a descendant).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertBody {
    /// The height asked for.
    #[serde(with = "dec")]
    pub height: u64,
    /// The certificate, borsh.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// Headers from the certified block down to the one asked for, borsh.
    pub headers: Vec<String>,
    /// Members that signed.
    pub signers: Vec<u8>,
}

impl CertBody {
    /// From the parts.
    #[must_use]
    pub fn new(height: Height, certificate: &Certificate, headers: &[BlockHeader]) -> Self {
        Self {
            height: height.0,
            certificate: fairlane_types::encode(certificate),
            headers: headers
                .iter()
                .map(|header| hex::encode(fairlane_types::encode(header)))
                .collect(),
            signers: certificate.signers.iter().map(|member| member.0).collect(),
        }
    }

    /// The parts.
    ///
    /// # Errors
    /// [`WireError`] when they do not decode.
    pub fn parts(&self) -> Result<(Certificate, Vec<BlockHeader>), WireError> {
        let wrong = |error: String| WireError(format!("certificate of {}: {error}", self.height));
        let certificate: Certificate = fairlane_types::decode(&self.certificate, 64 << 10)
            .map_err(|e| wrong(e.to_string()))?;
        let headers = self
            .headers
            .iter()
            .map(|text| {
                let bytes = hex::decode(text).map_err(|e| wrong(e.to_string()))?;
                fairlane_types::decode(&bytes, 4 << 10).map_err(|e| wrong(e.to_string()))
            })
            .collect::<Result<_, _>>()?;
        Ok((certificate, headers))
    }
}

/// `GET /v1/status` of the ops port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusBody {
    /// This member.
    pub member: u8,
    /// Whether `/readyz` says yes.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// The last emitted block.
    pub head: Head,
    /// The first height that is served.
    #[serde(with = "dec")]
    pub first_available: u64,
    /// Consensus view.
    #[serde(with = "dec")]
    pub view: u64,
    /// Last final height.
    #[serde(with = "dec")]
    pub final_height: u64,
    /// Orders on their way at this member.
    #[serde(with = "dec")]
    pub orders_held: u64,
    /// So many may be on their way before submissions are refused.
    #[serde(with = "dec")]
    pub orders_held_max: u64,
    /// Members linked to this one.
    pub peers: Vec<u8>,
    /// Since the start, ms.
    #[serde(with = "dec")]
    pub uptime_ms: u64,
}

#[cfg(test)]
mod tests {
    use fairlane_types::{CertificateKind, SignerSet, View};

    use super::*;

    #[test]
    fn numbers_are_strings_and_nothing_else() {
        for text in [
            "\"07\"",
            "\"+7\"",
            "\"-0\"",
            "7",
            "\"\"",
            "\" 7\"",
            "\"18446744073709551616\"",
        ] {
            let json = format!(
                "{{\"height\":{text},\"root\":\"{0}\",\"time_ms\":\"0\",\"next_position\":\"0\"}}",
                "0".repeat(64)
            );
            assert!(serde_json::from_str::<Head>(&json).is_err(), "{text}");
        }
        let head = Head {
            height: u64::MAX,
            root: Root::default(),
            time_ms: 0,
            next_position: 9,
        };
        let json = serde_json::to_string(&head).unwrap();
        assert!(json.contains("\"18446744073709551615\""));
        assert_eq!(serde_json::from_str::<Head>(&json).unwrap(), head);
    }

    #[test]
    fn certificates_read_back() {
        let certificate = Certificate {
            kind: CertificateKind::Final,
            epoch: Epoch(0),
            view: View(1),
            height: Height(1),
            block: BlockId::default(),
            signers: SignerSet(0b111),
            dirty: SignerSet(0),
            signatures: vec![Signature::default(); 3],
        };
        let body = CertBody::new(Height(1), &certificate, &[]);
        assert_eq!(body.signers, [0, 1, 2]);
        assert_eq!(body.parts(), Ok((certificate, vec![])));
        let bad = CertBody {
            certificate: vec![1],
            ..body
        };
        assert!(bad.parts().is_err());
    }
}

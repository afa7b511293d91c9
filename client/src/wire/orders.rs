//! Orders on their way: envelopes, receipts, and where an order is.

use fairlane_types::{
    ChainId, CtId, Envelope, Epoch, KeyId, Label, MemberId, Micros, Millis, Outcome, PublicKey,
    Receipt, Seq, Signature,
};
use serde::{Deserialize, Serialize};

use super::blocks::ItemBody;
use super::number::{dec, dec_option};

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

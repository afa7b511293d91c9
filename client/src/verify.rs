//! What a consumer checks instead of trusting a member: receipts, parent links, roots,
//! openings, Merkle proofs and certificates.

use fairlane_encryption::{OpeningError, Suite, ThresholdScheme};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CertificateError, CertificateKind, CtId, Envelope, Height,
    Item, KeyId, MerkleProof, Outcome, Position, Receipt, Root, SequencedBlock,
};

use crate::wire::ProofBody;
use crate::{Cursor, Pin};

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The block is of another chain.
    #[error("block {0} is of another chain")]
    Chain(Height),
    /// A height is missing or comes twice.
    #[error("expected height {want}, got {got}")]
    Gap {
        /// Height that had to come.
        want: Height,
        /// Height that came.
        got: Height,
    },
    /// The parent link is broken: two histories.
    #[error("block {height} names parent root {got}, the block before has {want}")]
    Parent {
        /// Height.
        height: Height,
        /// Root it names.
        got: Root,
        /// Root of the block before.
        want: Root,
    },
    /// Positions are not dense.
    #[error("block {height}: position {got}, expected {want}")]
    Position {
        /// Height.
        height: Height,
        /// Position found.
        got: Position,
        /// Position expected.
        want: Position,
    },
    /// The root is not the one of the content.
    #[error("block {0}: the root does not fit its content")]
    Root(Height),
    /// A published payload is not what the ciphertext holds.
    #[error("order {id} at position {position}: {error}")]
    Opening {
        /// The order.
        id: CtId,
        /// Its position.
        position: Position,
        /// What does not fit.
        error: OpeningError,
    },
    /// It is sealed to a key that no hand-over up to here named.
    #[error("order {id} is sealed to key {key}, which is none of this chain's so far")]
    UnknownKey {
        /// The order.
        id: CtId,
        /// The key.
        key: KeyId,
    },
    /// An envelope is not the order it is served as.
    #[error("order {want}: the envelope served has id {got}")]
    OtherEnvelope {
        /// Order asked for.
        want: CtId,
        /// Order found.
        got: CtId,
    },
    /// A receipt is not by the member, or for another order.
    #[error("the receipt for {id} does not hold: {why}")]
    Receipt {
        /// The order.
        id: CtId,
        /// What does not fit.
        why: &'static str,
    },
    /// A proof does not lead to the root.
    #[error("the proof for {id} does not hold: {why}")]
    Proof {
        /// The order.
        id: CtId,
        /// What does not fit.
        why: String,
    },
    /// It does not lead to what the committee attested.
    #[error(transparent)]
    Attested(#[from] crate::AttestedError),
    /// A certificate does not prove the block final.
    #[error("certificate of height {height}: {why}")]
    Certificate {
        /// Height.
        height: Height,
        /// What does not fit.
        why: String,
    },
}

/// Follows the chain of roots from a cursor on; the only way a [`Cursor`] moves. It shows that
/// blocks belong together; that they are the committee's sequence takes its attestations.
#[derive(Clone, Debug)]
pub struct ChainVerifier {
    pin: Pin,
    cursor: Cursor,
}

impl ChainVerifier {
    /// Goes on after `cursor`.
    #[must_use]
    pub fn new(pin: Pin, cursor: Cursor) -> Self {
        Self { pin, cursor }
    }

    /// The last block that passed.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What is trusted.
    #[must_use]
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Trusts a later epoch's committee and keys from here on; what was followed stays.
    pub fn go_on(&mut self, pin: Pin) {
        self.pin = pin;
    }

    /// Checks the next block and moves on; on an error the cursor stays.
    ///
    /// # Errors
    /// [`VerifyError`] up to `Root`.
    pub fn accept(&mut self, block: &SequencedBlock) -> Result<(), VerifyError> {
        let (height, cursor) = (block.height, &self.cursor);
        if block.chain != self.pin.genesis().chain {
            return Err(VerifyError::Chain(height));
        }
        if height != cursor.next() {
            return Err(VerifyError::Gap {
                want: cursor.next(),
                got: height,
            });
        }
        if block.parent_root != cursor.root() {
            return Err(VerifyError::Parent {
                height,
                got: block.parent_root,
                want: cursor.root(),
            });
        }
        let positions = std::iter::once(block.first_position)
            .chain(block.items.iter().map(|item| item.position));
        let wanted = std::iter::once(0).chain(0..);
        for (got, offset) in positions.zip(wanted) {
            let want = cursor.next_position().plus(offset);
            if got != want {
                return Err(VerifyError::Position { height, got, want });
            }
        }
        if block.root != block.compute_root() {
            return Err(VerifyError::Root(height));
        }
        self.cursor.advance(block);
        Ok(())
    }
}

/// Checks that an opened item holds what was sealed in `envelope`; true if there was an opening
/// to check.
///
/// # Errors
/// [`VerifyError::OtherEnvelope`], [`VerifyError::Opening`].
pub fn check_opening(pin: &Pin, item: &Item, envelope: &Envelope) -> Result<bool, VerifyError> {
    let got = envelope.id();
    if got != item.ct_id || envelope.label != item.label {
        return Err(VerifyError::OtherEnvelope {
            want: item.ct_id,
            got,
        });
    }
    let Outcome::Opened { payload, opening } = &item.outcome else {
        return Ok(false);
    };
    let (id, key) = (item.ct_id, item.label.key_id);
    let key = pin
        .key_of(&key)
        .ok_or(VerifyError::UnknownKey { id, key })?;
    let label = item.label.to_bytes();
    Suite::verify_opening(key, &label, &envelope.ciphertext, opening, payload)
        .map(|()| true)
        .map_err(|error| VerifyError::Opening {
            id: item.ct_id,
            position: item.position,
            error,
        })
}

/// Checks that a receipt is for this order, by this committee's member.
///
/// # Errors
/// [`VerifyError::Receipt`].
pub fn check_receipt(pin: &Pin, id: CtId, receipt: &Receipt) -> Result<(), VerifyError> {
    let wrong = |why| VerifyError::Receipt { id, why };
    if receipt.ct_id != id {
        return Err(wrong("it is for another order"));
    }
    if receipt.chain != pin.genesis().chain {
        return Err(wrong("it is for another chain"));
    }
    let key = pin
        .committee()
        .key(receipt.lane)
        .ok_or_else(|| wrong("its signer is no member"))?;
    receipt
        .signature_check(key)
        .verify()
        .map_err(|_| wrong("its signature does not verify"))
}

/// Checks a proof: the item is under the block's root, and the opening, if the envelope is
/// there, is the one of its ciphertext. Gives the item and the root it is proven under.
///
/// # Errors
/// [`VerifyError`].
pub fn check_proof(pin: &Pin, id: CtId, proof: &ProofBody) -> Result<(Item, Root), VerifyError> {
    let wrong = |why: &str| VerifyError::Proof {
        id,
        why: why.into(),
    };
    let item = Item::try_from(proof.item.clone()).map_err(|error| wrong(&error.0))?;
    if item.ct_id != id {
        return Err(wrong("it is for another order"));
    }
    let block = SequencedBlock::try_from(proof.block.clone()).map_err(|error| wrong(&error.0))?;
    let path: MerkleProof = proof.path();
    let at = block.first_position.plus(u64::from(proof.index));
    if !block.items.is_empty() || item.position != at {
        return Err(wrong("block and position do not fit"));
    }
    let items = path
        .root(item.leaf())
        .ok_or_else(|| wrong("the Merkle path does not fit its index"))?;
    if block.root_over(items) != block.root {
        return Err(wrong("the Merkle path does not lead to the block's root"));
    }
    if let Some(envelope) = &proof.envelope {
        check_opening(pin, &item, &Envelope::from(envelope.clone()))?;
    }
    Ok((item, block.root))
}

/// Checks that `block` at `height` is final: a final certificate of the committee on it or
/// on a descendant, with the headers from there down to it.
///
/// # Errors
/// [`VerifyError::Certificate`].
pub fn verify_certificate(
    pin: &Pin,
    height: Height,
    block: BlockId,
    certificate: &Certificate,
    headers: &[BlockHeader],
) -> Result<(), VerifyError> {
    let wrong = |why: String| VerifyError::Certificate { height, why };
    if certificate.kind != CertificateKind::Final {
        return Err(wrong(CertificateError::NotFinal.to_string()));
    }
    let checks = certificate
        .checks(pin.genesis().chain, pin.committee())
        .map_err(|error| wrong(error.to_string()))?;
    for check in &checks {
        check.verify().map_err(|error| wrong(error.to_string()))?;
    }
    let (mut at, mut id) = (certificate.height, certificate.block);
    for header in headers {
        if at == height {
            break;
        }
        if header.id() != id || header.height != at {
            return Err(wrong("the headers do not link".into()));
        }
        (at, id) = (at.prev(), header.parent);
    }
    if at == height && id == block {
        Ok(())
    } else {
        Err(wrong("it proves another block".into()))
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{
        ChainId, Digest, Epoch, MemberId, Micros, Millis, SecretKey, Signature, SignerSet, View,
    };

    use super::*;
    use crate::testing::{opened_block, pin_of};
    use crate::wire::{BlockBody, EnvelopeBody, ItemBody};

    #[test]
    fn a_chain_passes_and_every_break_of_it_is_named() {
        let (pin, _) = pin_of(4);
        let start = Cursor::start(&pin);
        let (one, _) = opened_block(&pin, &start, 3);
        let mut verifier = ChainVerifier::new(pin.clone(), start.clone());
        verifier.accept(&one).unwrap();
        let (two, _) = opened_block(&pin, verifier.cursor(), 0);
        verifier.accept(&two).unwrap();
        assert_eq!(verifier.cursor().height(), Height(2));
        assert_eq!(verifier.cursor().next_position(), Position(3));
        // Twice, and out of order.
        assert!(matches!(
            verifier.accept(&two),
            Err(VerifyError::Gap { .. })
        ));
        let mut fresh = ChainVerifier::new(pin, start);
        assert!(matches!(fresh.accept(&two), Err(VerifyError::Gap { .. })));
        // Every field is bound.
        type Change = fn(&mut SequencedBlock);
        let changes: [(Change, &str); 7] = [
            (|b| b.chain = ChainId(99), "chain"),
            (|b| b.epoch = Epoch(1), "root"),
            (|b| b.time = Millis(1), "root"),
            (|b| b.parent_root = Root(Digest([1; 32])), "parent"),
            (|b| b.first_position = Position(1), "position"),
            (|b| b.items[1].position = Position(7), "position"),
            (|b| b.items[0].outcome = Outcome::Expired, "root"),
        ];
        for (change, word) in changes {
            let mut bad = one.clone();
            change(&mut bad);
            let error = fresh.accept(&bad).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert_eq!(fresh.cursor().height(), Height(0));
        }
    }

    #[test]
    fn openings_prove_the_payload_and_nothing_else() {
        let (pin, _) = pin_of(4);
        let start = Cursor::start(&pin);
        let (block, envelopes) = opened_block(&pin, &start, 2);
        let item = &block.items[0];
        assert_eq!(check_opening(&pin, item, &envelopes[0]), Ok(true));
        assert!(matches!(
            check_opening(&pin, item, &envelopes[1]),
            Err(VerifyError::OtherEnvelope { .. })
        ));
        let mut forged = item.clone();
        if let Outcome::Opened { payload, .. } = &mut forged.outcome {
            payload[1] ^= 1;
        }
        assert!(matches!(
            check_opening(&pin, &forged, &envelopes[0]),
            Err(VerifyError::Opening { .. })
        ));
        forged.outcome = Outcome::Expired;
        assert_eq!(check_opening(&pin, &forged, &envelopes[0]), Ok(false));
    }

    #[test]
    fn proofs_lead_to_the_root_or_are_refused() {
        let (pin, _) = pin_of(4);
        let (block, envelopes) = opened_block(&pin, &Cursor::start(&pin), 5);
        let leaves = block.leaves();
        for (index, item) in block.items.iter().enumerate() {
            let path = MerkleProof::new(&leaves, index).unwrap();
            let mut bare = BlockBody::from(&block);
            bare.items.clear();
            let proof = ProofBody {
                envelope: Some(EnvelopeBody::from(&envelopes[index])),
                item: ItemBody::from(item),
                index: path.index,
                len: path.len,
                siblings: path.siblings,
                block: bare,
            };
            let (proven, root) = check_proof(&pin, item.ct_id, &proof).unwrap();
            assert_eq!((&proven, root), (item, block.root));
            let other = CtId(Digest([9; 32]));
            assert!(check_proof(&pin, other, &proof).is_err());
            let mut bad = proof.clone();
            bad.siblings[0] = Digest([7; 32]);
            assert!(check_proof(&pin, item.ct_id, &bad).is_err());
            let mut bad = proof.clone();
            bad.item.stamp_us += 1;
            assert!(check_proof(&pin, item.ct_id, &bad).is_err());
            let mut bad = proof;
            bad.envelope = Some(EnvelopeBody::from(&envelopes[(index + 1) % 5]));
            assert!(check_proof(&pin, item.ct_id, &bad).is_err());
        }
    }

    #[test]
    fn receipts_are_for_one_order_by_one_member() {
        let (pin, keys) = pin_of(4);
        let id = CtId(Digest([3; 32]));
        let receipt = Receipt {
            chain: pin.genesis().chain,
            epoch: Epoch(0),
            ct_id: id,
            lane: MemberId(2),
            seq: fairlane_types::Seq(1),
            entry: 0,
            stamp: Micros(5),
            signature: Signature::default(),
        }
        .signed(&keys[2]);
        check_receipt(&pin, id, &receipt).unwrap();
        let mut bad = receipt.clone();
        bad.lane = MemberId(1);
        assert!(check_receipt(&pin, id, &bad).is_err());
        bad.lane = MemberId(9);
        assert!(check_receipt(&pin, id, &bad).is_err());
        assert!(check_receipt(&pin, CtId(Digest([4; 32])), &receipt).is_err());
    }

    #[test]
    fn a_certificate_proves_its_block_and_the_ancestors_its_headers_name() {
        let (pin, keys) = pin_of(4);
        let chain = pin.genesis().chain;
        let header = |height: u64, parent: BlockId| BlockHeader {
            chain,
            epoch: Epoch(0),
            view: View(height),
            height: Height(height),
            parent_view: View(height - 1),
            parent,
            proposer: MemberId(0),
            time: Millis(height),
            payload: Digest::default(),
        };
        let one = header(1, BlockId::default());
        let two = header(2, one.id());
        let commit = fairlane_types::Commit {
            epoch: Epoch(0),
            view: View(2),
            height: Height(2),
            block: two.id(),
        };
        let sign = |key: &SecretKey| commit.sign(key, chain);
        let mut certificate = Certificate {
            kind: CertificateKind::Final,
            epoch: Epoch(0),
            view: View(2),
            height: Height(2),
            block: two.id(),
            signers: SignerSet(0b111),
            dirty: SignerSet(0),
            signatures: keys[..3].iter().map(sign).collect(),
        };
        let headers = [two.clone()];
        let check = |height, id: BlockId, certificate: &Certificate| {
            verify_certificate(&pin, Height(height), id, certificate, &headers)
        };
        check(2, two.id(), &certificate).unwrap();
        check(1, one.id(), &certificate).unwrap();
        assert!(check(1, two.id(), &certificate).is_err());
        assert!(check(0, one.id(), &certificate).is_err());
        certificate.signatures[1] = Signature::default();
        assert!(check(2, two.id(), &certificate).is_err());
    }

    #[test]
    fn the_root_here_is_the_root_of_types() {
        let (pin, _) = pin_of(4);
        let (block, _) = opened_block(&pin, &Cursor::start(&pin), 2);
        let leaves = block.leaves();
        let items = fairlane_types::merkle_root(&leaves);
        assert_eq!(block.root_over(items), block.compute_root());
    }
}

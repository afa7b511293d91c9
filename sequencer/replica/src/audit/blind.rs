//! The blind-order receipt: what a trader keeps to show that an order's place was fixed by
//! data that existed before anybody could read it (F4, F6).
//!
//! Honest members release decryption shares for a block only once they hold a final
//! certificate for it (D1, D2). So it is enough to show that
//!
//! 1. a block is final: q commit signatures on it or on a descendant;
//! 2. its cut covers the order in the lanes of a quorum: from the batch that records it, headers
//!    link up to the head that the cut names. Batches are hashed, so nothing in them was chosen
//!    after the block was signed;
//! 3. the order stands at its position in the block of the sequence that belongs to this block,
//!    and the root of that is attested by the committee, where it has a key for that.
//!
//! That the position is the one which the rule gives for that cut is what `fairlane audit`
//! computes again; the receipt is a few kilobytes and the audit is all lanes.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{Attestation, Beacon, CERTIFICATE_KEY_BYTES, certificate_key};
use fairlane_mempool::{Batch, BatchHeader, Cut, Entry};
use fairlane_types::{
    BlockHeader, Certificate, Committee, CtId, Digest, Genesis, Height, Item, KeyActivation,
    MemberId, MerkleProof, Outcome, Position, SequencedBlock, TieSource,
};

use super::auditor::prove_final;
use crate::payload::payload_digest;

/// Largest encoding that is read, in bytes: a quorum of batches of full size.
pub const BLIND_BYTES_MAX: usize = 16 << 20;

/// All that shows it. Nobody is trusted for it but the genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlindReceipt {
    /// Hash of the genesis.
    pub genesis: Digest,
    /// The final block that fixes the place.
    pub header: BlockHeader,
    /// What it orders.
    pub cut: Cut,
    /// Digest of what rides with the cut in its block, if anything does.
    pub rider: Option<Digest>,
    /// Final certificate of it or of a descendant.
    pub certificate: Certificate,
    /// Headers from that descendant down to the block's child.
    pub descent: Vec<BlockHeader>,
    /// Where lanes record the order; each lane once.
    pub lanes: Vec<LanePath>,
    /// The order at its place.
    pub item: Item,
    /// From the item to the Merkle root of its block.
    pub path: MerkleProof,
    /// The block of the sequence, without its items.
    pub block: SequencedBlock,
    /// What broke the ties of the block, where the beacon does and something was tied.
    pub beacon: Option<Beacon>,
    /// The committee's signature on a root that covers the block; none on a chain without
    /// certificates.
    pub attested: Option<Attested>,
    /// The committee's word for the key of that signature, where its members made it.
    pub activation: Option<KeyActivation>,
}

/// A lane from the batch that records the order to the head of the cut.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LanePath {
    /// Which entry of the first batch.
    pub index: u32,
    /// Entries of the first batch.
    pub entries: Vec<Entry>,
    /// Headers of the batches, in order.
    pub headers: Vec<BatchHeader>,
}

/// A root at or above the block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attested {
    /// Blocks above, up to the height that is attested.
    pub above: Vec<Link>,
    /// The signature.
    pub attestation: Attestation,
}

/// A block of the sequence as far as its root needs it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Link {
    /// Without its items.
    pub block: SequencedBlock,
    /// Their Merkle root.
    pub items: Digest,
}

/// What a receipt shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Height of the final block.
    pub height: Height,
    /// Position in the sequence.
    pub position: Position,
    /// Lanes of the cut that have the order.
    pub lanes: usize,
    /// Height of the attestation.
    pub attested: Option<Height>,
    /// The beacon decided among orders with equal keys in this block.
    pub beacon: bool,
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlindError {
    /// It is about another chain.
    #[error("the receipt is about genesis {0}")]
    Genesis(Digest),
    /// The block is not one of this chain.
    #[error("the final block is of another chain or epoch")]
    Chain,
    /// The certificate does not prove the block final.
    #[error("its certificate proves nothing: {0}")]
    Certificate(String),
    /// The block does not commit to the cut.
    #[error("the final block does not commit to this cut")]
    Cut,
    /// A lane does not lead from the order to the cut.
    #[error("lane {lane}: {why}")]
    Lane {
        /// Lane.
        lane: MemberId,
        /// What does not fit.
        why: &'static str,
    },
    /// The order is in too few lanes of the cut to have been placed.
    #[error("{got} lanes of the cut have the order, placing it takes {want}")]
    Quorum {
        /// Found.
        got: usize,
        /// Needed.
        want: usize,
    },
    /// The item does not stand at its position in the block of this final block.
    #[error("the place does not hold: {0}")]
    Place(&'static str),
    /// What is said to have broken ties did not.
    #[error("the beacon does not hold: {0}")]
    Beacon(&'static str),
    /// The committee did not attest it.
    #[error("the attestation does not hold: {0}")]
    Attestation(&'static str),
}

impl BlindReceipt {
    /// The order.
    #[must_use]
    pub const fn ct_id(&self) -> CtId {
        self.item.ct_id
    }

    /// Checks all of it, against the genesis and its committee.
    ///
    /// # Errors
    /// The first [`BlindError`].
    pub fn check(&self, genesis: &Genesis, committee: &Committee) -> Result<Shown, BlindError> {
        if self.genesis != genesis.hash() {
            return Err(BlindError::Genesis(self.genesis));
        }
        let header = &self.header;
        if header.chain != genesis.chain || header.epoch != genesis.epoch() {
            return Err(BlindError::Chain);
        }
        let (chain, n) = (genesis.chain, committee.n());
        prove_final(
            chain,
            committee,
            header.id(),
            &self.certificate,
            &self.descent,
        )
        .map_err(BlindError::Certificate)?;
        if header.payload != payload_digest(self.cut.digest(), self.rider)
            || self.cut.heads.len() != n
        {
            return Err(BlindError::Cut);
        }
        let mut lanes = BTreeSet::new();
        for path in &self.lanes {
            lanes.insert(path.check(self.item.ct_id, &self.cut)?);
        }
        let placed = matches!(
            self.item.outcome,
            Outcome::Opened { .. } | Outcome::Undecryptable
        );
        // What expired or lost its nonce never had shares: one lane is enough for that.
        let want = if placed { n - committee.f() } else { 1 };
        if lanes.len() < want {
            let got = lanes.len();
            return Err(BlindError::Quorum { got, want });
        }
        self.check_place()?;
        let key = self.certificate_key(genesis, committee)?;
        let attested = self.check_attested(genesis, key.as_ref())?;
        self.check_beacon(genesis, key.as_ref())?;
        Ok(Shown {
            beacon: self.beacon.is_some(),
            height: header.height,
            position: self.item.position,
            lanes: lanes.len(),
            attested,
        })
    }

    fn check_place(&self) -> Result<(), BlindError> {
        let (block, header) = (&self.block, &self.header);
        let of_block = (block.chain, block.epoch, block.height, block.time);
        let wanted = (header.chain, header.epoch, header.height, header.time);
        if block.block != header.id() || of_block != wanted || !block.items.is_empty() {
            return Err(BlindError::Place("the sequence has another final block"));
        }
        if self.item.position != block.first_position.plus(u64::from(self.path.index)) {
            return Err(BlindError::Place("block and position do not fit"));
        }
        let items = self.path.root(self.item.leaf());
        let items = items.ok_or(BlindError::Place("the Merkle path does not fit its index"))?;
        if block.root_over(items) != block.root {
            return Err(BlindError::Place(
                "the Merkle path does not lead to the root",
            ));
        }
        Ok(())
    }

    /// There is one valid signature on the block, so that nobody chose what it decides. That
    /// something was tied, and how the beacon settles it, is in the lanes, for the audit.
    fn check_beacon(
        &self,
        genesis: &Genesis,
        key: Option<&[u8; CERTIFICATE_KEY_BYTES]>,
    ) -> Result<(), BlindError> {
        let wrong = |why| Err(BlindError::Beacon(why));
        let Some(beacon) = &self.beacon else {
            return Ok(());
        };
        if genesis.order.tie != TieSource::Beacon {
            return wrong("ties of this chain are broken by the block's id");
        }
        let header = &self.header;
        let wanted = (header.epoch, header.height, header.id());
        if (beacon.epoch, beacon.height, beacon.block) != wanted {
            return wrong("it is of another block");
        }
        match key {
            Some(key) if beacon.verify(key, genesis.chain) => Ok(()),
            _ => wrong("the signature is not the committee's"),
        }
    }

    /// The key of attestations and beacons, on a chain that has one.
    fn certificate_key(
        &self,
        genesis: &Genesis,
        committee: &Committee,
    ) -> Result<Option<[u8; CERTIFICATE_KEY_BYTES]>, BlindError> {
        let wrong = BlindError::Attestation;
        if genesis.certificates.is_none() {
            return Ok(None);
        }
        if let Some(activation) = &self.activation {
            let holds = activation.verify(genesis.chain, committee).is_ok();
            if !holds || activation.epoch != genesis.epoch() {
                return Err(wrong("the committee did not sign its key"));
            }
        }
        let key = certificate_key(genesis, self.activation.as_ref());
        let key = key.map_err(|_| wrong("the key is none of this committee"))?;
        let key = key.ok_or(wrong("the committee's word for its key is missing"))?;
        Ok(Some(*key.public_key()))
    }

    fn check_attested(
        &self,
        genesis: &Genesis,
        key: Option<&[u8; CERTIFICATE_KEY_BYTES]>,
    ) -> Result<Option<Height>, BlindError> {
        let wrong = BlindError::Attestation;
        let Some(key) = key else { return Ok(None) };
        let chain = genesis.chain;
        let attested = self.attested.as_ref();
        let attested = attested.ok_or(wrong("there is none, and the chain has a key for it"))?;
        let (mut height, mut root) = (self.block.height, self.block.root);
        for link in &attested.above {
            let block = &link.block;
            let follows = block.height == height.next() && block.parent_root == root;
            if !follows || block.root_over(link.items) != block.root {
                return Err(wrong("the blocks above do not link"));
            }
            (height, root) = (block.height, block.root);
        }
        let signed = &attested.attestation;
        if (signed.height, signed.root) != (height, root) {
            return Err(wrong("it is of another root"));
        }
        if !signed.verify(key, chain) {
            return Err(wrong("the signature is not the committee's"));
        }
        Ok(Some(height))
    }
}

impl LanePath {
    /// The lane, if it leads from an entry with this order to the cut.
    fn check(&self, order: CtId, cut: &Cut) -> Result<MemberId, BlindError> {
        let Some((first, above)) = self.headers.split_first() else {
            return Err(BlindError::Quorum { got: 0, want: 1 });
        };
        let lane = first.lane;
        let wrong = |why| Err(BlindError::Lane { lane, why });
        if first.entries != Batch::entries_digest(&self.entries) {
            return wrong("the entries are not those of the batch");
        }
        let entry = self.entries.get(self.index as usize);
        if entry.is_none_or(|entry| entry.ct_id != order) {
            return wrong("the batch does not record the order there");
        }
        let mut last = first;
        for header in above {
            let follows = (header.lane, header.seq) == (lane, last.seq.next());
            if !follows || header.parent != last.digest() {
                return wrong("the batches do not link");
            }
            last = header;
        }
        let head = cut.head(lane);
        if lane.index() >= cut.heads.len() || (head.seq, head.digest) != (last.seq, last.digest()) {
            return wrong("it does not end at the head of the cut");
        }
        Ok(lane)
    }
}

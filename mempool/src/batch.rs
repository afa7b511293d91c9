//! The lane batch (M1): its wire form, the header that commits to all of it, limits that
//! are checked before any work, and the proof that a lane forked.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    BatchDigest, ChainId, Committee, CtId, Digest, Domain, Envelope, Epoch, LaneParams, MemberId,
    Micros, PublicKey, Seq, SigCheck, Signature, SignatureError, Signer,
};

use crate::Holdings;

/// A batch may grow to this many times its normal size when the lane's window is full (M4).
pub const GROWTH_MAX: usize = 4;

/// One line of a lane (L1): which ciphertext, recorded when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// The ciphertext.
    pub ct_id: CtId,
    /// Microseconds from the entry's stamp to the batch's.
    pub back_us: u32,
}

/// A batch of a lane as it travels and as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Batch {
    /// Epoch of the lane.
    pub epoch: Epoch,
    /// Owner.
    pub lane: MemberId,
    /// Number in the lane, from 1.
    pub seq: Seq,
    /// Digest of the batch before; zero for the first.
    pub parent: BatchDigest,
    /// Sealing time: nothing below it will ever be added to the lane (L1).
    pub stamp: Micros,
    /// What the lane recorded, in order.
    pub entries: Vec<Entry>,
    /// Bytes of those entries whose primary is the owner (L6), in the order of the entries.
    pub payloads: Vec<Arc<Envelope>>,
    /// What the owner acknowledges (M2).
    pub holdings: Holdings,
    /// By the owner over [`BatchHeader::digest`]; zero until signed.
    pub signature: Signature,
}

/// Commits to everything in a batch; its digest is what is signed, chained and cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct BatchHeader {
    /// Epoch of the lane.
    pub epoch: Epoch,
    /// Owner.
    pub lane: MemberId,
    /// Number in the lane.
    pub seq: Seq,
    /// Digest of the batch before.
    pub parent: BatchDigest,
    /// Sealing time.
    pub stamp: Micros,
    /// Hash of the entries.
    pub entries: Digest,
    /// Hash of the payloads' (id, sender signature) pairs; an id commits to all the rest.
    pub payloads: Digest,
    /// Hash of the holdings.
    pub holdings: Digest,
}

/// A signed header without its body: half of a [`LaneFork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct SignedHeader {
    /// The header.
    pub header: BatchHeader,
    /// By the owner of the lane.
    pub signature: Signature,
}

/// Evidence of a fork (M1, PROTOCOL §8): two batches of one lane with one number. Anyone
/// who knows the committee can check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct LaneFork {
    /// One of them.
    pub first: SignedHeader,
    /// The other.
    pub second: SignedHeader,
}

/// Why two headers prove nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The headers are equal, or not about one place in one lane.
    #[error("the headers do not contradict each other")]
    NoContradiction,
    /// The lane's owner is not a member.
    #[error("lane {0} is not a member of the committee")]
    NoMember(MemberId),
    /// A signature fails.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// Limits of one batch and of a lane's window, derived from genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries at which a batch is sealed (M3).
    pub seal_entries: usize,
    /// Payload bytes at which a batch is sealed (M3).
    pub seal_bytes: usize,
    /// Most entries a batch may have; never more than a cut can take in one step.
    pub batch_entries: usize,
    /// Most payload bytes a batch may have.
    pub batch_bytes: usize,
    /// Most batches beyond the last final head (M4), and per lane in one cut.
    pub window_batches: u64,
    /// Most entries beyond the last final head (M4: E).
    pub window_entries: usize,
    /// Most payload bytes beyond the last final head (M4: B), and per lane in one cut.
    pub window_bytes: usize,
    /// Most entries per lane in one cut.
    pub cut_entries: usize,
}

impl Limits {
    /// From genesis. A batch never exceeds what one cut may add to its lane, or the lane
    /// could not advance any more.
    #[must_use]
    pub fn new(params: &LaneParams) -> Self {
        let window_entries = (params.window_entries as usize).max(1);
        let window_bytes = params.window_bytes as usize;
        let cut_entries = (params.cut_entries_max as usize).max(1);
        let batch_entries = (params.batch_entries_max as usize)
            .saturating_mul(GROWTH_MAX)
            .min(cut_entries)
            .min(window_entries)
            .max(1);
        let batch_bytes = (params.batch_bytes_max as usize)
            .saturating_mul(GROWTH_MAX)
            .min(window_bytes);
        Self {
            seal_entries: (params.batch_entries_max as usize).min(batch_entries),
            seal_bytes: (params.batch_bytes_max as usize).min(batch_bytes),
            batch_entries,
            batch_bytes,
            window_batches: u64::from(params.window_batches.max(1)),
            window_entries,
            window_bytes,
            cut_entries,
        }
    }

    /// Largest encoding of a batch: what a transport must let pass.
    #[must_use]
    pub const fn batch_wire_bytes(&self) -> usize {
        // Fixed fields and holdings of 100 lanes stay below 2 KiB.
        2_048 + self.batch_entries * 36 + self.batch_bytes
    }
}

/// Why a batch cannot be part of its lane: its owner (or whoever forwarded it) is faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    /// Wrong epoch.
    #[error("batch is of another epoch")]
    Epoch,
    /// The owner is not a member.
    #[error("batch is of a lane that does not exist")]
    Lane,
    /// Number 0.
    #[error("batches are numbered from 1")]
    Seq,
    /// More entries than allowed.
    #[error("batch has too many entries")]
    Entries,
    /// More payload bytes than allowed.
    #[error("batch has too many payload bytes")]
    Bytes,
    /// Holdings of a wrong number of lanes.
    #[error("holdings do not fit the committee")]
    Holdings,
    /// Stamps decrease inside the batch or against its parent (L1).
    #[error("stamps decrease")]
    Stamps,
    /// A payload that belongs to no entry, or out of their order.
    #[error("a payload belongs to no entry")]
    StrayPayload,
}

impl Batch {
    /// Payload bytes.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payloads.iter().map(|p| p.encoded_len()).sum()
    }

    /// When the lane recorded entry `index`; saturates for an index out of range.
    #[must_use]
    pub fn stamp_of(&self, index: usize) -> Micros {
        let back = self.entries.get(index).map_or(0, |e| e.back_us);
        self.stamp.minus(u64::from(back))
    }

    /// Cheap checks, before anything is hashed.
    ///
    /// # Errors
    /// [`BatchFault`] names the first limit or rule that is broken.
    pub fn check_shape(&self, epoch: Epoch, n: usize, limits: &Limits) -> Result<(), BatchFault> {
        let decreasing = self
            .entries
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.back_us < b.back_us));
        let before_zero = self
            .entries
            .first()
            .is_some_and(|e| u64::from(e.back_us) > self.stamp.0);
        match () {
            () if self.epoch != epoch => Err(BatchFault::Epoch),
            () if self.lane.index() >= n => Err(BatchFault::Lane),
            () if self.seq == Seq(0) => Err(BatchFault::Seq),
            () if self.entries.len() > limits.batch_entries => Err(BatchFault::Entries),
            () if self.payloads.len() > self.entries.len() => Err(BatchFault::StrayPayload),
            () if self.payload_bytes() > limits.batch_bytes => Err(BatchFault::Bytes),
            () if !self.holdings.fits(n) => Err(BatchFault::Holdings),
            () if decreasing || before_zero => Err(BatchFault::Stamps),
            () => Ok(()),
        }
    }

    /// Ids of the payloads, which must be a subsequence of the entries.
    ///
    /// # Errors
    /// [`BatchFault::StrayPayload`].
    pub fn payload_ids(&self) -> Result<Vec<CtId>, BatchFault> {
        let ids: Vec<_> = self.payloads.iter().map(|p| p.id()).collect();
        let mut entries = self.entries.iter();
        let in_order = ids.iter().all(|id| entries.any(|e| e.ct_id == *id));
        if in_order {
            Ok(ids)
        } else {
            Err(BatchFault::StrayPayload)
        }
    }

    /// What a header commits to as the entries.
    #[must_use]
    pub fn entries_digest(entries: &[Entry]) -> Digest {
        Domain::BatchEntries.hash_gathered(|bytes| {
            bytes.push(0);
            for entry in entries {
                bytes.extend_from_slice(entry.ct_id.as_bytes());
                bytes.extend_from_slice(&entry.back_us.to_le_bytes());
            }
        })
    }

    /// The header, given the ids of the payloads.
    #[must_use]
    pub fn header_with(&self, payload_ids: &[CtId]) -> BatchHeader {
        let payloads = Domain::BatchEntries.hash_gathered(|bytes| {
            bytes.push(1);
            for (id, envelope) in payload_ids.iter().zip(&self.payloads) {
                bytes.extend_from_slice(id.as_bytes());
                bytes.extend_from_slice(&envelope.signature.0);
            }
        });
        BatchHeader {
            epoch: self.epoch,
            lane: self.lane,
            seq: self.seq,
            parent: self.parent,
            stamp: self.stamp,
            entries: Self::entries_digest(&self.entries),
            payloads,
            holdings: self.holdings.digest(),
        }
    }

    /// The header; hashes all payloads.
    #[must_use]
    pub fn header(&self) -> BatchHeader {
        let ids: Vec<_> = self.payloads.iter().map(|p| p.id()).collect();
        self.header_with(&ids)
    }

    /// H(header).
    #[must_use]
    pub fn digest(&self) -> BatchDigest {
        self.header().digest()
    }
}

impl BatchHeader {
    /// H(header).
    #[must_use]
    pub fn digest(&self) -> BatchDigest {
        BatchDigest(Domain::Batch.hash_of(self))
    }

    /// Signs as the owner of the lane.
    #[must_use]
    pub fn sign(&self, key: &dyn Signer, chain: ChainId) -> Signature {
        key.sign(Domain::Batch, chain, self.epoch, self.digest().as_bytes())
    }

    /// The check that the owner's signature must pass.
    #[must_use]
    pub fn check(&self, key: &PublicKey, chain: ChainId, signature: Signature) -> SigCheck {
        self.check_with(&self.digest(), key, chain, signature)
    }

    /// The same, given the [`digest`](Self::digest).
    pub(crate) fn check_with(
        &self,
        digest: &BatchDigest,
        key: &PublicKey,
        chain: ChainId,
        signature: Signature,
    ) -> SigCheck {
        let body = digest.as_bytes();
        key.check(Domain::Batch, chain, self.epoch, body, signature)
    }
}

impl LaneFork {
    /// Whether this proves that the owner of the lane forked it.
    ///
    /// # Errors
    /// [`ForkError`] says why it does not.
    pub fn verify(&self, committee: &Committee, chain: ChainId) -> Result<MemberId, ForkError> {
        let (a, b) = (&self.first.header, &self.second.header);
        if (a.epoch, a.lane, a.seq) != (b.epoch, b.lane, b.seq) || a == b {
            return Err(ForkError::NoContradiction);
        }
        let key = committee.key(a.lane).ok_or(ForkError::NoMember(a.lane))?;
        for half in [&self.first, &self.second] {
            half.header.check(key, chain, half.signature).verify()?;
        }
        Ok(a.lane)
    }
}

//! Receipts against the lanes that gave them.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_mempool::{Batch, Entry, SignedHeader};
use fairlane_types::{ChainId, Committee, Epoch, MemberId, Receipt, Seq, SignatureError};

/// Proof that a member's lane does not say what its receipt said: two signatures of one
/// member that cannot both be an honest one's.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BrokenReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// The batch that the receipt names, signed by the same member.
    pub batch: SignedHeader,
    /// Its entries, to which the header commits.
    pub entries: Vec<Entry>,
}

/// Why a [`BrokenReceipt`] convicts nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenReceiptError {
    /// The signer of the receipt is not a member.
    #[error("member {0} is not in the committee")]
    NoMember(MemberId),
    /// The batch is not the one that the receipt names.
    #[error("the receipt names another batch")]
    OtherBatch,
    /// The header commits to other entries.
    #[error("the entries are not those of the batch")]
    OtherEntries,
    /// The lane says what the receipt says.
    #[error("the lane says what the receipt says")]
    Kept,
    /// A signature fails.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl BrokenReceipt {
    /// Whether this convicts a member.
    ///
    /// # Errors
    /// [`BrokenReceiptError`] says why it does not.
    pub fn verify(
        &self,
        chain: ChainId,
        committee: &Committee,
    ) -> Result<MemberId, BrokenReceiptError> {
        let (receipt, header) = (&self.receipt, &self.batch.header);
        let member = receipt.lane;
        let key = committee
            .key(member)
            .ok_or(BrokenReceiptError::NoMember(member))?;
        if receipt.chain != chain
            || (header.epoch, header.lane, header.seq) != (receipt.epoch, member, receipt.seq)
        {
            return Err(BrokenReceiptError::OtherBatch);
        }
        if header.entries != Batch::entries_digest(&self.entries) {
            return Err(BrokenReceiptError::OtherEntries);
        }
        receipt.signature_check(key).verify()?;
        header.check(key, chain, self.batch.signature).verify()?;
        let said = self.entries.get(receipt.entry as usize);
        let kept = said.is_some_and(|entry| {
            entry.ct_id == receipt.ct_id
                && header.stamp.minus(u64::from(entry.back_us)) == receipt.stamp
        });
        if kept {
            Err(BrokenReceiptError::Kept)
        } else {
            Ok(member)
        }
    }
}

/// Receipts that are to be held against the lanes, as those become final.
#[derive(Clone, Debug, Default)]
pub struct ReceiptBook {
    open: BTreeMap<(MemberId, Seq), Vec<Receipt>>,
    kept: u64,
    broken: Vec<BrokenReceipt>,
    contradicted: u64,
}

impl ReceiptBook {
    /// Adds a receipt of this chain whose signature verifies.
    ///
    /// # Errors
    /// Why it is no receipt of this committee.
    pub fn add(
        &mut self,
        receipt: Receipt,
        chain: ChainId,
        epoch: Epoch,
        committee: &Committee,
    ) -> Result<(), String> {
        if receipt.chain != chain || receipt.epoch != epoch {
            return Err("it is of another chain or epoch".to_owned());
        }
        let key = committee
            .key(receipt.lane)
            .ok_or_else(|| format!("member {} is not in the committee", receipt.lane))?;
        receipt
            .signature_check(key)
            .verify()
            .map_err(|error| error.to_string())?;
        let at = (receipt.lane, receipt.seq);
        self.open.entry(at).or_default().push(receipt);
        Ok(())
    }

    /// A final batch.
    pub(super) fn batch(&mut self, batch: &Batch, chain: ChainId, committee: &Committee) {
        let Some(receipts) = self.open.remove(&(batch.lane, batch.seq)) else {
            return;
        };
        for receipt in receipts {
            let proof = BrokenReceipt {
                receipt,
                batch: SignedHeader {
                    header: batch.header(),
                    signature: batch.signature,
                },
                entries: batch.entries.clone(),
            };
            match proof.verify(chain, committee) {
                Ok(_) => self.broken.push(proof),
                Err(BrokenReceiptError::Kept) => self.kept += 1,
                // The cut vouches for the batch, but its owner's signature is not in the
                // records: true for the auditor, no proof for others.
                Err(_) => self.contradicted += 1,
            }
        }
    }

    /// Receipts whose batch is final and says the same.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.kept
    }

    /// Receipts that final lanes contradict, with proof.
    #[must_use]
    pub fn broken(&self) -> &[BrokenReceipt] {
        &self.broken
    }

    /// Receipts that final lanes contradict, where the records lack the owner's signature.
    #[must_use]
    pub const fn contradicted(&self) -> u64 {
        self.contradicted
    }

    /// Receipts whose batch is not final yet.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.values().map(|list| list.len() as u64).sum()
    }
}

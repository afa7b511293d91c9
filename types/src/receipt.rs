//! The signed acknowledgement: given once the batch that holds the entry is durable.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    ChainId, CtId, Domain, Epoch, MemberId, Micros, PublicKey, Seq, SigCheck, Signature, Signer,
};

/// "Acknowledged" to a client means this. The same order submitted again gives the same
/// receipt, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// Chain.
    pub chain: ChainId,
    /// Epoch.
    pub epoch: Epoch,
    /// The order.
    pub ct_id: CtId,
    /// The member that signs, whose lane holds the entry.
    pub lane: MemberId,
    /// Batch number in the lane.
    pub seq: Seq,
    /// Entry number in the batch, from 0.
    pub entry: u32,
    /// When the lane recorded it.
    pub stamp: Micros,
    /// By the member's identity key.
    pub signature: Signature,
}

impl Receipt {
    /// Fills in the signature.
    #[must_use]
    pub fn signed(mut self, key: &dyn Signer) -> Self {
        self.signature = key.sign(Domain::Receipt, self.chain, self.epoch, &self.body());
        self
    }

    /// The check of the member's signature.
    #[must_use]
    pub fn signature_check(&self, key: &PublicKey) -> SigCheck {
        key.check(
            Domain::Receipt,
            self.chain,
            self.epoch,
            &self.body(),
            self.signature,
        )
    }

    fn body(&self) -> Vec<u8> {
        crate::encode(&(self.ct_id, self.lane, self.seq, self.entry, self.stamp))
    }
}

//! A member's signed word on what execution made of a height. f+1 equal ones hold an honest
//! member's; two different ones of a member for one height convict it.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    ChainId, Digest, Domain, Epoch, Height, MemberId, PublicKey, SigCheck, Signature, Signer,
};

/// "I applied the sequence up to this height, and this is the state."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct StateClaim {
    /// Chain.
    pub chain: ChainId,
    /// Epoch.
    pub epoch: Epoch,
    /// The member that signs.
    pub member: MemberId,
    /// Digest of what it started from, its `execution.toml`.
    pub genesis: Digest,
    /// Height.
    pub height: Height,
    /// State root after it.
    pub state_root: Digest,
    /// Root over what it did.
    pub receipts_root: Digest,
    /// By the member's identity key.
    pub signature: Signature,
}

impl StateClaim {
    /// Fills in the signature.
    #[must_use]
    pub fn signed(mut self, key: &dyn Signer) -> Self {
        self.signature = key.sign(Domain::StateClaim, self.chain, self.epoch, &self.body());
        self
    }

    /// The check of the member's signature.
    #[must_use]
    pub fn signature_check(&self, key: &PublicKey) -> SigCheck {
        let body = self.body();
        key.check(
            Domain::StateClaim,
            self.chain,
            self.epoch,
            &body,
            self.signature,
        )
    }

    fn body(&self) -> Vec<u8> {
        crate::encode(&(
            self.member,
            self.genesis,
            self.height,
            self.state_root,
            self.receipts_root,
        ))
    }
}

//! Decryption shares as they travel: signed over the list they are for, so that a false
//! one convicts its maker and nobody can be framed with another list.
//!
//! Members combine either all of a block, each for itself, or a slice each, and tell the
//! others what it opened ([`KeyMessage`]).

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{KeyBatch, ShareError, SuiteBatch, SuiteParsed};
use fairlane_types::{
    ChainId, Digest, Domain, Epoch, Height, PublicKey, SigCheck, Signature, Signer,
};

/// What is wrong with a set of shares that a member sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareFault {
    /// The member's signature over it does not verify.
    #[error("the signature over the shares does not verify")]
    Signature,
    /// It is for another list of orders than the final block's.
    #[error("shares are for another list of orders")]
    List,
    /// It is for another block than the final one of its height.
    #[error("shares are for a block that is not final at this height")]
    Block,
    /// The shares or their proof are false.
    #[error(transparent)]
    False(#[from] ShareError),
    /// What a combiner told of an order does not open it.
    #[error("key points that open nothing")]
    Keys,
    /// A combiner told nothing of an order that opens.
    #[error("an order that opens was left out by its combiner")]
    LeftOut,
}

/// What a combiner opened of a slice of a final block (ENCRYPTION 6.7). It needs no
/// signature: the link says who sent it, and the opening check what it is worth.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyMessage {
    /// Height of the block.
    pub height: Height,
    /// The slice.
    pub slice: u16,
    /// Key points of the orders that opened.
    pub batch: KeyBatch,
}

/// One member's shares for a slice of D(c) of one final block (D4). Where combining is not
/// sharded there is one slice, the whole list.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShareMessage {
    /// Height of the block.
    pub height: Height,
    /// The slice.
    pub slice: u16,
    /// Digest of the slice's list, in the order of D(c).
    pub list: Digest,
    /// Shares and their proof.
    pub batch: SuiteBatch,
    /// By the member's identity key over all of the above.
    pub signature: Signature,
}

impl ShareMessage {
    /// Signs a batch of shares.
    #[must_use]
    pub fn sign(
        height: Height,
        slice: u16,
        list: Digest,
        batch: SuiteBatch,
        key: &dyn Signer,
        chain: ChainId,
        epoch: Epoch,
    ) -> Self {
        let signature = key.sign(
            Domain::ShareBatch,
            chain,
            epoch,
            &body(height, slice, list, &batch),
        );
        Self {
            height,
            slice,
            list,
            batch,
            signature,
        }
    }

    /// The check of the signature under the member's identity key.
    #[must_use]
    pub fn signature_check(&self, key: &PublicKey, chain: ChainId, epoch: Epoch) -> SigCheck {
        let body = body(self.height, self.slice, self.list, &self.batch);
        key.check(Domain::ShareBatch, chain, epoch, &body, self.signature)
    }
}

/// Digest of a list of ciphertexts as signed in [`ShareMessage::list`].
pub fn list_digest<'a>(list: impl Iterator<Item = &'a SuiteParsed>) -> Digest {
    list_digest_of(list.map(SuiteParsed::statement))
}

/// The same over what shares are verified against: U_k, for suite 0x02 also V_k and W_k.
/// Within a suite all have one length, and the signed set names its suite.
pub fn list_digest_of(statements: impl Iterator<Item = Vec<u8>>) -> Digest {
    let mut hasher = Domain::ShareBatch.hasher();
    hasher.update(b"list");
    for statement in statements {
        hasher.update(&statement);
    }
    Digest(*hasher.finalize().as_bytes())
}

fn body(height: Height, slice: u16, list: Digest, batch: &SuiteBatch) -> Vec<u8> {
    fairlane_types::encode(&(height, slice, list, batch))
}

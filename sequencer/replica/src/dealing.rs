//! A member's dealing as it travels and as blocks carry it (PROTOCOL §6).

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::Deal;
use fairlane_types::{
    ChainId, Domain, Epoch, MemberId, PublicKey, SigCheck, Signature, Signer, encode,
};

/// One member's part of a key, signed. Whether it counts is judged once its block is final,
/// by its bytes alone, so blocks carry it unread.
#[derive(Clone, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Dealing {
    /// Who deals.
    pub dealer: MemberId,
    /// The encoding of a [`Deal`].
    pub deal: Vec<u8>,
    /// By the dealer's identity key over the above.
    pub signature: Signature,
}

impl Dealing {
    /// Signs a dealing.
    #[must_use]
    pub fn sign(deal: &Deal, key: &dyn Signer, chain: ChainId, epoch: Epoch) -> Self {
        let (dealer, deal) = (deal.dealer, encode(deal));
        let signature = key.sign(Domain::Dealing, chain, epoch, &encode(&(dealer, &deal)));
        Self {
            dealer,
            deal,
            signature,
        }
    }

    /// The check of the signature under the dealer's identity key.
    #[must_use]
    pub fn signature_check(&self, key: &PublicKey, chain: ChainId, epoch: Epoch) -> SigCheck {
        let body = encode(&(self.dealer, &self.deal));
        key.check(Domain::Dealing, chain, epoch, &body, self.signature)
    }

    /// Whether one of `n` dealers deals, and in so many bytes: those of a dealing in this
    /// ceremony.
    #[must_use]
    pub fn fits(&self, n: usize, bytes: usize) -> bool {
        self.dealer.index() < n && self.deal.len() == bytes
    }
}

impl core::fmt::Debug for Dealing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Dealing")
            .field("dealer", &self.dealer)
            .field("bytes", &self.deal.len())
            .finish_non_exhaustive()
    }
}

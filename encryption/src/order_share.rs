//! A share of one order with its own proof (D5): asked for when few orders of a block
//! fail to open, so that a verdict on them needs no proof over the whole list.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BlockId, KeyId, MemberId};
use rand_core::CryptoRng;

use crate::dleq::{DleqProof, Statement};
use crate::group::{self, ENCODED};
use crate::{EncryptionKey, KeyShare, ParsedCiphertext, ProvenShare, Sealed, ShareError};

/// One share and its proof: 193 bytes encoded.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OrderShare {
    /// The sharing the share is of.
    pub key: KeyId,
    /// The final block.
    pub block: BlockId,
    /// Who made it.
    pub member: MemberId,
    /// enc(D).
    pub share: [u8; ENCODED],
    /// Proof that D = x'ᵢU.
    pub proof: DleqProof,
}

impl core::fmt::Debug for OrderShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OrderShare")
            .field("key", &self.key)
            .field("block", &self.block)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

/// Makes the share of one order and proves it.
pub(crate) fn prove_one<R: CryptoRng + ?Sized>(
    share: &KeyShare,
    block: BlockId,
    ciphertext: &ParsedCiphertext,
    rng: &mut R,
) -> Sealed<OrderShare> {
    let (key, member) = (share.key_id(), share.member());
    let statement = Statement::single(key, block, member, share.verification_key());
    let proof = statement.prove(share.secret(), &ciphertext.u, rng);
    let d = (ciphertext.u * share.secret()).compress().to_bytes();
    Sealed::new(
        block,
        OrderShare {
            key,
            block,
            member,
            share: d,
            proof,
        },
    )
}

/// Verifies a single-order proof.
pub(crate) fn verify_one(
    key: &EncryptionKey,
    block: BlockId,
    ciphertext: &ParsedCiphertext,
    from: MemberId,
    share: &OrderShare,
) -> Result<ProvenShare, ShareError> {
    if share.key != key.sharing() || ciphertext.key != key.id() {
        return Err(ShareError::WrongKey);
    }
    if share.block != block {
        return Err(ShareError::WrongBlock);
    }
    let (Some(public), Some(public_point)) = (key.verification_key(from), key.member_point(from))
    else {
        return Err(ShareError::WrongMember(share.member));
    };
    if share.member != from {
        return Err(ShareError::WrongMember(share.member));
    }
    let point = group::decode_point_nonzero(&share.share).ok_or(ShareError::BadEncoding(0))?;
    let statement = Statement::single(share.key, block, from, public);
    if !statement.verify(public_point, &ciphertext.u, &point, &share.proof) {
        return Err(ShareError::BadBatchProof);
    }
    Ok(ProvenShare {
        key: share.key,
        member: from,
        u: ciphertext.u_bytes,
        point,
    })
}

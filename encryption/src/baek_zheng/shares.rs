//! Shares of suite 0x02: D = xᵢU in G1, each verifiable by pairings on its own.

use core::borrow::Borrow;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BlockId, KeyId, MemberId};
use threshold_crypto::{Ciphertext, DecryptionShare};

use super::ciphertext::PAD_BYTES;
use super::{BaekZhengCiphertext, BaekZhengKey, BaekZhengShare};
use crate::pairing::adapter::{self, G1_BYTES};
use crate::{SHARES_MAX, Sealed, ShareError};

/// Room reserved before anything was read, in shares: what a length prefix may cost.
const SHARES_RESERVED: usize = 1_024;

/// What a member sends for a final block: one share for each order, in order. 101 + 48·B
/// bytes encoded. There is no proof: every share is checked by itself.
#[derive(Clone, PartialEq, Eq, BorshSerialize)]
pub struct BaekZhengBatch {
    /// The sharing the shares are of.
    pub key: KeyId,
    /// The final block.
    pub block: BlockId,
    /// Who made them.
    pub member: MemberId,
    /// D_k, compressed, in the order of the list.
    pub shares: Vec<[u8; G1_BYTES]>,
}

impl BorshDeserialize for BaekZhengBatch {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let key = KeyId::deserialize_reader(reader)?;
        let block = BlockId::deserialize_reader(reader)?;
        let member = MemberId::deserialize_reader(reader)?;
        let count = u32::deserialize_reader(reader)? as usize;
        if count > SHARES_MAX {
            let error = ShareError::WrongLength {
                got: count,
                want: SHARES_MAX,
            };
            return Err(IoError::new(ErrorKind::InvalidData, error));
        }
        let mut shares = Vec::with_capacity(count.min(SHARES_RESERVED));
        for _ in 0..count {
            shares.push(<[u8; G1_BYTES]>::deserialize_reader(reader)?);
        }
        Ok(Self {
            key,
            block,
            member,
            shares,
        })
    }
}

impl core::fmt::Debug for BaekZhengBatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BaekZhengBatch")
            .field("key", &self.key)
            .field("block", &self.block)
            .field("member", &self.member)
            .field("shares", &self.shares.len())
            .finish_non_exhaustive()
    }
}

/// A share batch of the right shape with its points parsed, not verified.
#[derive(Clone)]
pub struct BaekZhengShares {
    pub(crate) batch: BaekZhengBatch,
    pub(crate) points: Vec<DecryptionShare>,
}

impl BaekZhengShares {
    /// The form that travels.
    #[must_use]
    pub fn batch(&self) -> &BaekZhengBatch {
        &self.batch
    }

    /// Whose shares they are.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.batch.member
    }

    /// Number of shares, one for each order.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether the list was empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

impl core::fmt::Debug for BaekZhengShares {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.batch.fmt(f)
    }
}

/// A share of one order: 113 bytes encoded.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BaekZhengOrderShare {
    /// The sharing the share is of.
    pub key: KeyId,
    /// The final block.
    pub block: BlockId,
    /// Who made it.
    pub member: MemberId,
    /// D, compressed.
    pub share: [u8; G1_BYTES],
}

impl core::fmt::Debug for BaekZhengOrderShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BaekZhengOrderShare")
            .field("key", &self.key)
            .field("block", &self.block)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

/// A share that satisfies the pairing equation: D = xᵢU for certain.
#[derive(Clone)]
pub struct BaekZhengProven {
    pub(crate) key: KeyId,
    pub(crate) member: MemberId,
    pub(crate) u: [u8; G1_BYTES],
    pub(crate) share: DecryptionShare,
}

impl BaekZhengProven {
    /// Whose share it is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }
}

impl core::fmt::Debug for BaekZhengProven {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BaekZhengProven")
            .field("key", &self.key)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

fn encoded(share: &DecryptionShare) -> [u8; G1_BYTES] {
    adapter::encode_share(share).expect("invariant: the crate encodes a G1 point as 48 bytes")
}

/// Makes the shares of a list. Variable time in the secret: the crate has nothing else.
pub(crate) fn make<C: Borrow<BaekZhengCiphertext>>(
    secret: &BaekZhengShare,
    block: BlockId,
    list: &[C],
) -> Sealed<BaekZhengShares> {
    // Validity was checked when the ciphertext was parsed.
    let points: Vec<_> = list
        .iter()
        .map(|ct| secret.secret().decrypt_share_no_verify(&ct.borrow().inner))
        .collect();
    let batch = BaekZhengBatch {
        key: secret.sharing(),
        block,
        member: secret.member(),
        shares: points.iter().map(encoded).collect(),
    };
    Sealed::new(block, BaekZhengShares { batch, points })
}

/// Parses a received batch.
pub(crate) fn accept(
    key: &BaekZhengKey,
    block: BlockId,
    orders: usize,
    from: MemberId,
    batch: BaekZhengBatch,
) -> Result<BaekZhengShares, ShareError> {
    if batch.member != from || !key.contains(from) {
        return Err(ShareError::WrongMember(batch.member));
    }
    if batch.key != key.sharing() {
        return Err(ShareError::WrongKey);
    }
    if batch.block != block {
        return Err(ShareError::WrongBlock);
    }
    if batch.shares.len() != orders {
        return Err(ShareError::WrongLength {
            got: batch.shares.len(),
            want: orders,
        });
    }
    let points = batch
        .shares
        .iter()
        .enumerate()
        .map(|(k, bytes)| adapter::decode_share(bytes).ok_or(ShareError::BadEncoding(k)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(BaekZhengShares { batch, points })
}

/// Verifies every share of a batch by pairings.
pub(crate) fn verify<C: Borrow<BaekZhengCiphertext>>(
    key: &BaekZhengKey,
    list: &[C],
    shares: &BaekZhengShares,
) -> Result<Vec<BaekZhengProven>, ShareError> {
    let BaekZhengShares { batch, points } = shares;
    if batch.key != key.sharing() {
        return Err(ShareError::WrongKey);
    }
    if list.len() != points.len() {
        return Err(ShareError::WrongLength {
            got: points.len(),
            want: list.len(),
        });
    }
    list.iter()
        .zip(points)
        .map(|(ct, share)| prove(key, ct.borrow(), batch.member, share))
        .collect()
}

/// The pairing equation e(D, H(U, V)) = e(PKᵢ, W).
fn prove(
    key: &BaekZhengKey,
    ciphertext: &BaekZhengCiphertext,
    member: MemberId,
    share: &DecryptionShare,
) -> Result<BaekZhengProven, ShareError> {
    if ciphertext.key != key.id() {
        return Err(ShareError::WrongKey);
    }
    let public = key
        .member_key(member)
        .ok_or(ShareError::WrongMember(member))?;
    if !public.verify_decryption_share(share, &ciphertext.inner) {
        return Err(ShareError::BadBatchProof);
    }
    Ok(BaekZhengProven {
        key: key.sharing(),
        member,
        u: ciphertext.u,
        share: share.clone(),
    })
}

/// Verifies a batch against statements U ‖ V ‖ W, without the ciphertexts.
pub(crate) fn verify_statements(
    key: &BaekZhengKey,
    statements: &[Vec<u8>],
    shares: &BaekZhengShares,
) -> Result<(), ShareError> {
    let BaekZhengShares { batch, points } = shares;
    if batch.key != key.sharing() {
        return Err(ShareError::WrongKey);
    }
    if statements.len() != points.len() {
        return Err(ShareError::WrongLength {
            got: points.len(),
            want: statements.len(),
        });
    }
    let public = key
        .member_key(batch.member)
        .ok_or(ShareError::WrongMember(batch.member))?;
    for (k, (statement, share)) in statements.iter().zip(points).enumerate() {
        let ciphertext = parse_statement(statement).ok_or(ShareError::BadEncoding(k))?;
        if !public.verify_decryption_share(share, &ciphertext) {
            return Err(ShareError::BadBatchProof);
        }
    }
    Ok(())
}

fn parse_statement(statement: &[u8]) -> Option<Ciphertext> {
    let (u, rest) = statement.split_first_chunk::<G1_BYTES>()?;
    let (v, w) = rest.split_first_chunk::<PAD_BYTES>()?;
    adapter::ciphertext(u, v, w.try_into().ok()?)
}

/// Makes the share of one order.
pub(crate) fn make_one(
    secret: &BaekZhengShare,
    block: BlockId,
    ciphertext: &BaekZhengCiphertext,
) -> Sealed<BaekZhengOrderShare> {
    let share = secret.secret().decrypt_share_no_verify(&ciphertext.inner);
    let share = BaekZhengOrderShare {
        key: secret.sharing(),
        block,
        member: secret.member(),
        share: encoded(&share),
    };
    Sealed::new(block, share)
}

/// Verifies the share of one order.
pub(crate) fn verify_one(
    key: &BaekZhengKey,
    block: BlockId,
    ciphertext: &BaekZhengCiphertext,
    from: MemberId,
    share: &BaekZhengOrderShare,
) -> Result<BaekZhengProven, ShareError> {
    if share.key != key.sharing() {
        return Err(ShareError::WrongKey);
    }
    if share.block != block {
        return Err(ShareError::WrongBlock);
    }
    if share.member != from || !key.contains(from) {
        return Err(ShareError::WrongMember(share.member));
    }
    let point = adapter::decode_share(&share.share).ok_or(ShareError::BadEncoding(0))?;
    prove(key, ciphertext, from, &point)
}

//! Shares of a whole block and the one proof over them (ENCRYPTION 6.6): a Chaum–Pedersen
//! proof of equal logarithms (CRYPTO 1992) on a random linear combination of the list.

use core::borrow::Borrow;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult};

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use fairlane_types::{BlockId, KeyId, MemberId};
use rand_core::CryptoRng;

use crate::dleq::{DleqProof, Statement};
use crate::group::{self, ENCODED, Weights};
use crate::{EncryptionKey, KeyShare, ParsedCiphertext, Sealed, ShareError};

/// Most shares in one batch: the largest D_max that a genesis may set (3.2 MB of points).
pub const SHARES_MAX: usize = 100_000;

/// Room reserved before anything was read, in shares: what a length prefix may cost.
const SHARES_RESERVED: usize = 1_024;

/// What a member sends for a final block: one share for each order of the list, in order,
/// and one proof. 162 + 32·B bytes encoded.
#[derive(Clone, PartialEq, Eq, BorshSerialize)]
pub struct ShareBatch {
    /// The sharing the shares are of.
    pub key: KeyId,
    /// The final block.
    pub block: BlockId,
    /// Who made them.
    pub member: MemberId,
    /// enc(D_k), in the order of the list.
    pub shares: Vec<[u8; ENCODED]>,
    /// Proof that every D_k = x'ᵢU_k.
    pub proof: DleqProof,
}

impl BorshDeserialize for ShareBatch {
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
            shares.push(<[u8; ENCODED]>::deserialize_reader(reader)?);
        }
        let proof = DleqProof::deserialize_reader(reader)?;
        Ok(Self {
            key,
            block,
            member,
            shares,
            proof,
        })
    }
}

impl core::fmt::Debug for ShareBatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ShareBatch")
            .field("key", &self.key)
            .field("block", &self.block)
            .field("member", &self.member)
            .field("shares", &self.shares.len())
            .finish_non_exhaustive()
    }
}

/// A share batch of the right shape with its points parsed: ready to be combined, not
/// proven. 160 bytes for each order more than the wire form.
#[derive(Clone)]
pub struct Shares {
    pub(crate) batch: ShareBatch,
    pub(crate) points: Vec<RistrettoPoint>,
}

impl Shares {
    /// The form that travels.
    #[must_use]
    pub fn batch(&self) -> &ShareBatch {
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

    /// Parses a received batch: key, block, length and member must be the expected ones,
    /// every share a canonical point that is not the identity. Costs one decompression
    /// for each order and no proof check.
    pub(crate) fn accept(
        key: &EncryptionKey,
        block: BlockId,
        orders: usize,
        from: MemberId,
        batch: ShareBatch,
    ) -> Result<Self, ShareError> {
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
            .map(|(k, bytes)| group::decode_point_nonzero(bytes).ok_or(ShareError::BadEncoding(k)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { batch, points })
    }
}

impl core::fmt::Debug for Shares {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.batch.fmt(f)
    }
}

/// A share that a proof vouches for: D = x'ᵢU for certain. Only verification makes one.
#[derive(Clone)]
pub struct ProvenShare {
    pub(crate) key: KeyId,
    pub(crate) member: MemberId,
    pub(crate) u: [u8; ENCODED],
    pub(crate) point: RistrettoPoint,
}

impl ProvenShare {
    /// Whose share it is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }
}

impl core::fmt::Debug for ProvenShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ProvenShare")
            .field("key", &self.key)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

/// Makes the shares of a list and proves them.
pub(crate) fn make<C: Borrow<ParsedCiphertext>, R: CryptoRng + ?Sized>(
    share: &KeyShare,
    block: BlockId,
    list: &[C],
    rng: &mut R,
) -> Sealed<Shares> {
    // D_k = 2·(x'ᵢ/2)U_k: constant-time multiplications, one inversion for all encodings.
    let mut points: Vec<RistrettoPoint> =
        list.iter().map(|ct| ct.borrow().u * share.half()).collect();
    let shares: Vec<[u8; ENCODED]> = RistrettoPoint::double_and_compress_batch(&points)
        .iter()
        .map(|encoded| encoded.to_bytes())
        .collect();
    for point in &mut points {
        *point += *point;
    }
    let (key, member) = (share.key_id(), share.member());
    let encoded = list.iter().map(|ct| &ct.borrow().u_bytes);
    let mut weights = batch_weights(key, block, member, encoded, &shares);
    let u_star = RistrettoPoint::vartime_multiscalar_mul(
        weights.take(list.len()),
        list.iter().map(|ct| ct.borrow().u),
    );
    let statement = Statement::batch(key, block, member, share.verification_key());
    let proof = statement.prove(share.secret(), &u_star, rng);
    let batch = ShareBatch {
        key,
        block,
        member,
        shares,
        proof,
    };
    Sealed::new(block, Shares { batch, points })
}

/// Verifies the proof of a batch against its list.
pub(crate) fn verify<C: Borrow<ParsedCiphertext>>(
    key: &EncryptionKey,
    list: &[C],
    shares: &Shares,
) -> Result<Vec<ProvenShare>, ShareError> {
    if list.iter().any(|ct| ct.borrow().key != key.id()) {
        return Err(ShareError::WrongKey);
    }
    let points: Vec<_> = list.iter().map(|ct| ct.borrow().u).collect();
    let encoded = list.iter().map(|ct| &ct.borrow().u_bytes);
    verify_points(key, &points, encoded, shares)?;
    let proven = list
        .iter()
        .zip(&shares.points)
        .map(|(ct, point)| ProvenShare {
            key: shares.batch.key,
            member: shares.batch.member,
            u: ct.borrow().u_bytes,
            point: *point,
        });
    Ok(proven.collect())
}

/// Verifies the proof of a batch against encoded points U_k: what a third party does with
/// a signed batch and the list it commits to, without the ciphertexts.
///
/// # Errors
/// [`ShareError`] blames the maker of the batch; `BadEncoding` names a U_k that is no point.
pub fn verify_shares_of(
    key: &EncryptionKey,
    list: &[[u8; ENCODED]],
    shares: &Shares,
) -> Result<(), ShareError> {
    let points = list
        .iter()
        .enumerate()
        .map(|(k, bytes)| group::decode_point_nonzero(bytes).ok_or(ShareError::BadEncoding(k)))
        .collect::<Result<Vec<_>, _>>()?;
    verify_points(key, &points, list.iter(), shares)
}

fn verify_points<'a>(
    key: &EncryptionKey,
    list: &[RistrettoPoint],
    encoded: impl Iterator<Item = &'a [u8; ENCODED]>,
    shares: &Shares,
) -> Result<(), ShareError> {
    let Shares { batch, points } = shares;
    if batch.key != key.sharing() {
        return Err(ShareError::WrongKey);
    }
    if list.len() != points.len() {
        return Err(ShareError::WrongLength {
            got: points.len(),
            want: list.len(),
        });
    }
    let (Some(public), Some(public_point)) = (
        key.verification_key(batch.member),
        key.member_point(batch.member),
    ) else {
        return Err(ShareError::WrongMember(batch.member));
    };
    let weights = batch_weights(batch.key, batch.block, batch.member, encoded, &batch.shares)
        .take(points.len());
    let u_star = RistrettoPoint::vartime_multiscalar_mul(&weights, list);
    let d_star = RistrettoPoint::vartime_multiscalar_mul(&weights, points);
    let statement = Statement::batch(batch.key, batch.block, batch.member, public);
    if statement.verify(public_point, &u_star, &d_star, &batch.proof) {
        Ok(())
    } else {
        Err(ShareError::BadBatchProof)
    }
}

/// w_k: 128 bits each from BLAKE3-derive-key over key_id ‖ block_id ‖ i ‖ (U_k ‖ D_k)_k.
fn batch_weights<'a>(
    key: KeyId,
    block: BlockId,
    member: MemberId,
    list: impl Iterator<Item = &'a [u8; ENCODED]>,
    shares: &[[u8; ENCODED]],
) -> Weights {
    let mut hasher = blake3::Hasher::new_derive_key("FAIRLANE V1 batch DLEQ weights");
    hasher.update(key.as_bytes()).update(block.as_bytes());
    hasher.update(&member.share_index().to_le_bytes());
    for (u, share) in list.zip(shares) {
        hasher.update(u).update(share);
    }
    Weights::new(&hasher)
}

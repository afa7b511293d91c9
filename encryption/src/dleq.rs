//! Proofs of equal logarithms, log_G P'ᵢ = log_U D (Chaum, Pedersen, CRYPTO 1992), made
//! non-interactive by hashing the whole statement (strong Fiat–Shamir).

use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::{BlockId, KeyId, MemberId};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::group::{self, ENCODED, Hs};

/// Challenge c and response z: 64 bytes, canonical scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DleqProof {
    c: Scalar,
    z: Scalar,
}

impl DleqProof {
    /// c ‖ z.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 2 * ENCODED] {
        let mut bytes = [0; 2 * ENCODED];
        bytes[..ENCODED].copy_from_slice(self.c.as_bytes());
        bytes[ENCODED..].copy_from_slice(self.z.as_bytes());
        bytes
    }
}

impl BorshSerialize for DleqProof {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        writer.write_all(&self.to_bytes())
    }
}

impl BorshDeserialize for DleqProof {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let mut scalar = || {
            let bytes = <[u8; ENCODED]>::deserialize_reader(reader)?;
            let refused = || IoError::new(ErrorKind::InvalidData, "a proof scalar is not reduced");
            group::decode_scalar(&bytes).ok_or_else(refused)
        };
        Ok(Self {
            c: scalar()?,
            z: scalar()?,
        })
    }
}

/// What a proof is bound to besides the points: a proof for one key, block, member or
/// kind never verifies for another.
pub(crate) struct Statement<'a> {
    tag: &'static str,
    key: KeyId,
    block: BlockId,
    member: MemberId,
    public: &'a [u8; ENCODED],
}

impl<'a> Statement<'a> {
    /// A proof over a whole list (6.6).
    pub(crate) fn batch(
        key: KeyId,
        block: BlockId,
        member: MemberId,
        public: &'a [u8; ENCODED],
    ) -> Self {
        Self {
            tag: "FAIRLANE-V1-DLEQ",
            key,
            block,
            member,
            public,
        }
    }

    /// A proof for one order (D5).
    pub(crate) fn single(
        key: KeyId,
        block: BlockId,
        member: MemberId,
        public: &'a [u8; ENCODED],
    ) -> Self {
        Self {
            tag: "FAIRLANE-V1-DLEQ-ONE",
            key,
            block,
            member,
            public,
        }
    }

    /// c = Hs(tag, key_id ‖ block_id ‖ i ‖ P'ᵢ ‖ U ‖ D ‖ a ‖ b).
    fn challenge(&self, points: [&RistrettoPoint; 4]) -> Scalar {
        let hash = Hs::new(self.tag)
            .part(self.key.as_bytes())
            .part(self.block.as_bytes())
            .part(self.member.share_index().to_le_bytes())
            .part(self.public);
        points
            .into_iter()
            .fold(hash, |hash, point| hash.part(point.compress().as_bytes()))
            .scalar()
    }

    /// Proves D = xU for D computed here; constant time in x and the nonce. The nonce is
    /// hashed from x, fresh randomness and the statement, so that neither a weak random
    /// source nor a repeated one reveals x.
    pub(crate) fn prove<R: CryptoRng + ?Sized>(
        &self,
        x: &Scalar,
        u: &RistrettoPoint,
        rng: &mut R,
    ) -> DleqProof {
        let mut fresh = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *fresh);
        let d = u * x;
        let mut k = Hs::new("FAIRLANE-V1-DLEQ-NONCE")
            .part(x.as_bytes())
            .part(fresh.as_slice())
            .part(self.tag)
            .part(self.key.as_bytes())
            .part(self.block.as_bytes())
            .part(u.compress().as_bytes())
            .scalar();
        let c = self.challenge([u, &d, &group::mul_g(&k), &(u * k)]);
        let z = k + c * x;
        k.zeroize();
        DleqProof { c, z }
    }

    /// Recomputes a = zG − cP'ᵢ, b = zU − cD and compares c.
    pub(crate) fn verify(
        &self,
        public_point: &RistrettoPoint,
        u: &RistrettoPoint,
        d: &RistrettoPoint,
        proof: &DleqProof,
    ) -> bool {
        let minus_c = -proof.c;
        let a =
            RistrettoPoint::vartime_double_scalar_mul_basepoint(&minus_c, public_point, &proof.z);
        let b = RistrettoPoint::vartime_multiscalar_mul([proof.z, minus_c], [u, d]);
        self.challenge([u, d, &a, &b]) == proof.c
    }
}

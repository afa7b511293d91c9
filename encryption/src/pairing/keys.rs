//! Threshold keys over BLS12-381: commitments to a polynomial of degree t−1 and the
//! members' values of it, as in `threshold_crypto` (member i has the value at i + 1).

use core::marker::PhantomData;
use std::io::{Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{Digest, Epoch, KeyId, MemberId};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use threshold_crypto::poly::Poly;
use threshold_crypto::{Ciphertext, Fr, PublicKeySet, PublicKeyShare, SecretKeyShare};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::adapter::{self, FR_BYTES, G1_BYTES, SeededStream};
use crate::KeyError;
use crate::group::Hs;
use crate::keygen::curve::{Bls, Curve};
use crate::keys::{SHARE_HOLDERS_MAX, invalid, threshold};

/// What a key is for; keys of different purpose are different types and have different
/// ids.
pub trait Purpose: Copy + core::fmt::Debug + Send + Sync + 'static {
    /// Domain of the key id.
    const TAG: &'static str;
    /// Domain of the dealings of such a key: keys of both purposes lie in one group, and no
    /// part of one may pass for a part of the other.
    const DEALING: &'static str;
}

/// Keys of suite 0x02.
#[derive(Clone, Copy, Debug)]
pub enum Encrypting {}

/// Keys of beacon and attestations.
#[derive(Clone, Copy, Debug)]
pub enum Signing {}

impl Purpose for Encrypting {
    const TAG: &'static str = "FAIRLANE-V1-BZ-KEYID";
    const DEALING: &'static str = "FAIRLANE-V1-DEAL-BZ";
}

impl Purpose for Signing {
    const TAG: &'static str = "FAIRLANE-V1-BLS-KEYID";
    const DEALING: &'static str = "FAIRLANE-V1-DEAL-BLS";
}

/// Marks, in the encoded threshold, a key that was reshared: the id follows.
const RESHARED: u16 = 0x8000;

/// The public side of a threshold key over BLS12-381. It is consistent by construction:
/// the members' verification keys are values of the committed polynomial.
#[derive(Clone)]
pub struct PairingKey<P: Purpose> {
    epoch: Epoch,
    coefficients: Vec<[u8; G1_BYTES]>,
    set: PublicKeySet,
    /// A ciphertext of the crate with U = PK: a share of it with secret r is rPK.
    at_public_key: Box<Ciphertext>,
    members: Vec<PublicKeyShare>,
    id: KeyId,
    sharing: KeyId,
    purpose: PhantomData<P>,
}

impl<P: Purpose> PairingKey<P> {
    /// A key of `n` members from commitments to t coefficients, the first being the public
    /// key, compressed.
    ///
    /// # Errors
    /// [`KeyError`] names what is wrong.
    pub fn new(
        epoch: Epoch,
        n: usize,
        coefficients: Vec<[u8; G1_BYTES]>,
    ) -> Result<Self, KeyError> {
        Self::build(epoch, n, coefficients, None)
    }

    /// As [`new`](Self::new), for a new sharing of the key that was first made as `id`:
    /// ciphertexts name that.
    ///
    /// # Errors
    /// [`KeyError`] names what is wrong.
    pub fn reshared(
        id: KeyId,
        epoch: Epoch,
        n: usize,
        coefficients: Vec<[u8; G1_BYTES]>,
    ) -> Result<Self, KeyError> {
        Self::build(epoch, n, coefficients, Some(id))
    }

    fn build(
        epoch: Epoch,
        n: usize,
        coefficients: Vec<[u8; G1_BYTES]>,
        id: Option<KeyId>,
    ) -> Result<Self, KeyError> {
        if n == 0 || n > SHARE_HOLDERS_MAX {
            return Err(KeyError::Members { got: n });
        }
        let (got, want) = (coefficients.len(), threshold(n));
        if got != want {
            return Err(KeyError::Threshold { n, got, want });
        }
        if adapter::is_identity(&coefficients[0]) {
            return Err(KeyError::Identity);
        }
        let set = adapter::key_set(&coefficients).ok_or(KeyError::NonCanonicalPoint)?;
        let (_, g2) = adapter::generators();
        let at_public_key =
            adapter::ciphertext(&coefficients[0], &[], &g2).ok_or(KeyError::NonCanonicalPoint)?;
        let members: Vec<_> = (0..n).map(|member| set.public_key_share(member)).collect();
        if members
            .iter()
            .any(|member| adapter::is_identity(&member.to_bytes()))
        {
            return Err(KeyError::Identity);
        }
        let mut hash = Hs::new(P::TAG)
            .part(epoch.0.to_le_bytes())
            .part((n as u16).to_le_bytes())
            .part((want as u16).to_le_bytes());
        for coefficient in &coefficients {
            hash = hash.part(coefficient);
        }
        let sharing = KeyId(Digest(*hash.bytes()));
        if id == Some(sharing) {
            return Err(KeyError::Inconsistent);
        }
        Ok(Self {
            epoch,
            coefficients,
            set,
            at_public_key: Box::new(at_public_key),
            members,
            id: id.unwrap_or(sharing),
            sharing,
            purpose: PhantomData,
        })
    }

    /// Number of members, n.
    #[must_use]
    pub fn n(&self) -> usize {
        self.members.len()
    }

    /// Shares that are needed, t = 2f + 1.
    #[must_use]
    pub fn t(&self) -> usize {
        self.coefficients.len()
    }

    /// The epoch this sharing was made for.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Identity of the key: that of its first sharing.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Identity of this sharing; shares name it.
    #[must_use]
    pub fn sharing(&self) -> KeyId {
        self.sharing
    }

    /// The public key, a compressed point of G1.
    #[must_use]
    pub fn public_key(&self) -> &[u8; G1_BYTES] {
        &self.coefficients[0]
    }

    /// Commitments to the coefficients of the polynomial, compressed.
    #[must_use]
    pub fn coefficients(&self) -> &[[u8; G1_BYTES]] {
        &self.coefficients
    }

    /// The verification key of a member, compressed, if it holds a share.
    #[must_use]
    pub fn verification_key(&self, member: MemberId) -> Option<[u8; G1_BYTES]> {
        Some(self.members.get(member.index())?.to_bytes())
    }

    /// Whether a member holds a share.
    #[must_use]
    pub fn contains(&self, member: MemberId) -> bool {
        member.index() < self.n()
    }

    pub(crate) fn set(&self) -> &PublicKeySet {
        &self.set
    }

    pub(crate) fn at_public_key(&self) -> &Ciphertext {
        &self.at_public_key
    }

    pub(crate) fn member_key(&self, member: MemberId) -> Option<&PublicKeyShare> {
        self.members.get(member.index())
    }
}

impl<P: Purpose> PartialEq for PairingKey<P> {
    fn eq(&self, other: &Self) -> bool {
        // The hash covers every other field.
        self.sharing == other.sharing && self.id == other.id
    }
}

impl<P: Purpose> Eq for PairingKey<P> {}

impl<P: Purpose> core::fmt::Debug for PairingKey<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PairingKey")
            .field("id", &self.id)
            .field("epoch", &self.epoch.0)
            .field("n", &self.n())
            .field("t", &self.t())
            .finish_non_exhaustive()
    }
}

/// epoch u64 ‖ n u16 ‖ t u16 ‖ commitments; with the top bit of t set the id of the first
/// sharing stands before the commitments.
impl<P: Purpose> BorshSerialize for PairingKey<P> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.epoch.serialize(writer)?;
        (self.n() as u16).serialize(writer)?;
        if self.id == self.sharing {
            (self.t() as u16).serialize(writer)?;
        } else {
            (self.t() as u16 | RESHARED).serialize(writer)?;
            self.id.serialize(writer)?;
        }
        self.coefficients
            .iter()
            .try_for_each(|coefficient| writer.write_all(coefficient))
    }
}

impl<P: Purpose> BorshDeserialize for PairingKey<P> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let epoch = Epoch::deserialize_reader(reader)?;
        let n = usize::from(u16::deserialize_reader(reader)?);
        let flagged = u16::deserialize_reader(reader)?;
        if n == 0 || n > SHARE_HOLDERS_MAX {
            return Err(invalid(KeyError::Members { got: n }));
        }
        let (got, want) = (usize::from(flagged & !RESHARED), threshold(n));
        if got != want {
            return Err(invalid(KeyError::Threshold { n, got, want }));
        }
        let id = (flagged & RESHARED != 0)
            .then(|| KeyId::deserialize_reader(reader))
            .transpose()?;
        let coefficients = (0..got)
            .map(|_| <[u8; G1_BYTES]>::deserialize_reader(reader))
            .collect::<IoResult<Vec<_>>>()?;
        Self::build(epoch, n, coefficients, id).map_err(invalid)
    }
}

/// One member's secret value of the polynomial; erased when dropped, never printed.
pub struct PairingShare<P: Purpose> {
    member: MemberId,
    sharing: KeyId,
    secret: SecretKeyShare,
    bytes: Zeroizing<[u8; FR_BYTES]>,
    purpose: PhantomData<P>,
}

impl<P: Purpose> PairingShare<P> {
    /// From a secret scalar, canonical little-endian.
    ///
    /// # Errors
    /// [`KeyError::BadScalar`] for zero or an unreduced scalar; [`KeyError::ShareMismatch`]
    /// when the scalar is not the member's share of `key`.
    pub fn new(
        key: &PairingKey<P>,
        member: MemberId,
        secret: &[u8; FR_BYTES],
    ) -> Result<Self, KeyError> {
        let share = Self::unchecked(member, key.sharing(), secret)?;
        share.belongs_to(key)?;
        Ok(share)
    }

    fn unchecked(
        member: MemberId,
        sharing: KeyId,
        secret: &[u8; FR_BYTES],
    ) -> Result<Self, KeyError> {
        let mut scalar = adapter::decode_fr(secret).ok_or(KeyError::BadScalar)?;
        if bool::from(secret.ct_eq(&[0; FR_BYTES])) {
            return Err(KeyError::BadScalar);
        }
        Ok(Self {
            member,
            sharing,
            // Clears `scalar`.
            secret: SecretKeyShare::from_mut(&mut scalar),
            bytes: Zeroizing::new(*secret),
            purpose: PhantomData,
        })
    }

    /// Checks that this is the member's share of `key`.
    ///
    /// # Errors
    /// [`KeyError::ShareMismatch`] when it is not.
    pub fn belongs_to(&self, key: &PairingKey<P>) -> Result<(), KeyError> {
        // blst multiplies in a time that does not depend on the secret, `threshold_crypto` does not.
        let mine = Bls::decode_scalar(&self.bytes).map(|secret| Bls::commit(&[secret]));
        let mine = mine.as_ref().and_then(|points| points.first());
        let public = key.member_key(self.member).map(PublicKeyShare::to_bytes);
        if self.sharing == key.sharing() && public.is_some() && mine == public.as_ref() {
            Ok(())
        } else {
            Err(KeyError::ShareMismatch {
                member: self.member,
            })
        }
    }

    /// Whose share it is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// The sharing it is a share of.
    #[must_use]
    pub fn sharing(&self) -> KeyId {
        self.sharing
    }

    /// The secret scalar, for writing a key file.
    #[must_use]
    pub fn expose_secret(&self) -> Zeroizing<[u8; FR_BYTES]> {
        self.bytes.clone()
    }

    pub(crate) fn secret(&self) -> &SecretKeyShare {
        &self.secret
    }
}

impl<P: Purpose> Zeroize for PairingShare<P> {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
        self.secret = SecretKeyShare::default();
    }
}

/// Both secret fields erase themselves.
impl<P: Purpose> ZeroizeOnDrop for PairingShare<P> {}

impl<P: Purpose> core::fmt::Debug for PairingShare<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PairingShare")
            .field("member", &self.member)
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}

/// member u8 ‖ sharing ‖ scalar: 65 bytes, secret. Write it to encrypted files only.
impl<P: Purpose> BorshSerialize for PairingShare<P> {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.member.serialize(writer)?;
        self.sharing.serialize(writer)?;
        writer.write_all(&*self.bytes)
    }
}

/// Call [`PairingShare::belongs_to`] next: the bytes alone do not tell the key.
impl<P: Purpose> BorshDeserialize for PairingShare<P> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let member = MemberId::deserialize_reader(reader)?;
        let sharing = KeyId::deserialize_reader(reader)?;
        let mut secret = Zeroizing::new([0; FR_BYTES]);
        reader.read_exact(&mut *secret)?;
        Self::unchecked(member, sharing, &secret).map_err(invalid)
    }
}

/// Deals a key over BLS12-381 to `n` members, in the order of their ids. **Insecure**:
/// whoever runs this knows every secret; the genesis must say so.
///
/// # Errors
/// [`KeyError::Members`] when `n` is 0 or over [`SHARE_HOLDERS_MAX`].
pub fn deal_pairing_insecure<P: Purpose, R: CryptoRng + ?Sized>(
    epoch: Epoch,
    n: usize,
    rng: &mut R,
) -> Result<(PairingKey<P>, Vec<PairingShare<P>>), KeyError> {
    if n == 0 || n > SHARE_HOLDERS_MAX {
        return Err(KeyError::Members { got: n });
    }
    loop {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let mut stream = SeededStream::new("FAIRLANE V1 pairing dealer", &seed);
        let poly = Poly::random(threshold(n) - 1, &mut stream);
        let set = PublicKeySet::from(poly.commitment());
        let coefficients = adapter::coefficients(&set).ok_or(KeyError::NonCanonicalPoint)?;
        let key = match PairingKey::new(epoch, n, coefficients) {
            Ok(key) => key,
            // A zero secret or share: once in 2²⁴⁷ deals, and no reason to fail.
            Err(KeyError::Identity) => continue,
            Err(error) => return Err(error),
        };
        let shares = (0..n)
            .map(|member| {
                let value: Fr = poly.evaluate(member + 1);
                let bytes = adapter::encode_fr(&value);
                PairingShare::new(&key, MemberId(member as u8), &bytes)
            })
            .collect::<Result<Vec<_>, _>>()?;
        return Ok((key, shares));
    }
}

//! Public key set and secret shares (ENCRYPTION 6.2).

use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_types::{Digest, Epoch, KeyId, MemberId};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::KeyError;
use crate::group::{self, ENCODED, Hs};

/// Most members that can hold shares of one key: share index = MemberId + 1 ≤ 256.
pub const SHARE_HOLDERS_MAX: usize = 256;

/// Decryption threshold t = 2⌊(n−1)/3⌋ + 1.
#[must_use]
pub const fn threshold(n: usize) -> usize {
    2 * (n.saturating_sub(1) / 3) + 1
}

/// The public side of a threshold key: the point Y that senders encrypt to, and one
/// verification key P'ᵢ for each member. 32·(n+1) + 12 bytes encoded.
///
/// A value of this type is consistent: any t of the verification keys determine Y, so
/// proven shares of any two quorums combine to the same key point (A10).
#[derive(Clone)]
pub struct EncryptionKey {
    epoch: Epoch,
    y: KeyPoint,
    members: Vec<KeyPoint>,
    id: KeyId,
    sharing: KeyId,
}

/// A point with its encoding.
#[derive(Clone)]
struct KeyPoint {
    bytes: [u8; ENCODED],
    point: RistrettoPoint,
}

impl KeyPoint {
    fn decode(bytes: [u8; ENCODED]) -> Result<Self, KeyError> {
        let point = group::decode_point(&bytes).ok_or(KeyError::NonCanonicalPoint)?;
        if bytes == [0; ENCODED] {
            return Err(KeyError::Identity);
        }
        Ok(Self { bytes, point })
    }
}

impl EncryptionKey {
    /// Checks encodings, range and consistency.
    ///
    /// # Errors
    /// [`KeyError`] names what is wrong.
    pub fn new(
        epoch: Epoch,
        y: [u8; ENCODED],
        members: Vec<[u8; ENCODED]>,
    ) -> Result<Self, KeyError> {
        Self::build(epoch, y, members, None)
    }

    /// As [`new`](Self::new), for a new sharing of the key that was first made as `id`:
    /// ciphertexts name that.
    ///
    /// # Errors
    /// [`KeyError`] names what is wrong.
    pub fn reshared(
        id: KeyId,
        epoch: Epoch,
        y: [u8; ENCODED],
        members: Vec<[u8; ENCODED]>,
    ) -> Result<Self, KeyError> {
        Self::build(epoch, y, members, Some(id))
    }

    fn build(
        epoch: Epoch,
        y: [u8; ENCODED],
        members: Vec<[u8; ENCODED]>,
        id: Option<KeyId>,
    ) -> Result<Self, KeyError> {
        if members.is_empty() || members.len() > SHARE_HOLDERS_MAX {
            return Err(KeyError::Members { got: members.len() });
        }
        let y = KeyPoint::decode(y)?;
        let members = members
            .into_iter()
            .map(KeyPoint::decode)
            .collect::<Result<Vec<_>, _>>()?;
        let sharing = key_id(epoch, &y, &members);
        let key = Self {
            epoch,
            y,
            members,
            id: id.unwrap_or(sharing),
            sharing,
        };
        if id != Some(sharing) && key.is_consistent() {
            Ok(key)
        } else {
            Err(KeyError::Inconsistent)
        }
    }

    /// Whether the P'ᵢ lie on one polynomial of degree t−1 with Y. With the scaling of 6.2
    /// that means Σ g(i)P'ᵢ = Y/2 for *every* monic g of degree n−t (the coefficients of
    /// 6.7 are such a g); one g with hashed coefficients decides it but for 2⁻²⁵².
    /// The test is SCRAPE's (Cascudo, David, ACNS 2017, §2.1), for this scaling.
    fn is_consistent(&self) -> bool {
        let degree = self.n() - self.t();
        let lower: Vec<Scalar> = (0..degree)
            .map(|k| {
                let k = (k as u16).to_le_bytes();
                Hs::new("FAIRLANE-V1-KEYCHECK")
                    .part(self.sharing.as_bytes())
                    .part(k)
                    .scalar()
            })
            .collect();
        let values = (1..=self.n()).map(|i| {
            let i = Scalar::from(i as u64);
            lower
                .iter()
                .rev()
                .fold(Scalar::ONE, |value, c| value * i + c)
        });
        let half = RistrettoPoint::vartime_multiscalar_mul(
            values,
            self.members.iter().map(|member| &member.point),
        );
        half + half == self.y.point
    }

    /// Number of members, n.
    #[must_use]
    pub fn n(&self) -> usize {
        self.members.len()
    }

    /// Shares that open a ciphertext, t = 2f + 1.
    #[must_use]
    pub fn t(&self) -> usize {
        threshold(self.n())
    }

    /// The epoch this sharing was made for.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Identity of the key, the hash of its first sharing; ciphertexts are bound to it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Identity of this sharing, a hash of everything in it; shares and their proofs are
    /// bound to it. The same as [`id`](Self::id) until the key is reshared.
    #[must_use]
    pub fn sharing(&self) -> KeyId {
        self.sharing
    }

    /// enc(Y), the point that senders encrypt to.
    #[must_use]
    pub fn y(&self) -> &[u8; ENCODED] {
        &self.y.bytes
    }

    /// enc(P'ᵢ) of a member, if it holds a share.
    #[must_use]
    pub fn verification_key(&self, member: MemberId) -> Option<&[u8; ENCODED]> {
        self.members.get(member.index()).map(|member| &member.bytes)
    }

    /// Whether a member holds a share.
    #[must_use]
    pub fn contains(&self, member: MemberId) -> bool {
        member.index() < self.n()
    }

    pub(crate) fn y_point(&self) -> &RistrettoPoint {
        &self.y.point
    }

    pub(crate) fn member_point(&self, member: MemberId) -> Option<&RistrettoPoint> {
        self.members.get(member.index()).map(|member| &member.point)
    }
}

/// SHA-512("FAIRLANE-V1-KEYID" ‖ 0x00 ‖ epoch u64 ‖ n u16 ‖ t u16 ‖ Y ‖ P'₁ … P'ₙ)[0..32].
fn key_id(epoch: Epoch, y: &KeyPoint, members: &[KeyPoint]) -> KeyId {
    let n = members.len() as u16;
    let t = threshold(members.len()) as u16;
    let mut hash = Hs::new("FAIRLANE-V1-KEYID")
        .part(epoch.0.to_le_bytes())
        .part(n.to_le_bytes())
        .part(t.to_le_bytes())
        .part(y.bytes);
    for member in members {
        hash = hash.part(member.bytes);
    }
    KeyId(Digest(*hash.bytes()))
}

impl PartialEq for EncryptionKey {
    fn eq(&self, other: &Self) -> bool {
        // The hash covers every other field.
        self.sharing == other.sharing && self.id == other.id
    }
}

impl Eq for EncryptionKey {}

impl core::fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EncryptionKey")
            .field("id", &self.id)
            .field("epoch", &self.epoch.0)
            .field("n", &self.n())
            .field("t", &self.t())
            .finish()
    }
}

/// Marks, in the encoded threshold, a key that was reshared: the id follows.
const RESHARED: u16 = 0x8000;

/// epoch u64 ‖ n u16 ‖ t u16 ‖ Y ‖ P'₁ … P'ₙ; with the top bit of t set the id of the first
/// sharing stands before Y.
impl BorshSerialize for EncryptionKey {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.epoch.serialize(writer)?;
        (self.n() as u16).serialize(writer)?;
        if self.id == self.sharing {
            (self.t() as u16).serialize(writer)?;
        } else {
            (self.t() as u16 | RESHARED).serialize(writer)?;
            self.id.serialize(writer)?;
        }
        writer.write_all(&self.y.bytes)?;
        self.members
            .iter()
            .try_for_each(|member| writer.write_all(&member.bytes))
    }
}

impl BorshDeserialize for EncryptionKey {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let epoch = Epoch::deserialize_reader(reader)?;
        let n = usize::from(u16::deserialize_reader(reader)?);
        let flagged = u16::deserialize_reader(reader)?;
        let got = usize::from(flagged & !RESHARED);
        if n == 0 || n > SHARE_HOLDERS_MAX {
            return Err(invalid(KeyError::Members { got: n }));
        }
        if got != threshold(n) {
            return Err(invalid(KeyError::Threshold {
                n,
                got,
                want: threshold(n),
            }));
        }
        let id = (flagged & RESHARED != 0)
            .then(|| KeyId::deserialize_reader(reader))
            .transpose()?;
        let y = <[u8; ENCODED]>::deserialize_reader(reader)?;
        let members = (0..n)
            .map(|_| <[u8; ENCODED]>::deserialize_reader(reader))
            .collect::<IoResult<Vec<_>>>()?;
        Self::build(epoch, y, members, id).map_err(invalid)
    }
}

/// One member's secret x'ᵢ; erased when dropped, never printed, compared in constant time.
/// Not `Clone`: share it between threads in an `Arc`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyShare {
    #[zeroize(skip)]
    member: MemberId,
    #[zeroize(skip)]
    key: KeyId,
    /// enc(P'ᵢ), public.
    #[zeroize(skip)]
    public: [u8; ENCODED],
    secret: Scalar,
    /// x'ᵢ/2, for the batch encoding of doubles (6.6).
    half: Scalar,
}

impl KeyShare {
    /// From a secret scalar, canonical little-endian.
    ///
    /// # Errors
    /// [`KeyError::BadScalar`] for zero or an unreduced scalar; [`KeyError::ShareMismatch`]
    /// when the scalar is not the member's share of `key`.
    pub fn new(
        key: &EncryptionKey,
        member: MemberId,
        secret: &[u8; ENCODED],
    ) -> Result<Self, KeyError> {
        let share = Self::unchecked(member, key.sharing(), secret)?;
        share.belongs_to(key)?;
        Ok(share)
    }

    pub(crate) fn unchecked(
        member: MemberId,
        key: KeyId,
        secret: &[u8; ENCODED],
    ) -> Result<Self, KeyError> {
        let secret = group::decode_scalar(secret).ok_or(KeyError::BadScalar)?;
        if bool::from(secret.ct_eq(&Scalar::ZERO)) {
            return Err(KeyError::BadScalar);
        }
        let public = group::mul_g(&secret).compress().to_bytes();
        Ok(Self {
            member,
            key,
            public,
            half: secret.div_by_2(),
            secret,
        })
    }

    /// Checks that this is the member's share of `key`.
    ///
    /// # Errors
    /// [`KeyError::ShareMismatch`] when it is not.
    pub fn belongs_to(&self, key: &EncryptionKey) -> Result<(), KeyError> {
        let same =
            self.key == key.sharing() && key.verification_key(self.member) == Some(&self.public);
        if same {
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
    pub fn key_id(&self) -> KeyId {
        self.key
    }

    /// enc(P'ᵢ).
    #[must_use]
    pub fn verification_key(&self) -> &[u8; ENCODED] {
        &self.public
    }

    /// The secret scalar, for writing a key file.
    #[must_use]
    pub fn expose_secret(&self) -> Zeroizing<[u8; ENCODED]> {
        Zeroizing::new(self.secret.to_bytes())
    }

    pub(crate) fn secret(&self) -> &Scalar {
        &self.secret
    }

    pub(crate) fn half(&self) -> &Scalar {
        &self.half
    }
}

impl core::fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyShare")
            .field("member", &self.member)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// member u8 ‖ key id ‖ x'ᵢ: 65 bytes, secret. Write it to encrypted files only.
impl BorshSerialize for KeyShare {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.member.serialize(writer)?;
        self.key.serialize(writer)?;
        writer.write_all(&*self.expose_secret())
    }
}

/// Call [`KeyShare::belongs_to`] next: the bytes alone do not tell the key.
impl BorshDeserialize for KeyShare {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let member = MemberId::deserialize_reader(reader)?;
        let key = KeyId::deserialize_reader(reader)?;
        let mut secret = Zeroizing::new([0; ENCODED]);
        reader.read_exact(&mut *secret)?;
        Self::unchecked(member, key, &secret).map_err(invalid)
    }
}

pub(crate) fn invalid(error: KeyError) -> IoError {
    IoError::new(ErrorKind::InvalidData, error)
}

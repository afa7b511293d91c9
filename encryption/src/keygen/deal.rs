//! A member's dealing as it travels: its part of the encryption key, and of the certificate
//! key where the chain has one.

use std::io::{Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::MemberId;

use super::curve::{Bls, Ristretto};
use super::part::Part;
use crate::KeyError;
use crate::keys::{SHARE_HOLDERS_MAX, invalid};

/// Which of a committee's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DealtKey {
    /// What orders are encrypted to, over ristretto255.
    Encryption,
    /// What the sequence is attested with, over BLS12-381.
    Certificate,
}

impl core::fmt::Display for DealtKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Encryption => "encryption key",
            Self::Certificate => "certificate key",
        })
    }
}

/// Why a dealing does not count. Every variant is a fact about its bytes, the same for
/// every member. One bad part makes the whole dealing bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DealError {
    /// The dealer may not deal in this ceremony, or is not the one expected.
    #[error("member {0} is not the dealer expected here")]
    Dealer(MemberId),
    /// For another number of receivers.
    #[error("a dealing for {got} receivers, there are {want}")]
    Receivers {
        /// Receivers of the dealing.
        got: usize,
        /// Receivers of the ceremony.
        want: usize,
    },
    /// It deals a certificate key where there is none, or none where there is one.
    #[error("the dealing is not for the keys that this ceremony makes")]
    Keys,
    /// A commitment is not a canonical point, or is the identity.
    #[error("{key}: commitment {at} is not a canonical point")]
    Commitment {
        /// Of which key.
        key: DealtKey,
        /// Which coefficient.
        at: usize,
    },
    /// The constant term is not the dealer's share of the old key.
    #[error("{0}: the dealt secret is not the dealer's share of the old key")]
    NotItsShare(DealtKey),
    /// The dealer does not show that it knows what it deals.
    #[error("{0}: the proof of possession does not verify")]
    Possession(DealtKey),
    /// The encryption of the shares does not verify.
    #[error("{0}: the encrypted shares do not verify")]
    Encryption(DealtKey),
}

/// Marks, in the encoded number of receivers, a dealing of a certificate key as well.
const CERTIFIED: u16 = 0x8000;

/// One dealer's dealing, of both keys at once: one signature, one verdict. Its length
/// follows from the receivers ([`Ceremony::encoded_len`](super::Ceremony::encoded_len)).
#[derive(Clone, PartialEq, Eq)]
pub struct Deal {
    /// Who deals.
    pub dealer: MemberId,
    pub(crate) n: usize,
    pub(crate) encryption: Part<Ristretto>,
    pub(crate) certificate: Option<Part<Bls>>,
}

impl Deal {
    /// Bytes of the encoding of a dealing to `n` receivers, with a certificate key or not.
    #[must_use]
    pub const fn encoded_len(n: usize, certified: bool) -> usize {
        let encryption = 3 + Part::<Ristretto>::encoded_len(n);
        if certified {
            encryption + Part::<Bls>::encoded_len(n)
        } else {
            encryption
        }
    }

    /// Receivers of the dealing.
    #[must_use]
    pub fn receivers(&self) -> usize {
        self.n
    }
}

impl core::fmt::Debug for Deal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Deal")
            .field("dealer", &self.dealer)
            .field("receivers", &self.n)
            .field("certificate", &self.certificate.is_some())
            .finish_non_exhaustive()
    }
}

/// dealer u8 ‖ n u16 ‖ part of the encryption key; with the top bit of n set the part of the
/// certificate key behind it.
impl BorshSerialize for Deal {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.dealer.serialize(writer)?;
        let flag = self.certificate.as_ref().map_or(0, |_| CERTIFIED);
        (self.n as u16 | flag).serialize(writer)?;
        self.encryption.write(writer)?;
        let certificate = self.certificate.as_ref();
        certificate.map_or(Ok(()), |part| part.write(writer))
    }
}

impl BorshDeserialize for Deal {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let dealer = MemberId::deserialize_reader(reader)?;
        let flagged = u16::deserialize_reader(reader)?;
        let n = usize::from(flagged & !CERTIFIED);
        if n == 0 || n > SHARE_HOLDERS_MAX {
            return Err(invalid(KeyError::Members { got: n }));
        }
        let encryption = Part::read(reader, n)?;
        let certificate = (flagged & CERTIFIED != 0).then(|| Part::read(reader, n));
        Ok(Self {
            dealer,
            n,
            encryption,
            certificate: certificate.transpose()?,
        })
    }
}

//! A member's dealing as it travels: its part of the encryption key, of the certificate key
//! where the chain has one, and of a fresh encryption key where the next epoch gets one.

use std::io::{Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{MemberId, Scheme};

use super::curve::Bls;
use super::part::Part;
use super::suite_part::SuitePart;
use crate::KeyError;
use crate::keys::{SHARE_HOLDERS_MAX, invalid};

/// Which of a committee's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DealtKey {
    /// What orders are encrypted to, over the group of the scheme.
    Encryption,
    /// What the sequence is attested with, over BLS12-381.
    Certificate,
    /// What orders are encrypted to from the next epoch on, over the same.
    Fresh,
}

impl core::fmt::Display for DealtKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Encryption => "encryption key",
            Self::Certificate => "certificate key",
            Self::Fresh => "fresh encryption key",
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
    /// It deals a key that is none of this ceremony's, or not all that are.
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
/// Marks one of a fresh encryption key.
const RENEWED: u16 = 0x4000;
/// Marks one of encryption keys of suite 0x02.
const PAIRING: u16 = 0x2000;

/// One dealer's dealing, of all keys at once: one signature, one verdict. Its length
/// follows from the receivers ([`Ceremony::encoded_len`](super::Ceremony::encoded_len)).
#[derive(Clone, PartialEq, Eq)]
pub struct Deal {
    /// Who deals.
    pub dealer: MemberId,
    pub(crate) n: usize,
    pub(crate) encryption: SuitePart,
    pub(crate) certificate: Option<Part<Bls>>,
    /// Of the same suite.
    pub(crate) fresh: Option<SuitePart>,
}

impl Deal {
    /// Bytes of the encoding of a dealing of keys of `scheme` to `n` receivers: with a
    /// certificate key or not, with a fresh encryption key or not.
    #[must_use]
    pub const fn encoded_len(scheme: Scheme, n: usize, certified: bool, renewed: bool) -> usize {
        let part = SuitePart::encoded_len(scheme, n);
        let mut bytes = 3 + part;
        if certified {
            bytes += Part::<Bls>::encoded_len(n);
        }
        if renewed {
            bytes += part;
        }
        bytes
    }

    /// The scheme of the encryption keys that it deals.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.encryption.scheme()
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
            .field("scheme", &self.scheme())
            .field("receivers", &self.n)
            .field("certificate", &self.certificate.is_some())
            .field("fresh", &self.fresh.is_some())
            .finish_non_exhaustive()
    }
}

/// dealer u8 ‖ n u16 ‖ part of the encryption key; with the top bit of n set the part of the
/// certificate key behind it, and with the next one that of the fresh encryption key. The bit
/// after it says that the encryption keys are of suite 0x02.
impl BorshSerialize for Deal {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.dealer.serialize(writer)?;
        let certified = self.certificate.as_ref().map_or(0, |_| CERTIFIED);
        let renewed = self.fresh.as_ref().map_or(0, |_| RENEWED);
        let pairing = match self.scheme() {
            Scheme::Tdh2 => 0,
            Scheme::BaekZheng => PAIRING,
        };
        (self.n as u16 | certified | renewed | pairing).serialize(writer)?;
        self.encryption.write(writer)?;
        let certificate = self.certificate.as_ref();
        certificate.map_or(Ok(()), |part| part.write(writer))?;
        let fresh = self.fresh.as_ref();
        fresh.map_or(Ok(()), |part| part.write(writer))
    }
}

impl BorshDeserialize for Deal {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let dealer = MemberId::deserialize_reader(reader)?;
        let flagged = u16::deserialize_reader(reader)?;
        let n = usize::from(flagged & !(CERTIFIED | RENEWED | PAIRING));
        if n == 0 || n > SHARE_HOLDERS_MAX {
            return Err(invalid(KeyError::Members { got: n }));
        }
        let scheme = match flagged & PAIRING {
            0 => Scheme::Tdh2,
            _ => Scheme::BaekZheng,
        };
        let encryption = SuitePart::read(scheme, reader, n)?;
        let certificate = (flagged & CERTIFIED != 0).then(|| Part::read(reader, n));
        let certificate = certificate.transpose()?;
        let fresh = (flagged & RENEWED != 0).then(|| SuitePart::read(scheme, reader, n));
        Ok(Self {
            dealer,
            n,
            encryption,
            certificate,
            fresh: fresh.transpose()?,
        })
    }
}

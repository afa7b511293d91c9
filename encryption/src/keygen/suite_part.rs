//! A part of an encryption key, over the group of the chain's scheme.

use std::io::{Read, Result as IoResult, Write};

use fairlane_types::Scheme;

use super::curve::{Bls, Ristretto};
use super::deal::{DealError, DealtKey};
use super::part::{OpenPart, Part};
use super::slots::ReceiverKey;

/// As it travels.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SuitePart {
    /// Suite 0x01.
    Tdh2(Part<Ristretto>),
    /// Suite 0x02.
    BaekZheng(Part<Bls>),
}

impl SuitePart {
    /// Bytes of the encoding for `n` receivers.
    pub(crate) const fn encoded_len(scheme: Scheme, n: usize) -> usize {
        match scheme {
            Scheme::Tdh2 => Part::<Ristretto>::encoded_len(n),
            Scheme::BaekZheng => Part::<Bls>::encoded_len(n),
        }
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        match self {
            Self::Tdh2(_) => Scheme::Tdh2,
            Self::BaekZheng(_) => Scheme::BaekZheng,
        }
    }

    pub(crate) fn write<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        match self {
            Self::Tdh2(part) => part.write(writer),
            Self::BaekZheng(part) => part.write(writer),
        }
    }

    /// Reads a part for `n` receivers, a number that the caller has bounded.
    pub(crate) fn read<R: Read>(scheme: Scheme, reader: &mut R, n: usize) -> IoResult<Self> {
        match scheme {
            Scheme::Tdh2 => Part::read(reader, n).map(Self::Tdh2),
            Scheme::BaekZheng => Part::read(reader, n).map(Self::BaekZheng),
        }
    }
}

/// With commitments that are points of the group.
#[derive(Clone, Debug)]
pub(crate) enum OpenSuitePart {
    /// Suite 0x01.
    Tdh2(OpenPart<Ristretto>),
    /// Suite 0x02.
    BaekZheng(OpenPart<Bls>),
}

impl OpenSuitePart {
    /// Checks proof and encryption.
    pub(crate) fn verify(&self, key: DealtKey, receivers: &[ReceiverKey]) -> Result<(), DealError> {
        match self {
            Self::Tdh2(part) => part.verify(key, receivers),
            Self::BaekZheng(part) => part.verify(key, receivers),
        }
    }

    pub(crate) const fn tdh2(&self) -> Option<&OpenPart<Ristretto>> {
        match self {
            Self::Tdh2(part) => Some(part),
            Self::BaekZheng(_) => None,
        }
    }

    pub(crate) const fn baek_zheng(&self) -> Option<&OpenPart<Bls>> {
        match self {
            Self::Tdh2(_) => None,
            Self::BaekZheng(part) => Some(part),
        }
    }
}

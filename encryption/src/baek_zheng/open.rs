//! Combining, opening and the opening check of suite 0x02.

use core::borrow::Borrow;

use fairlane_types::{KeyId, MemberId};
use threshold_crypto::{DecryptionShare, PublicKeySet};

use super::ciphertext::{self, BaekZhengCiphertext, Header, PAD_BYTES};
use super::{BaekZhengKey, BaekZhengProven, BaekZhengShares, kem};
use crate::combine::check_quorum;
use crate::encrypt::{OPENING_BYTES, unseal};
use crate::pairing::adapter;
use crate::{CombineError, CtError, Opened, OpeningError, Plain, padding};

/// A quorum of exactly t members. The crate interpolates anew for every order.
#[derive(Clone)]
pub struct BaekZhengCombiner {
    sharing: KeyId,
    members: Vec<MemberId>,
    set: PublicKeySet,
}

impl core::fmt::Debug for BaekZhengCombiner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BaekZhengCombiner")
            .field("sharing", &self.sharing)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

/// K_k of every order under one quorum: right if every share was.
#[derive(Clone)]
pub struct BaekZhengPoints(Vec<[u8; PAD_BYTES]>);

impl BaekZhengPoints {
    /// Number of orders.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list was empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// K_k of every order.
    #[must_use]
    pub fn pads(&self) -> &[[u8; PAD_BYTES]] {
        &self.0
    }
}

impl core::fmt::Debug for BaekZhengPoints {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BaekZhengPoints")
            .field("orders", &self.len())
            .finish_non_exhaustive()
    }
}

impl BaekZhengCombiner {
    pub(crate) fn new(key: &BaekZhengKey, quorum: &[MemberId]) -> Result<Self, CombineError> {
        check_quorum(key.n(), key.t(), quorum)?;
        Ok(Self {
            sharing: key.sharing(),
            members: quorum.to_vec(),
            set: key.set().clone(),
        })
    }

    pub(crate) fn combine<S: Borrow<BaekZhengShares>>(
        &self,
        shares: &[S],
    ) -> Result<BaekZhengPoints, CombineError> {
        let (have, need) = (shares.len(), self.members.len());
        match have.cmp(&need) {
            core::cmp::Ordering::Less => return Err(CombineError::NotEnough { have, need }),
            core::cmp::Ordering::Greater => return Err(CombineError::TooMany { have, need }),
            core::cmp::Ordering::Equal => {}
        }
        let first = shares[0].borrow();
        for (shares, member) in shares.iter().map(Borrow::borrow).zip(&self.members) {
            let same = shares.batch.member == *member
                && shares.batch.key == self.sharing
                && shares.batch.block == first.batch.block
                && shares.len() == first.len();
            if !same {
                return Err(CombineError::Mixed(shares.batch.member));
            }
        }
        let pads = (0..first.len())
            .map(|k| self.pad(shares.iter().map(|shares| &shares.borrow().points[k])))
            .collect();
        Ok(BaekZhengPoints(pads))
    }

    /// K of one order, by the crate's interpolation.
    fn pad<'a>(&self, column: impl Iterator<Item = &'a DecryptionShare>) -> [u8; PAD_BYTES] {
        let shares = self.members.iter().map(|member| member.index()).zip(column);
        kem::pad_of(&self.set, shares).expect("invariant: exactly t distinct members")
    }
}

/// Opens a list; `None` where the AEAD or the opening check fails.
pub(crate) fn open_batch<C: Borrow<BaekZhengCiphertext>>(
    key: &BaekZhengKey,
    list: &[C],
    points: &BaekZhengPoints,
) -> Vec<Option<Plain>> {
    let mut pads = points.0.iter();
    list.iter()
        .map(|ct| open(key, ct.borrow(), pads.next()?))
        .collect()
}

fn open(key: &BaekZhengKey, ct: &BaekZhengCiphertext, pad: &[u8; PAD_BYTES]) -> Option<Plain> {
    let ke = ciphertext::body_key(ct.key, &ct.u, pad);
    let buffer = unseal(&ke, &ct.label, &ct.body)?;
    let (opening, padded) = buffer.split_first_chunk::<OPENING_BYTES>()?;
    let payload = padding::unpad(padded)?.to_vec();
    // The opening check: U and K come out again, so K was the one that U stands for. W needs
    // no look: the ciphertext was checked, and U and V leave one W for which that holds.
    let (u, again) = kem::encapsulate(key, ct.key, &ct.label, opening)?;
    (u == ct.u && again == *pad).then_some(Plain {
        payload,
        opening: *opening,
    })
}

/// The verdict on one ciphertext from proven shares of exactly t members.
pub(crate) fn conclude<P: Borrow<BaekZhengProven>>(
    key: &BaekZhengKey,
    ciphertext: &BaekZhengCiphertext,
    shares: &[P],
) -> Result<Opened, CombineError> {
    let shares: Vec<&BaekZhengProven> = shares.iter().map(Borrow::borrow).collect();
    for share in &shares {
        let same =
            share.key == key.sharing() && ciphertext.key == key.id() && share.u == ciphertext.u;
        if !same {
            return Err(CombineError::Mixed(share.member));
        }
    }
    let quorum: Vec<_> = shares.iter().map(|share| share.member).collect();
    let combiner = BaekZhengCombiner::new(key, &quorum)?;
    let pad = combiner.pad(shares.iter().map(|share| &share.share));
    Ok(open(key, ciphertext, &pad).map_or(Opened::Malformed, Opened::Plain))
}

/// Checks offline that `payload` is what a ciphertext held: encapsulates again with the
/// opening and decrypts.
pub(crate) fn verify_opening(
    key: &BaekZhengKey,
    label: &[u8],
    bytes: &[u8],
    opening: &[u8; OPENING_BYTES],
    payload: &[u8],
) -> Result<(), OpeningError> {
    let (header, body) = Header::decode(bytes)?;
    if adapter::is_identity(&header.u) {
        return Err(CtError::IdentityU.into());
    }
    let id = key.id();
    let (u, pad) = kem::encapsulate(key, id, label, opening).ok_or(OpeningError::WrongOpening)?;
    if u != header.u {
        return Err(OpeningError::WrongOpening);
    }
    let buffer = unseal(&ciphertext::body_key(id, &u, &pad), label, body)
        .ok_or(OpeningError::WrongOpening)?;
    let (sealed, padded) = buffer
        .split_first_chunk::<OPENING_BYTES>()
        .ok_or(OpeningError::WrongOpening)?;
    if sealed != opening {
        return Err(OpeningError::WrongOpening);
    }
    if padding::unpad(padded) != Some(payload) {
        return Err(OpeningError::WrongPayload);
    }
    Ok(())
}

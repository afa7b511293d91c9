//! Suite 0x02 behind the seam.

use core::borrow::Borrow;

use fairlane_types::{BlockId, MemberId};
use rand_core::CryptoRng;

use super::{
    BaekZhengBatch, BaekZhengCiphertext, BaekZhengCombiner, BaekZhengKey, BaekZhengOrderShare,
    BaekZhengPoints, BaekZhengProven, BaekZhengShare, BaekZhengShares, ciphertext, open, shares,
};
use crate::{
    CombineError, CtError, EncryptError, OPENING_BYTES, Opened, OpeningError, Plain,
    SUITE_BAEK_ZHENG, Sealed, ShareError, ThresholdScheme,
};

/// Suite 0x02, `BZ-BLS12381-CHACHA20POLY1305`: Baek, Zheng (GLOBECOM 2003) with the crate
/// `threshold_crypto`. The module's documentation has the construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaekZheng {}

impl ThresholdScheme for BaekZheng {
    const SUITE: u8 = SUITE_BAEK_ZHENG;
    type Key = BaekZhengKey;
    type Secret = BaekZhengShare;
    type Parsed = BaekZhengCiphertext;
    type ShareBatch = BaekZhengBatch;
    type Shares = BaekZhengShares;
    type OrderShare = BaekZhengOrderShare;
    type Proven = BaekZhengProven;
    type Combiner = BaekZhengCombiner;
    type KeyPoints = BaekZhengPoints;

    fn size(key: &BaekZhengKey) -> (usize, usize) {
        (key.n(), key.t())
    }

    fn encrypt<R: CryptoRng + ?Sized>(
        key: &BaekZhengKey,
        label: &[u8],
        payload: &[u8],
        sender_secret: &[u8; 32],
        rng: &mut R,
    ) -> Result<Vec<u8>, EncryptError> {
        ciphertext::encrypt(key, label, payload, sender_secret, rng)
    }

    /// Pair by pair: the crate has no check of several at once.
    fn check_batch<L: Borrow<[u8]>, C: Borrow<[u8]>>(
        key: &BaekZhengKey,
        items: &[(L, C)],
        _entropy: &[u8; 32],
    ) -> Vec<Result<BaekZhengCiphertext, CtError>> {
        items
            .iter()
            .map(|(label, bytes)| ciphertext::check(key, label.borrow(), bytes.borrow()))
            .collect()
    }

    fn check(
        key: &BaekZhengKey,
        label: &[u8],
        bytes: &[u8],
    ) -> Result<BaekZhengCiphertext, CtError> {
        ciphertext::check(key, label, bytes)
    }

    fn shares<P: Borrow<BaekZhengCiphertext>, R: CryptoRng + ?Sized>(
        secret: &BaekZhengShare,
        block: BlockId,
        list: &[P],
        _rng: &mut R,
    ) -> Sealed<BaekZhengShares> {
        shares::make(secret, block, list)
    }

    fn accept(
        key: &BaekZhengKey,
        block: BlockId,
        orders: usize,
        from: MemberId,
        batch: BaekZhengBatch,
    ) -> Result<BaekZhengShares, ShareError> {
        shares::accept(key, block, orders, from, batch)
    }

    fn verify_shares<P: Borrow<BaekZhengCiphertext>>(
        key: &BaekZhengKey,
        list: &[P],
        shares: &BaekZhengShares,
    ) -> Result<Vec<BaekZhengProven>, ShareError> {
        shares::verify(key, list, shares)
    }

    fn prove_one<R: CryptoRng + ?Sized>(
        secret: &BaekZhengShare,
        block: BlockId,
        ciphertext: &BaekZhengCiphertext,
        _rng: &mut R,
    ) -> Sealed<BaekZhengOrderShare> {
        shares::make_one(secret, block, ciphertext)
    }

    fn verify_one(
        key: &BaekZhengKey,
        block: BlockId,
        ciphertext: &BaekZhengCiphertext,
        from: MemberId,
        share: &BaekZhengOrderShare,
    ) -> Result<BaekZhengProven, ShareError> {
        shares::verify_one(key, block, ciphertext, from, share)
    }

    fn combiner(
        key: &BaekZhengKey,
        quorum: &[MemberId],
    ) -> Result<BaekZhengCombiner, CombineError> {
        BaekZhengCombiner::new(key, quorum)
    }

    fn combine<S: Borrow<BaekZhengShares>>(
        combiner: &BaekZhengCombiner,
        shares: &[S],
    ) -> Result<BaekZhengPoints, CombineError> {
        combiner.combine(shares)
    }

    fn open<P: Borrow<BaekZhengCiphertext>>(
        key: &BaekZhengKey,
        list: &[P],
        points: &BaekZhengPoints,
        _entropy: &[u8; 32],
    ) -> Vec<Option<Plain>> {
        open::open_batch(key, list, points)
    }

    fn conclude<P: Borrow<BaekZhengProven>>(
        key: &BaekZhengKey,
        ciphertext: &BaekZhengCiphertext,
        shares: &[P],
    ) -> Result<Opened, CombineError> {
        open::conclude(key, ciphertext, shares)
    }

    fn verify_opening(
        key: &BaekZhengKey,
        label: &[u8],
        bytes: &[u8],
        opening: &[u8; OPENING_BYTES],
        payload: &[u8],
    ) -> Result<(), OpeningError> {
        open::verify_opening(key, label, bytes, opening, payload)
    }
}

//! The seam between the replica and a scheme (ENCRYPTION 6.10), and suite 0x01 behind it.

use core::borrow::Borrow;
use core::fmt::Debug;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BlockId, MemberId};
use rand_core::CryptoRng;

use crate::{
    CombineError, Combiner, CtError, EncryptError, EncryptionKey, KeyPoints, KeyShare,
    OPENING_BYTES, Opened, OpeningError, OrderShare, ParsedCiphertext, Plain, ProvenShare,
    SUITE_TDH2, Sealed, ShareBatch, ShareError, Shares, ciphertext, encrypt, open, order_share,
    shares,
};

/// A labelled threshold encryption scheme whose openings anyone can check.
///
/// Every function is pure: no clock, no threads, no state; what is random comes in as
/// `rng`, or as `entropy`: 32 bytes that nobody else can foresee, fresh for each call.
/// A list is the ordered set D(c) of a block; `&[ParsedCiphertext]`, `&[&_]` and
/// `&[Arc<_>]` all serve.
///
/// The way of a block (D4, D5): [`check_batch`](Self::check_batch) at admission,
/// [`shares`](Self::shares) when it is final, [`accept`](Self::accept) for what others
/// send, [`combine`](Self::combine) for t sets, [`open`](Self::open). Where that gives
/// `None`: [`verify_shares`](Self::verify_shares) (or single-order shares), drop and blame
/// liars, retry; with t proven shares [`conclude`](Self::conclude) gives the verdict.
/// [`resolve`](crate::resolve) is that loop.
pub trait ThresholdScheme {
    /// First byte of labels and ciphertexts.
    const SUITE: u8;
    /// Public key set.
    type Key: Clone + Debug + Eq + Send + Sync + BorshSerialize + BorshDeserialize;
    /// One member's secret.
    type Secret: Debug + Send + Sync;
    /// A valid ciphertext, parsed.
    type Parsed: Clone + Debug + Eq + Send + Sync;
    /// Shares of a list, as they travel.
    type ShareBatch: Clone + Debug + Eq + Send + Sync + BorshSerialize + BorshDeserialize;
    /// Shares of a list, parsed, not proven.
    type Shares: Clone + Debug + Send + Sync;
    /// A share of one order with its own proof, as it travels.
    type OrderShare: Clone + Debug + Eq + Send + Sync + BorshSerialize + BorshDeserialize;
    /// A share of one order that is certainly right.
    type Proven: Clone + Debug + Send + Sync;
    /// A quorum with what can be precomputed for it.
    type Combiner: Clone + Debug + Send + Sync;
    /// What a quorum's shares combine to, for each order.
    type KeyPoints: Clone + Debug + Send + Sync;

    /// Members and threshold (n, t) of a key.
    fn size(key: &Self::Key) -> (usize, usize);

    /// Encrypts a payload of at most [`PAYLOAD_MAX`](crate::PAYLOAD_MAX) bytes for a label.
    /// `sender_secret` hedges a weak `rng`; any secret of the sender serves.
    ///
    /// # Errors
    /// [`EncryptError::PayloadTooLong`].
    fn encrypt<R: CryptoRng + ?Sized>(
        key: &Self::Key,
        label: &[u8],
        payload: &[u8],
        sender_secret: &[u8; 32],
        rng: &mut R,
    ) -> Result<Vec<u8>, EncryptError>;

    /// Checks (label, ciphertext) pairs. Each result is what a check of the pair alone
    /// gives, whatever else is in the batch.
    fn check_batch<L: Borrow<[u8]>, C: Borrow<[u8]>>(
        key: &Self::Key,
        items: &[(L, C)],
        entropy: &[u8; 32],
    ) -> Vec<Result<Self::Parsed, CtError>>;

    /// Checks one ciphertext.
    ///
    /// # Errors
    /// [`CtError`] names what is wrong.
    fn check(key: &Self::Key, label: &[u8], ciphertext: &[u8]) -> Result<Self::Parsed, CtError>;

    /// This member's shares of a list and their proof, sealed until `block` is final (D1).
    fn shares<P: Borrow<Self::Parsed>, R: CryptoRng + ?Sized>(
        secret: &Self::Secret,
        block: BlockId,
        list: &[P],
        rng: &mut R,
    ) -> Sealed<Self::Shares>;

    /// Parses what member `from` sent for `block`, whose list has `orders` entries.
    ///
    /// # Errors
    /// [`ShareError`]: all but its signature and proof are checked.
    fn accept(
        key: &Self::Key,
        block: BlockId,
        orders: usize,
        from: MemberId,
        batch: Self::ShareBatch,
    ) -> Result<Self::Shares, ShareError>;

    /// Verifies the proof over a list; one proven share for each order, in order.
    ///
    /// # Errors
    /// [`ShareError::BadBatchProof`] blames the member.
    fn verify_shares<P: Borrow<Self::Parsed>>(
        key: &Self::Key,
        list: &[P],
        shares: &Self::Shares,
    ) -> Result<Vec<Self::Proven>, ShareError>;

    /// This member's share of one order with a proof of its own (D5), sealed as well.
    fn prove_one<R: CryptoRng + ?Sized>(
        secret: &Self::Secret,
        block: BlockId,
        ciphertext: &Self::Parsed,
        rng: &mut R,
    ) -> Sealed<Self::OrderShare>;

    /// Verifies what member `from` sent for one order.
    ///
    /// # Errors
    /// [`ShareError`] blames the member.
    fn verify_one(
        key: &Self::Key,
        block: BlockId,
        ciphertext: &Self::Parsed,
        from: MemberId,
        share: &Self::OrderShare,
    ) -> Result<Self::Proven, ShareError>;

    /// Precomputes a quorum of exactly t members; worth keeping.
    ///
    /// # Errors
    /// [`CombineError`] unless they are t distinct holders.
    fn combiner(key: &Self::Key, quorum: &[MemberId]) -> Result<Self::Combiner, CombineError>;

    /// Combines the quorum's shares, given in the combiner's order.
    ///
    /// # Errors
    /// [`CombineError`] when they are not the quorum's for one block.
    fn combine<S: Borrow<Self::Shares>>(
        combiner: &Self::Combiner,
        shares: &[S],
    ) -> Result<Self::KeyPoints, CombineError>;

    /// Opens a list; `None` where the opening check refuses what was combined.
    fn open<P: Borrow<Self::Parsed>>(
        key: &Self::Key,
        list: &[P],
        points: &Self::KeyPoints,
        entropy: &[u8; 32],
    ) -> Vec<Option<Plain>>;

    /// The verdict on one order from exactly t proven shares: the same for any t (A10).
    ///
    /// # Errors
    /// [`CombineError`] unless they are t distinct members' for this order.
    fn conclude<P: Borrow<Self::Proven>>(
        key: &Self::Key,
        ciphertext: &Self::Parsed,
        shares: &[P],
    ) -> Result<Opened, CombineError>;

    /// Checks a published payload and opening against a ciphertext, offline.
    ///
    /// # Errors
    /// [`OpeningError`] tells what does not fit.
    fn verify_opening(
        key: &Self::Key,
        label: &[u8],
        ciphertext: &[u8],
        opening: &[u8; OPENING_BYTES],
        payload: &[u8],
    ) -> Result<(), OpeningError>;
}

/// Suite 0x01, `TDH2-R255-SHA512-CHACHA20POLY1305`: Shoup, Gennaro, "Securing threshold
/// cryptosystems against chosen ciphertext attack" (J. Cryptology 2002), scheme TDH2, over
/// ristretto255, with an opening check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tdh2 {}

impl ThresholdScheme for Tdh2 {
    const SUITE: u8 = SUITE_TDH2;
    type Key = EncryptionKey;
    type Secret = KeyShare;
    type Parsed = ParsedCiphertext;
    type ShareBatch = ShareBatch;
    type Shares = Shares;
    type OrderShare = OrderShare;
    type Proven = ProvenShare;
    type Combiner = Combiner;
    type KeyPoints = KeyPoints;

    fn size(key: &EncryptionKey) -> (usize, usize) {
        (key.n(), key.t())
    }

    fn encrypt<R: CryptoRng + ?Sized>(
        key: &EncryptionKey,
        label: &[u8],
        payload: &[u8],
        sender_secret: &[u8; 32],
        rng: &mut R,
    ) -> Result<Vec<u8>, EncryptError> {
        encrypt::encrypt(key, label, payload, sender_secret, rng)
    }

    fn check_batch<L: Borrow<[u8]>, C: Borrow<[u8]>>(
        key: &EncryptionKey,
        items: &[(L, C)],
        entropy: &[u8; 32],
    ) -> Vec<Result<ParsedCiphertext, CtError>> {
        ciphertext::check_batch(key, items, entropy)
    }

    fn check(
        key: &EncryptionKey,
        label: &[u8],
        ciphertext: &[u8],
    ) -> Result<ParsedCiphertext, CtError> {
        ciphertext::check(key, label, ciphertext)
    }

    fn shares<P: Borrow<ParsedCiphertext>, R: CryptoRng + ?Sized>(
        secret: &KeyShare,
        block: BlockId,
        list: &[P],
        rng: &mut R,
    ) -> Sealed<Shares> {
        shares::make(secret, block, list, rng)
    }

    fn accept(
        key: &EncryptionKey,
        block: BlockId,
        orders: usize,
        from: MemberId,
        batch: ShareBatch,
    ) -> Result<Shares, ShareError> {
        Shares::accept(key, block, orders, from, batch)
    }

    fn verify_shares<P: Borrow<ParsedCiphertext>>(
        key: &EncryptionKey,
        list: &[P],
        shares: &Shares,
    ) -> Result<Vec<ProvenShare>, ShareError> {
        shares::verify(key, list, shares)
    }

    fn prove_one<R: CryptoRng + ?Sized>(
        secret: &KeyShare,
        block: BlockId,
        ciphertext: &ParsedCiphertext,
        rng: &mut R,
    ) -> Sealed<OrderShare> {
        order_share::prove_one(secret, block, ciphertext, rng)
    }

    fn verify_one(
        key: &EncryptionKey,
        block: BlockId,
        ciphertext: &ParsedCiphertext,
        from: MemberId,
        share: &OrderShare,
    ) -> Result<ProvenShare, ShareError> {
        order_share::verify_one(key, block, ciphertext, from, share)
    }

    fn combiner(key: &EncryptionKey, quorum: &[MemberId]) -> Result<Combiner, CombineError> {
        Combiner::new(key, quorum)
    }

    fn combine<S: Borrow<Shares>>(
        combiner: &Combiner,
        shares: &[S],
    ) -> Result<KeyPoints, CombineError> {
        combiner.combine(shares)
    }

    fn open<P: Borrow<ParsedCiphertext>>(
        key: &EncryptionKey,
        list: &[P],
        points: &KeyPoints,
        entropy: &[u8; 32],
    ) -> Vec<Option<Plain>> {
        open::open_batch(key, list, points, entropy)
    }

    fn conclude<P: Borrow<ProvenShare>>(
        key: &EncryptionKey,
        ciphertext: &ParsedCiphertext,
        shares: &[P],
    ) -> Result<Opened, CombineError> {
        open::conclude(key, ciphertext, shares)
    }

    fn verify_opening(
        key: &EncryptionKey,
        label: &[u8],
        ciphertext: &[u8],
        opening: &[u8; OPENING_BYTES],
        payload: &[u8],
    ) -> Result<(), OpeningError> {
        open::verify_opening(key, label, ciphertext, opening, payload)
    }
}

//! A committee's scheme, named by its genesis: suites 0x01 and 0x02 behind one
//! [`ThresholdScheme`], told apart at run time.
//!
//! Every value carries which suite it is of. A value of one suite under a key of the other
//! is refused like any foreign one: as another suite, another key, or another length. What
//! is stored and sent begins with one byte that names the suite, and decodes to nothing
//! else.

use core::borrow::Borrow;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BlockId, DecodeError, Epoch, KeyId, MemberId, Scheme, decode, encode};
use rand_core::CryptoRng;

use crate::{
    BaekZheng, BaekZhengBatch, BaekZhengCiphertext, BaekZhengCombiner, BaekZhengKey,
    BaekZhengOrderShare, BaekZhengPoints, BaekZhengProven, BaekZhengShare, BaekZhengShares,
    CombineError, Combiner, CtError, EncryptError, EncryptionKey, KeyBatch, KeyError, KeyPoints,
    KeyShare, OPENING_BYTES, Opened, OpeningError, OrderShare, ParsedCiphertext, Plain,
    ProvenShare, SIZE_CLASSES, Sealed, ShareBatch, ShareError, Shares, Tdh2, ThresholdScheme,
    baek_zheng_bytes, ciphertext_bytes, deal_insecure, deal_pairing_insecure, verify_shares_of,
};

/// Largest encoding of a key set, in bytes: 256 members and some.
pub const SUITE_KEY_BYTES_MAX: usize = 16 << 10;

/// Lengths that a scheme's ciphertexts can have, ascending.
#[must_use]
pub fn ciphertext_lens(scheme: Scheme) -> Vec<usize> {
    let bytes = match scheme {
        Scheme::Tdh2 => ciphertext_bytes,
        Scheme::BaekZheng => baek_zheng_bytes,
    };
    SIZE_CLASSES.iter().map(|class| bytes(*class)).collect()
}

/// The scheme that a key is of; see the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {}

/// A public key set.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SuiteKey {
    /// Suite 0x01.
    Tdh2(EncryptionKey),
    /// Suite 0x02.
    BaekZheng(BaekZhengKey),
}

/// One member's secret.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub enum SuiteSecret {
    /// Suite 0x01.
    Tdh2(KeyShare),
    /// Suite 0x02.
    BaekZheng(BaekZhengShare),
}

/// A valid ciphertext, parsed.
#[expect(
    clippy::large_enum_variant,
    reason = "the default suite pays for no second allocation"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuiteParsed {
    /// Suite 0x01.
    Tdh2(ParsedCiphertext),
    /// Suite 0x02.
    BaekZheng(Box<BaekZhengCiphertext>),
}

/// Shares of a list, as they travel.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SuiteBatch {
    /// Suite 0x01.
    Tdh2(ShareBatch),
    /// Suite 0x02.
    BaekZheng(BaekZhengBatch),
}

/// Shares of a list, parsed, not proven.
#[derive(Clone, Debug)]
pub enum SuiteShares {
    /// Suite 0x01.
    Tdh2(Shares),
    /// Suite 0x02.
    BaekZheng(BaekZhengShares),
}

/// A share of one order with its own proof.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SuiteOrderShare {
    /// Suite 0x01.
    Tdh2(OrderShare),
    /// Suite 0x02.
    BaekZheng(BaekZhengOrderShare),
    /// Asked for a ciphertext of another suite than the secret's: nobody accepts it.
    Foreign,
}

/// A share of one order that is certainly right.
#[derive(Clone, Debug)]
pub enum SuiteProven {
    /// Suite 0x01.
    Tdh2(ProvenShare),
    /// Suite 0x02.
    BaekZheng(BaekZhengProven),
}

/// A quorum with what can be precomputed for it.
#[derive(Clone, Debug)]
pub enum SuiteCombiner {
    /// Suite 0x01.
    Tdh2(Combiner),
    /// Suite 0x02.
    BaekZheng(Box<BaekZhengCombiner>),
}

/// What a quorum's shares combine to.
#[derive(Clone, Debug)]
pub enum SuitePoints {
    /// Suite 0x01.
    Tdh2(KeyPoints),
    /// Suite 0x02.
    BaekZheng(BaekZhengPoints),
}

impl SuiteKey {
    /// Reads the key of a genesis, which is in its scheme's own encoding.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_bytes(scheme: Scheme, bytes: &[u8]) -> Result<Self, DecodeError> {
        match scheme {
            Scheme::Tdh2 => decode(bytes, SUITE_KEY_BYTES_MAX).map(Self::Tdh2),
            Scheme::BaekZheng => decode(bytes, SUITE_KEY_BYTES_MAX).map(Self::BaekZheng),
        }
    }

    /// The scheme's own encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Tdh2(key) => encode(key),
            Self::BaekZheng(key) => encode(key),
        }
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Tdh2(_) => Scheme::Tdh2,
            Self::BaekZheng(_) => Scheme::BaekZheng,
        }
    }

    /// The key, if it is of suite 0x01.
    #[must_use]
    pub const fn tdh2(&self) -> Option<&EncryptionKey> {
        match self {
            Self::Tdh2(key) => Some(key),
            Self::BaekZheng(_) => None,
        }
    }

    /// The key, if it is of suite 0x02.
    #[must_use]
    pub const fn baek_zheng(&self) -> Option<&BaekZhengKey> {
        match self {
            Self::Tdh2(_) => None,
            Self::BaekZheng(key) => Some(key),
        }
    }

    /// Identity of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        match self {
            Self::Tdh2(key) => key.id(),
            Self::BaekZheng(key) => key.id(),
        }
    }

    /// Identity of this sharing of it.
    #[must_use]
    pub fn sharing(&self) -> KeyId {
        match self {
            Self::Tdh2(key) => key.sharing(),
            Self::BaekZheng(key) => key.sharing(),
        }
    }

    /// Members.
    #[must_use]
    pub fn n(&self) -> usize {
        Suite::size(self).0
    }

    /// Members whose shares open.
    #[must_use]
    pub fn t(&self) -> usize {
        Suite::size(self).1
    }

    /// Epoch that it was made for.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Tdh2(key) => key.epoch(),
            Self::BaekZheng(key) => key.epoch(),
        }
    }

    /// Verifies shares against [statements](SuiteParsed::statement): what a third party
    /// does with a signed set and the list it commits to, without the ciphertexts.
    ///
    /// # Errors
    /// [`ShareError`] blames the maker; `BadEncoding` may also name a statement that is none.
    pub fn verify_shares_of(
        &self,
        statements: &[Vec<u8>],
        shares: &SuiteShares,
    ) -> Result<(), ShareError> {
        match (self, shares) {
            (Self::Tdh2(key), SuiteShares::Tdh2(shares)) => {
                let points: Vec<_> = (statements.iter().enumerate())
                    .map(|(k, bytes)| {
                        <[u8; 32]>::try_from(bytes.as_slice())
                            .map_err(|_| ShareError::BadEncoding(k))
                    })
                    .collect::<Result<_, _>>()?;
                verify_shares_of(key, &points, shares)
            }
            (Self::BaekZheng(key), SuiteShares::BaekZheng(shares)) => {
                crate::baek_zheng::verify_statements(key, statements, shares)
            }
            _ => Err(ShareError::WrongKey),
        }
    }
}

/// Deals a key of this scheme to `n` members, in the order of their ids. **Insecure**:
/// whoever runs this knows every secret; the genesis must say so.
///
/// # Errors
/// [`KeyError::Members`] when `n` is 0 or too large.
pub fn deal_suite_insecure<R: CryptoRng + ?Sized>(
    scheme: Scheme,
    epoch: Epoch,
    n: usize,
    rng: &mut R,
) -> Result<(SuiteKey, Vec<SuiteSecret>), KeyError> {
    match scheme {
        Scheme::Tdh2 => {
            let (key, shares) = deal_insecure(epoch, n, rng)?;
            let shares = shares.into_iter().map(SuiteSecret::Tdh2).collect();
            Ok((SuiteKey::Tdh2(key), shares))
        }
        Scheme::BaekZheng => {
            let (key, shares) = deal_pairing_insecure(epoch, n, rng)?;
            let shares = shares.into_iter().map(SuiteSecret::BaekZheng).collect();
            Ok((SuiteKey::BaekZheng(key), shares))
        }
    }
}

impl SuiteSecret {
    /// Whether it is a share of this key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn belongs_to(&self, key: &SuiteKey) -> Result<(), KeyError> {
        match (self, key) {
            (Self::Tdh2(share), SuiteKey::Tdh2(key)) => share.belongs_to(key),
            (Self::BaekZheng(share), SuiteKey::BaekZheng(key)) => share.belongs_to(key),
            _ => Err(KeyError::ShareMismatch {
                member: self.member(),
            }),
        }
    }

    /// Whose share it is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        match self {
            Self::Tdh2(share) => share.member(),
            Self::BaekZheng(share) => share.member(),
        }
    }
}

impl SuiteParsed {
    /// What shares of it are verified against: U, and for suite 0x02 also V and W.
    #[must_use]
    pub fn statement(&self) -> Vec<u8> {
        match self {
            Self::Tdh2(ct) => ct.u().to_vec(),
            Self::BaekZheng(ct) => ct.statement(),
        }
    }

    /// The ciphertext, if it is of suite 0x01.
    #[must_use]
    pub const fn tdh2(&self) -> Option<&ParsedCiphertext> {
        match self {
            Self::Tdh2(ct) => Some(ct),
            Self::BaekZheng(_) => None,
        }
    }

    /// The ciphertext, if it is of suite 0x02.
    #[must_use]
    pub fn baek_zheng(&self) -> Option<&BaekZhengCiphertext> {
        match self {
            Self::Tdh2(_) => None,
            Self::BaekZheng(ct) => Some(ct),
        }
    }
}

impl SuiteBatch {
    /// The batch, if it is of suite 0x01.
    #[must_use]
    pub const fn tdh2(&self) -> Option<&ShareBatch> {
        match self {
            Self::Tdh2(batch) => Some(batch),
            Self::BaekZheng(_) => None,
        }
    }

    /// The final block that the shares are for.
    #[must_use]
    pub const fn block(&self) -> BlockId {
        match self {
            Self::Tdh2(batch) => batch.block,
            Self::BaekZheng(batch) => batch.block,
        }
    }

    /// Number of shares.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Tdh2(batch) => batch.shares.len(),
            Self::BaekZheng(batch) => batch.shares.len(),
        }
    }

    /// Bytes of the shares.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Tdh2(batch) => size_of_val(&batch.shares[..]),
            Self::BaekZheng(batch) => size_of_val(&batch.shares[..]),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SuitePoints {
    /// What a combiner tells of a slice; `None` for suite 0x02, which is not sharded.
    #[must_use]
    pub fn batch(
        &self,
        key: &SuiteKey,
        block: BlockId,
        member: MemberId,
        opened: impl IntoIterator<Item = bool>,
    ) -> Option<KeyBatch> {
        match (self, key) {
            (Self::Tdh2(points), SuiteKey::Tdh2(key)) => {
                Some(KeyBatch::new(key, block, member, points, opened))
            }
            _ => None,
        }
    }
}

impl SuiteKey {
    /// Opens what a combiner told of a slice's list.
    ///
    /// # Errors
    /// [`ShareError`], as [`KeyBatch::open`].
    pub fn open_told<P: Borrow<SuiteParsed>>(
        &self,
        batch: &KeyBatch,
        block: BlockId,
        list: &[P],
        from: MemberId,
        entropy: &[u8; 32],
    ) -> Result<Vec<(usize, Option<Plain>)>, ShareError> {
        match self {
            Self::Tdh2(key) => batch.open(key, block, &tdh2_list(list), from, entropy),
            Self::BaekZheng(_) => Err(ShareError::WrongKey),
        }
    }
}

impl SuiteShares {
    /// The form that travels.
    #[must_use]
    pub fn batch(&self) -> SuiteBatch {
        match self {
            Self::Tdh2(shares) => SuiteBatch::Tdh2(shares.batch().clone()),
            Self::BaekZheng(shares) => SuiteBatch::BaekZheng(shares.batch().clone()),
        }
    }
}

/// The values of a list that are of suite 0x01. A list under one key has no others.
fn tdh2_list<P: Borrow<SuiteParsed>>(list: &[P]) -> Vec<&ParsedCiphertext> {
    list.iter().filter_map(|ct| ct.borrow().tdh2()).collect()
}

/// The values of a list that are of suite 0x02.
fn baek_zheng_list<P: Borrow<SuiteParsed>>(list: &[P]) -> Vec<&BaekZhengCiphertext> {
    (list.iter())
        .filter_map(|ct| ct.borrow().baek_zheng())
        .collect()
}

impl ThresholdScheme for Suite {
    /// Of the default scheme; `Scheme::suite` has a key's own.
    const SUITE: u8 = Tdh2::SUITE;
    type Key = SuiteKey;
    type Secret = SuiteSecret;
    type Parsed = SuiteParsed;
    type ShareBatch = SuiteBatch;
    type Shares = SuiteShares;
    type OrderShare = SuiteOrderShare;
    type Proven = SuiteProven;
    type Combiner = SuiteCombiner;
    type KeyPoints = SuitePoints;

    fn size(key: &SuiteKey) -> (usize, usize) {
        match key {
            SuiteKey::Tdh2(key) => Tdh2::size(key),
            SuiteKey::BaekZheng(key) => BaekZheng::size(key),
        }
    }

    fn encrypt<R: CryptoRng + ?Sized>(
        key: &SuiteKey,
        label: &[u8],
        payload: &[u8],
        sender_secret: &[u8; 32],
        rng: &mut R,
    ) -> Result<Vec<u8>, EncryptError> {
        match key {
            SuiteKey::Tdh2(key) => Tdh2::encrypt(key, label, payload, sender_secret, rng),
            SuiteKey::BaekZheng(key) => BaekZheng::encrypt(key, label, payload, sender_secret, rng),
        }
    }

    fn check_batch<L: Borrow<[u8]>, C: Borrow<[u8]>>(
        key: &SuiteKey,
        items: &[(L, C)],
        entropy: &[u8; 32],
    ) -> Vec<Result<SuiteParsed, CtError>> {
        match key {
            SuiteKey::Tdh2(key) => (Tdh2::check_batch(key, items, entropy).into_iter())
                .map(|result| result.map(SuiteParsed::Tdh2))
                .collect(),
            SuiteKey::BaekZheng(key) => (BaekZheng::check_batch(key, items, entropy).into_iter())
                .map(|result| result.map(|ct| SuiteParsed::BaekZheng(Box::new(ct))))
                .collect(),
        }
    }

    fn check(key: &SuiteKey, label: &[u8], ciphertext: &[u8]) -> Result<SuiteParsed, CtError> {
        match key {
            SuiteKey::Tdh2(key) => Tdh2::check(key, label, ciphertext).map(SuiteParsed::Tdh2),
            SuiteKey::BaekZheng(key) => BaekZheng::check(key, label, ciphertext)
                .map(|ct| SuiteParsed::BaekZheng(Box::new(ct))),
        }
    }

    /// Of a list that is not all of the secret's suite fewer shares come out than the list
    /// is long, which nobody accepts.
    fn shares<P: Borrow<SuiteParsed>, R: CryptoRng + ?Sized>(
        secret: &SuiteSecret,
        block: BlockId,
        list: &[P],
        rng: &mut R,
    ) -> Sealed<SuiteShares> {
        match secret {
            SuiteSecret::Tdh2(secret) => {
                Tdh2::shares(secret, block, &tdh2_list(list), rng).map(SuiteShares::Tdh2)
            }
            SuiteSecret::BaekZheng(secret) => {
                BaekZheng::shares(secret, block, &baek_zheng_list(list), rng)
                    .map(SuiteShares::BaekZheng)
            }
        }
    }

    fn accept(
        key: &SuiteKey,
        block: BlockId,
        orders: usize,
        from: MemberId,
        batch: SuiteBatch,
    ) -> Result<SuiteShares, ShareError> {
        match (key, batch) {
            (SuiteKey::Tdh2(key), SuiteBatch::Tdh2(batch)) => {
                Tdh2::accept(key, block, orders, from, batch).map(SuiteShares::Tdh2)
            }
            (SuiteKey::BaekZheng(key), SuiteBatch::BaekZheng(batch)) => {
                BaekZheng::accept(key, block, orders, from, batch).map(SuiteShares::BaekZheng)
            }
            _ => Err(ShareError::WrongKey),
        }
    }

    fn verify_shares<P: Borrow<SuiteParsed>>(
        key: &SuiteKey,
        list: &[P],
        shares: &SuiteShares,
    ) -> Result<Vec<SuiteProven>, ShareError> {
        match (key, shares) {
            (SuiteKey::Tdh2(key), SuiteShares::Tdh2(shares)) => {
                let proven = Tdh2::verify_shares(key, &tdh2_list(list), shares)?;
                Ok(proven.into_iter().map(SuiteProven::Tdh2).collect())
            }
            (SuiteKey::BaekZheng(key), SuiteShares::BaekZheng(shares)) => {
                let proven = BaekZheng::verify_shares(key, &baek_zheng_list(list), shares)?;
                Ok(proven.into_iter().map(SuiteProven::BaekZheng).collect())
            }
            _ => Err(ShareError::WrongKey),
        }
    }

    fn prove_one<R: CryptoRng + ?Sized>(
        secret: &SuiteSecret,
        block: BlockId,
        ciphertext: &SuiteParsed,
        rng: &mut R,
    ) -> Sealed<SuiteOrderShare> {
        match (secret, ciphertext) {
            (SuiteSecret::Tdh2(secret), SuiteParsed::Tdh2(ct)) => {
                Tdh2::prove_one(secret, block, ct, rng).map(SuiteOrderShare::Tdh2)
            }
            (SuiteSecret::BaekZheng(secret), SuiteParsed::BaekZheng(ct)) => {
                BaekZheng::prove_one(secret, block, ct, rng).map(SuiteOrderShare::BaekZheng)
            }
            _ => Sealed::new(block, SuiteOrderShare::Foreign),
        }
    }

    fn verify_one(
        key: &SuiteKey,
        block: BlockId,
        ciphertext: &SuiteParsed,
        from: MemberId,
        share: &SuiteOrderShare,
    ) -> Result<SuiteProven, ShareError> {
        match (key, ciphertext, share) {
            (SuiteKey::Tdh2(key), SuiteParsed::Tdh2(ct), SuiteOrderShare::Tdh2(share)) => {
                Tdh2::verify_one(key, block, ct, from, share).map(SuiteProven::Tdh2)
            }
            (
                SuiteKey::BaekZheng(key),
                SuiteParsed::BaekZheng(ct),
                SuiteOrderShare::BaekZheng(share),
            ) => BaekZheng::verify_one(key, block, ct, from, share).map(SuiteProven::BaekZheng),
            _ => Err(ShareError::WrongKey),
        }
    }

    fn combiner(key: &SuiteKey, quorum: &[MemberId]) -> Result<SuiteCombiner, CombineError> {
        match key {
            SuiteKey::Tdh2(key) => Tdh2::combiner(key, quorum).map(SuiteCombiner::Tdh2),
            SuiteKey::BaekZheng(key) => BaekZheng::combiner(key, quorum)
                .map(|combiner| SuiteCombiner::BaekZheng(Box::new(combiner))),
        }
    }

    fn combine<S: Borrow<SuiteShares>>(
        combiner: &SuiteCombiner,
        shares: &[S],
    ) -> Result<SuitePoints, CombineError> {
        match combiner {
            SuiteCombiner::Tdh2(combiner) => {
                let shares: Vec<&Shares> = (shares.iter())
                    .filter_map(|set| match set.borrow() {
                        SuiteShares::Tdh2(shares) => Some(shares),
                        SuiteShares::BaekZheng(_) => None,
                    })
                    .collect();
                Tdh2::combine(combiner, &shares).map(SuitePoints::Tdh2)
            }
            SuiteCombiner::BaekZheng(combiner) => {
                let shares: Vec<&BaekZhengShares> = (shares.iter())
                    .filter_map(|set| match set.borrow() {
                        SuiteShares::Tdh2(_) => None,
                        SuiteShares::BaekZheng(shares) => Some(shares),
                    })
                    .collect();
                BaekZheng::combine(combiner, &shares).map(SuitePoints::BaekZheng)
            }
        }
    }

    fn open<P: Borrow<SuiteParsed>>(
        key: &SuiteKey,
        list: &[P],
        points: &SuitePoints,
        entropy: &[u8; 32],
    ) -> Vec<Option<Plain>> {
        match (key, points) {
            (SuiteKey::Tdh2(key), SuitePoints::Tdh2(points)) => {
                Tdh2::open(key, &tdh2_list(list), points, entropy)
            }
            (SuiteKey::BaekZheng(key), SuitePoints::BaekZheng(points)) => {
                BaekZheng::open(key, &baek_zheng_list(list), points, entropy)
            }
            _ => vec![None; list.len()],
        }
    }

    fn conclude<P: Borrow<SuiteProven>>(
        key: &SuiteKey,
        ciphertext: &SuiteParsed,
        shares: &[P],
    ) -> Result<Opened, CombineError> {
        match (key, ciphertext) {
            (SuiteKey::Tdh2(key), SuiteParsed::Tdh2(ct)) => {
                let shares: Vec<&ProvenShare> = (shares.iter())
                    .filter_map(|share| match share.borrow() {
                        SuiteProven::Tdh2(share) => Some(share),
                        SuiteProven::BaekZheng(_) => None,
                    })
                    .collect();
                Tdh2::conclude(key, ct, &shares)
            }
            (SuiteKey::BaekZheng(key), SuiteParsed::BaekZheng(ct)) => {
                let shares: Vec<&BaekZhengProven> = (shares.iter())
                    .filter_map(|share| match share.borrow() {
                        SuiteProven::Tdh2(_) => None,
                        SuiteProven::BaekZheng(share) => Some(share),
                    })
                    .collect();
                BaekZheng::conclude(key, ct, &shares)
            }
            _ => Err(CombineError::NotEnough {
                have: 0,
                need: key.t(),
            }),
        }
    }

    fn verify_opening(
        key: &SuiteKey,
        label: &[u8],
        ciphertext: &[u8],
        opening: &[u8; OPENING_BYTES],
        payload: &[u8],
    ) -> Result<(), OpeningError> {
        match key {
            SuiteKey::Tdh2(key) => Tdh2::verify_opening(key, label, ciphertext, opening, payload),
            SuiteKey::BaekZheng(key) => {
                BaekZheng::verify_opening(key, label, ciphertext, opening, payload)
            }
        }
    }
}

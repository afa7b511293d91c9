//! What a member pays for an order, in processor time of one thread, for both schemes in one run. The
//! caller brings the clock, since this crate has none.
//!
//! The whole job of a member is measured: check the ciphertext, make and prove its share,
//! decode the others' shares, combine t, open with the opening check. `sharded` is the same
//! with two combiners an order. `checked` verifies the others' shares before combining, as
//! a caller of `threshold_crypto` must who has no opening check. Payloads have 200 bytes.

use std::hint::black_box;

use fairlane_types::{
    BlockId, Certificate, CertificateKind, ChainId, Commit, Committee, Digest, Epoch, Finalized,
    Height, MemberId, SecretKey, SignerSet, View,
};
use rand_core::CryptoRng;

use crate::{
    BaekZheng, KeyBatch, KeyPoint, Tdh2, ThresholdScheme, deal_insecure, deal_pairing_insecure,
    places, slices,
};

/// Committees measured.
const MEMBERS: [usize; 4] = [4, 16, 64, 100];
/// Orders in a block of TDH2.
const BATCH_TDH2: usize = 512;
/// Orders in a block of Baek–Zheng, whose cost does not depend on it.
const BATCH_PAIRING: usize = 4;
/// Runs of each figure; the median counts.
const RUNS: usize = 3;
/// A run is repeated until it took so long, ns.
const RUN_MIN: u64 = 20_000_000;
const PAYLOAD: [u8; 200] = [0x5a; 200];
const LABEL: [u8; 117] = [7; 117];
const ENTROPY: [u8; 32] = [5; 32];

/// Processor time of this thread in nanoseconds, from any start.
pub type Clock<'a> = &'a dyn Fn() -> u64;

/// Why nothing was measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BenchError(String);

fn failed(error: impl core::fmt::Display) -> BenchError {
    BenchError(error.to_string())
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// `tdh2` or `baek-zheng`.
    pub scheme: &'static str,
    /// `optimistic`, `checked` or `sharded`.
    pub mode: &'static str,
    /// Members.
    pub n: usize,
    /// Orders in a block.
    pub batch: usize,
    /// Processor time per order and member, µs.
    pub micros: f64,
}

/// Measures both schemes in committees of 4, 16, 64 and 100; `told` hears each size when it is done.
///
/// # Errors
/// [`BenchError`]: something that is measured does not work.
pub fn figures<R: CryptoRng>(
    clock: Clock<'_>,
    rng: &mut R,
    mut told: impl FnMut(&[Figure]),
) -> Result<Vec<Figure>, BenchError> {
    let mut all = Vec::new();
    for n in MEMBERS {
        let before = all.len();
        tdh2(n, clock, rng, &mut all)?;
        baek_zheng(n, clock, rng, &mut all)?;
        told(all.get(before..).unwrap_or_default());
    }
    Ok(all)
}

/// How often a figure's cost goes into that of `threshold_crypto` in the same committee.
#[must_use]
pub fn ratio(of: &Figure, figures: &[Figure]) -> Option<f64> {
    let baseline = |f: &&Figure| f.n == of.n && f.scheme == "baek-zheng" && f.mode == "optimistic";
    let baseline = figures.iter().find(baseline)?;
    (of.micros > 0.0).then(|| baseline.micros / of.micros)
}

/// The curve backend that this build uses on this machine.
#[allow(
    unexpected_cfgs,
    reason = "the flag is curve25519-dalek's, set for the build"
)]
#[must_use]
pub fn backend() -> &'static str {
    if cfg!(any(
        curve25519_dalek_backend = "serial",
        curve25519_dalek_backend = "fiat"
    )) {
        return "serial";
    }
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = !cfg!(curve25519_dalek_backend = "simd")
            && std::arch::is_x86_feature_detected!("avx512ifma")
            && std::arch::is_x86_feature_detected!("avx512vl");
        if avx512 {
            return "avx512";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "avx2";
        }
    }
    "serial"
}

/// Median processor time of `work`, in µs.
fn measure<T>(clock: Clock<'_>, mut work: impl FnMut() -> T) -> f64 {
    black_box(work());
    let mut samples = [0.0; RUNS];
    for sample in &mut samples {
        let start = clock();
        let (mut count, mut spent) = (0_u32, 0);
        while count == 0 || spent < RUN_MIN {
            black_box(work());
            count += 1;
            spent = clock().saturating_sub(start);
        }
        *sample = spent as f64 / 1e3 / f64::from(count);
    }
    samples.sort_by(f64::total_cmp);
    samples[RUNS / 2]
}

/// A token for `block` by way of a real certificate of four members.
fn finalized(block: BlockId) -> Result<Finalized, BenchError> {
    let keys: Vec<SecretKey> = (1..=4)
        .map(|seed| SecretKey::from_seed([seed; 32]))
        .collect();
    let members = keys.iter().map(SecretKey::public).collect();
    let committee = Committee::new(members).map_err(failed)?;
    let commit = Commit {
        epoch: Epoch(0),
        view: View(1),
        height: Height(1),
        block,
    };
    let certificate = Certificate {
        kind: CertificateKind::Final,
        epoch: commit.epoch,
        view: commit.view,
        height: commit.height,
        block,
        signers: committee.ids().collect(),
        dirty: SignerSet::default(),
        signatures: keys
            .iter()
            .map(|key| commit.sign(key, ChainId(1)))
            .collect(),
    };
    let token = certificate.finalize(ChainId(1), &committee, &ENTROPY);
    token.map_err(failed)
}

/// A block of orders and t members' shares of it.
struct Block<T: ThresholdScheme> {
    key: T::Key,
    secret: T::Secret,
    bytes: Vec<Vec<u8>>,
    list: Vec<T::Parsed>,
    quorum: Vec<MemberId>,
    sets: Vec<T::Shares>,
    id: BlockId,
}

/// Cost of each part of the job for the whole block, in µs.
struct Parts {
    check: f64,
    share: f64,
    accept: f64,
    verify: f64,
    combine: f64,
    open: f64,
}

impl<T: ThresholdScheme> Block<T> {
    fn new<R: CryptoRng>(
        (key, mut secrets): (T::Key, Vec<T::Secret>),
        orders: usize,
        rng: &mut R,
    ) -> Result<Self, BenchError> {
        let bytes = (0..orders)
            .map(|_| T::encrypt(&key, &LABEL, &PAYLOAD, &[9; 32], rng))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let list = bytes
            .iter()
            .map(|bytes| T::check(&key, &LABEL, bytes))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let (id, (_, t)) = (BlockId(Digest([3; 32])), T::size(&key));
        let token = finalized(id)?;
        let sets = secrets[..t]
            .iter()
            .map(|secret| T::shares(secret, id, &list, rng).take(&token))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| failed("a seal does not open for its own block"))?;
        Ok(Self {
            key,
            secret: secrets.swap_remove(0),
            bytes,
            list,
            quorum: (0..t).map(|member| MemberId(member as u8)).collect(),
            sets,
            id,
        })
    }

    fn parts<R: CryptoRng>(
        &self,
        batch_of: fn(&T::Shares) -> &T::ShareBatch,
        clock: Clock<'_>,
        rng: &mut R,
    ) -> Result<Parts, BenchError> {
        let items: Vec<(&[u8], &[u8])> = self
            .bytes
            .iter()
            .map(|bytes| (&LABEL[..], &bytes[..]))
            .collect();
        let combiner = T::combiner(&self.key, &self.quorum).map_err(failed)?;
        let points = T::combine(&combiner, &self.sets).map_err(failed)?;
        let opened = T::open(&self.key, &self.list, &points, &ENTROPY);
        if opened.iter().any(Option::is_none) {
            return Err(failed("an order does not open"));
        }
        let others = || self.quorum.iter().zip(&self.sets).skip(1);
        Ok(Parts {
            check: measure(clock, || T::check_batch(&self.key, &items, &ENTROPY)),
            share: measure(clock, || T::shares(&self.secret, self.id, &self.list, rng)),
            accept: measure(clock, || {
                others()
                    .map(|(from, set)| {
                        let batch = batch_of(set).clone();
                        T::accept(&self.key, self.id, self.list.len(), *from, batch).is_ok()
                    })
                    .filter(|accepted| *accepted)
                    .count()
            }),
            verify: measure(clock, || {
                others()
                    .map(|(_, set)| T::verify_shares(&self.key, &self.list, set).is_ok())
                    .filter(|verified| *verified)
                    .count()
            }),
            combine: measure(clock, || T::combine(&combiner, &self.sets)),
            open: measure(clock, || T::open(&self.key, &self.list, &points, &ENTROPY)),
        })
    }
}

impl Parts {
    fn all_to_all(&self) -> f64 {
        self.check + self.share + self.accept + self.combine + self.open
    }
}

fn tdh2<R: CryptoRng>(
    n: usize,
    clock: Clock<'_>,
    rng: &mut R,
    figures: &mut Vec<Figure>,
) -> Result<(), BenchError> {
    let dealt = deal_insecure(Epoch(0), n, rng).map_err(failed)?;
    let block = Block::<Tdh2>::new(dealt, BATCH_TDH2, rng)?;
    let parts = block.parts(|set| set.batch(), clock, rng)?;
    let mut figure = |mode, micros: f64| {
        figures.push(Figure {
            scheme: "tdh2",
            mode,
            n,
            batch: BATCH_TDH2,
            micros: micros / BATCH_TDH2 as f64,
        });
    };
    figure("optimistic", parts.all_to_all());
    figure("checked", parts.all_to_all() + parts.verify);

    // Sharded: this member combines a slice of the block, and checks what others combined of
    // the rest; whoever tells first covers it once.
    let combiner = Tdh2::combiner(&block.key, &block.quorum).map_err(failed)?;
    let points = Tdh2::combine(&combiner, &block.sets).map_err(failed)?;
    let slices = slices(n, BATCH_TDH2);
    let share = 1.0 / slices as f64;
    let told: Vec<(KeyBatch, Vec<_>)> = (0..slices)
        .map(|slice| {
            let places: Vec<usize> = places(slice, slices, BATCH_TDH2).collect();
            let list = places.iter().map(|k| block.list[*k].clone()).collect();
            let points = places.iter().enumerate().map(|(order, k)| KeyPoint {
                order: order as u32,
                point: points.encoded()[*k],
            });
            let batch = KeyBatch {
                key: block.key.id(),
                block: block.id,
                member: MemberId(slice as u8),
                points: points.collect(),
            };
            (batch, list)
        })
        .collect();
    let check_told = measure(clock, || {
        told.iter()
            .filter_map(|(batch, list)| {
                batch
                    .open(&block.key, block.id, list, batch.member, &ENTROPY)
                    .ok()
            })
            .map(|opened| opened.iter().filter(|(_, plain)| plain.is_some()).count())
            .sum::<usize>()
    });
    let own = share * (parts.accept + parts.combine + parts.open);
    figure(
        "sharded",
        parts.check + parts.share + own + check_told * (1.0 - share),
    );
    Ok(())
}

fn baek_zheng<R: CryptoRng>(
    n: usize,
    clock: Clock<'_>,
    rng: &mut R,
    figures: &mut Vec<Figure>,
) -> Result<(), BenchError> {
    let dealt = deal_pairing_insecure(Epoch(0), n, rng).map_err(failed)?;
    let block = Block::<BaekZheng>::new(dealt, BATCH_PAIRING, rng)?;
    let parts = block.parts(|set| set.batch(), clock, rng)?;
    for (mode, micros) in [
        ("optimistic", parts.all_to_all()),
        ("checked", parts.all_to_all() + parts.verify),
    ] {
        figures.push(Figure {
            scheme: "baek-zheng",
            mode,
            n,
            batch: BATCH_PAIRING,
            micros: micros / BATCH_PAIRING as f64,
        });
    }
    Ok(())
}

//! Cost of every step in µs of CPU time per order and member, for 200-byte orders.
//!
//! `cargo run --release -p fairlane-encryption --example cost_table`
//!
//! Each figure is the median of several runs. CPU time is the kernel's account of this
//! thread where there is one (Linux), the wall clock otherwise. The last line gives the
//! unit, one constant-time multiplication measured in the same run, so that machines compare.
//!
//! `accept` is the decoding of the t−1 share sets of others; `in all` is the sum of
//! everything a member does for an order in all-to-all mode; `verify` is one batch proof;
//! the liar path goes from share sets with one liar among the first t to all verdicts.

#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/finalized.rs"]
mod finalized;

use std::hint::black_box;
use std::time::{Duration, Instant};

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_encryption::{
    EncryptionKey, KeyShare, ParsedCiphertext, Shares, Tdh2, ThresholdScheme, ciphertext_bytes,
    deal_insecure, resolve,
};
use fairlane_types::{BlockId, Digest, Epoch, MemberId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use cpu::cpu_now;
use finalized::finalized;

const RUNS: usize = 7;
const RUN_MIN: Duration = Duration::from_millis(30);
const PAYLOAD: [u8; 200] = [0x5a; 200];
const LABEL: [u8; 117] = [7; 117];

/// CPU time of one call of `work` in µs, averaged over one run.
fn run<T>(epoch: Instant, mut work: impl FnMut() -> T) -> f64 {
    let (wall, start) = (Instant::now(), cpu_now(epoch));
    let mut count = 0_u32;
    while wall.elapsed() < RUN_MIN {
        black_box(work());
        count += 1;
    }
    (cpu_now(epoch) - start).as_secs_f64() * 1e6 / f64::from(count)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Median CPU time of `work` in µs.
fn measure<T>(mut work: impl FnMut() -> T) -> f64 {
    let epoch = Instant::now();
    black_box(work());
    median((0..RUNS).map(|_| run(epoch, &mut work)).collect())
}

/// Median CPU times of `part` and of what `whole` takes longer, from alternating runs.
fn measure_rest<A, B>(mut part: impl FnMut() -> A, mut whole: impl FnMut() -> B) -> (f64, f64) {
    let epoch = Instant::now();
    let (mut parts, mut rests) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (short, long) = (run(epoch, &mut part), run(epoch, &mut whole));
        parts.push(short);
        rests.push((long - short).max(0.0));
    }
    (median(parts), median(rests))
}

struct Bench {
    key: EncryptionKey,
    secrets: Vec<KeyShare>,
    list: Vec<ParsedCiphertext>,
    bytes: Vec<Vec<u8>>,
    block: BlockId,
    rng: ChaCha20Rng,
}

impl Bench {
    fn new(n: usize, batch: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(n as u64);
        let (key, secrets) = deal_insecure(Epoch(0), n, &mut rng).expect("n is in range");
        let bytes: Vec<Vec<u8>> = (0..batch)
            .map(|_| {
                let sealed = Tdh2::encrypt(&key, &LABEL, &PAYLOAD, &[9; 32], &mut rng);
                sealed.expect("the payload fits")
            })
            .collect();
        let list = bytes
            .iter()
            .map(|bytes| Tdh2::check(&key, &LABEL, bytes).expect("own ciphertext"))
            .collect();
        let block = BlockId(Digest([3; 32]));
        Self {
            key,
            secrets,
            list,
            bytes,
            block,
            rng,
        }
    }

    fn shares_of(&mut self, member: usize) -> Shares {
        let sealed = Tdh2::shares(&self.secrets[member], self.block, &self.list, &mut self.rng);
        sealed
            .take(&finalized(self.block))
            .expect("token of this block")
    }

    /// One line of the table; the sum is what a member pays for one order.
    fn line(&mut self) {
        let (n, t) = Tdh2::size(&self.key);
        let batch = self.list.len();
        let per_order = |micros: f64| micros / batch as f64;
        let (key, list, block) = (self.key.clone(), self.list.clone(), self.block);
        let entropy = [5; 32];

        let encrypt = measure(|| {
            Tdh2::encrypt(&self.key, &LABEL, &PAYLOAD, &[9; 32], &mut self.rng).expect("fits")
        });
        let items: Vec<(&[u8], &[u8])> = self
            .bytes
            .iter()
            .map(|bytes| (&LABEL[..], &bytes[..]))
            .collect();
        let check = per_order(measure(|| Tdh2::check_batch(&key, &items, &entropy)));

        let us: Vec<RistrettoPoint> = list
            .iter()
            .map(|ct| {
                CompressedRistretto(*ct.u())
                    .decompress()
                    .expect("a valid ciphertext")
            })
            .collect();
        let (bare, proof) = measure_rest(
            || bare_shares(&us),
            || Tdh2::shares(&self.secrets[0], block, &list, &mut self.rng),
        );
        let (bare, proof) = (per_order(bare), per_order(proof));

        let sets: Vec<Shares> = (0..t + 1).map(|member| self.shares_of(member)).collect();
        let accept = per_order(measure(|| {
            sets[1..t]
                .iter()
                .map(|set| {
                    let batch = set.batch().clone();
                    Tdh2::accept(&key, block, list.len(), set.member(), batch).expect("own shares")
                })
                .collect::<Vec<_>>()
        }));
        let quorum: Vec<MemberId> = sets[..t].iter().map(Shares::member).collect();
        let combiner = Tdh2::combiner(&key, &quorum).expect("t members");
        let combine = per_order(measure(|| {
            Tdh2::combine(&combiner, &sets[..t]).expect("t sets")
        }));
        let points = Tdh2::combine(&combiner, &sets[..t]).expect("t sets");
        let open = per_order(measure(|| Tdh2::open(&key, &list, &points, &entropy)));
        let verify = per_order(measure(|| {
            Tdh2::verify_shares(&key, &list, &sets[1]).expect("honest")
        }));

        // One liar among the first t: its shares are another member's under its own name.
        let mut lie = sets[0].batch().clone();
        lie.shares.clone_from(&sets[1].batch().shares);
        let lie = Tdh2::accept(&key, block, list.len(), MemberId(0), lie).expect("well formed");
        let with_liar: Vec<(MemberId, &Shares)> = core::iter::once((MemberId(0), &lie))
            .chain(sets[1..].iter().map(|set| (set.member(), set)))
            .collect();
        let liar = if with_liar.len() > t {
            per_order(measure(|| {
                let resolved = resolve::<Tdh2, _>(&key, &list, &with_liar, &entropy);
                let resolved = resolved.expect("sets of one block");
                assert_eq!((resolved.missing, resolved.liars.len()), (0, 1));
            }))
        } else {
            f64::NAN
        };

        let sum = check + bare + proof + accept + combine + open;
        println!(
            "{n:>4} {batch:>5} | {encrypt:>7.1} {check:>7.1} {bare:>7.1} {proof:>7.1} \
             {accept:>7.1} {combine:>7.1} {open:>7.1} | {sum:>8.1} | {verify:>7.1} {liar:>8.1}"
        );
    }
}

/// What a share batch costs without its proof: multiplications and encodings.
fn bare_shares(us: &[RistrettoPoint]) -> usize {
    let half = Scalar::from_bytes_mod_order([0x5b; 32]);
    let points: Vec<RistrettoPoint> = us.iter().map(|u| u * half).collect();
    RistrettoPoint::double_and_compress_batch(&points).len()
}

fn main() {
    println!("µs of CPU per order and member, medians of {RUNS}; 200-byte orders");
    println!(
        "bytes: ciphertext {} (class 256), share 32 per order and member",
        ciphertext_bytes(256)
    );
    println!(
        "   n batch | encrypt   check   share   prove  accept combine    open | in all   |  verify  liar path"
    );
    for n in [4, 16, 64, 100] {
        for batch in [1, 32, 512] {
            Bench::new(n, batch).line();
        }
    }
    let scalar = Scalar::from_bytes_mod_order([0x77; 32]);
    let point = curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
    let unit = measure(|| black_box(point) * black_box(scalar));
    let decode = point.compress();
    println!(
        "one constant-time multiplication {unit:.1} µs, one decoding {:.1} µs",
        { measure(|| black_box(decode).decompress()) }
    );
}

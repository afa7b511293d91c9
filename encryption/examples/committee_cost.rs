//! Cost of certificates and of key ceremonies in ms of CPU time, for committees of 4, 16
//! and 100.
//!
//! `cargo run --release -p fairlane-encryption --example committee_cost`
//!
//! CPU time is the kernel's account of this thread where there is one (Linux), the wall
//! clock otherwise. The last column of each table is the ratio to n = 4 of the same run.

#[path = "common/cpu.rs"]
mod cpu;

use std::hint::black_box;
use std::time::{Duration, Instant};

use fairlane_encryption::{
    Ceremony, CertificateKey, ReceiverSecret, Subject, accept_certificate_share, certify,
    deal_pairing_insecure, sign_attestation, threshold,
};
use fairlane_types::{ChainId, Digest, Epoch, Height, MemberId, Root, Scheme, encode};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use cpu::cpu_now;

const MEMBERS: [usize; 3] = [4, 16, 100];
const RUNS: usize = 3;
const RUN_MIN: Duration = Duration::from_millis(200);

/// Median CPU time of `work` in ms.
fn measure<T>(mut work: impl FnMut() -> T) -> f64 {
    let epoch = Instant::now();
    let mut samples: Vec<f64> = (0..RUNS)
        .map(|_| {
            // The kernel's account moves in ticks: many runs to a sample.
            let (wall, start) = (Instant::now(), cpu_now(epoch));
            let mut count = 0_u32;
            while wall.elapsed() < RUN_MIN {
                black_box(work());
                count += 1;
            }
            (cpu_now(epoch) - start).as_secs_f64() * 1e3 / f64::from(count)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[RUNS / 2]
}

fn certificates(n: usize) -> [f64; 4] {
    let mut rng = ChaCha20Rng::seed_from_u64(n as u64);
    let dealt = deal_pairing_insecure(Epoch(0), n, &mut rng);
    let (key, secrets): (CertificateKey, _) = dealt.expect("n is in range");
    let (chain, epoch, height, root) = (ChainId(1), Epoch(0), Height(1), Root(Digest([1; 32])));
    let subject = Subject::Attest {
        chain,
        epoch,
        height,
        root,
    };
    let shares: Vec<_> = secrets[..key.t()]
        .iter()
        .map(|secret| sign_attestation(secret, chain, epoch, height, root))
        .collect();
    let accept = |share| accept_certificate_share(&key, MemberId(0), share).expect("own share");
    let accepted: Vec<_> = shares
        .iter()
        .map(|share| accept_certificate_share(&key, share.member, share).expect("own share"))
        .collect();
    let done = certify(&key, &subject, &accepted).expect("one sharing");
    let certificate = done.certificate.expect("t shares");
    [
        measure(|| sign_attestation(&secrets[0], chain, epoch, height, root)),
        measure(|| accept(&shares[0])),
        measure(|| certify(&key, &subject, &accepted)),
        measure(|| certificate.verify(key.public_key(), &subject)),
    ]
}

/// Cost of dealing and of verifying, and bytes.
fn ceremony(scheme: Scheme, n: usize, certified: bool) -> ([f64; 2], usize) {
    let mut rng = ChaCha20Rng::seed_from_u64(n as u64);
    let secrets: Vec<_> = (0..n).map(|_| ReceiverSecret::generate(&mut rng)).collect();
    let keys = secrets.iter().map(ReceiverSecret::key).collect();
    let ceremony = Ceremony::fresh(scheme, Digest([1; 32]), Epoch(0), keys, certified);
    let ceremony = ceremony.expect("n is in range");
    let deal = ceremony.deal(MemberId(0), &mut rng).expect("a member");
    let costs = [
        measure(|| ceremony.deal(MemberId(0), &mut rng)),
        measure(|| ceremony.verify(MemberId(0), deal.clone())),
    ];
    (costs, encode(&deal).len())
}

/// What a member pays for the certificates of one block, by what a replica does: for a tied block
/// it signs a beacon, decodes t shares and combines them; for an attested one it signs, and does the
/// same if it is its turn (once in n heights), else it verifies the certificate.
fn per_block(n: usize, [sign, accept, combine, verify]: [f64; 4]) -> [f64; 3] {
    let combined = sign + threshold(n) as f64 * accept + combine;
    let verified = sign + verify;
    let attested = (combined + (n as f64 - 1.0) * verified) / n as f64;
    [combined, attested, combined + attested]
}

fn main() {
    println!("certificates, ms of CPU: share, accept one, combine and verify, verify alone");
    let mut base = f64::NAN;
    let mut blocks = Vec::new();
    for n in MEMBERS {
        let [sign, accept, combine, verify] = certificates(n);
        blocks.push((n, per_block(n, [sign, accept, combine, verify])));
        base = if base.is_nan() { combine } else { base };
        let ratio = combine / base;
        println!("{n:>4} | {sign:>7.2} {accept:>7.2} {combine:>7.2} {verify:>7.2} | {ratio:>5.1}x");
    }
    println!(
        "certificates of one block, ms of CPU a member: beacon of a tied block, or an attestation \
         that it combines; an attestation on the mean of n; beacon and attestation on the mean"
    );
    for (n, [beacon, attested, both]) in blocks {
        println!("{n:>4} | {beacon:>7.2} {attested:>7.2} {both:>7.2}");
    }
    for (scheme, certified, what) in [
        (Scheme::Tdh2, false, "encryption key"),
        (Scheme::Tdh2, true, "both keys"),
        (Scheme::BaekZheng, false, "encryption key"),
        (Scheme::BaekZheng, true, "both keys"),
    ] {
        let name = scheme.name();
        println!("ceremony of {name} for {what}, ms of CPU for one dealing: deal, verify; bytes");
        let mut base = f64::NAN;
        for n in MEMBERS {
            let ([deal, verify], bytes) = ceremony(scheme, n, certified);
            base = if base.is_nan() { verify } else { base };
            let ratio = verify / base;
            println!("{n:>4} | {deal:>7.1} {verify:>7.1} {bytes:>7} | {ratio:>5.1}x");
        }
    }
}

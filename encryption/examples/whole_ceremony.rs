//! Whole ceremonies in one process: the first keys of n members, and the change to n others with a
//! fresh encryption key, with f false dealers in both; then t of the new members open and certify.
//! Prints what one member computes, and what one dealing and all of them have in bytes.
//!
//! `cargo run --release -p fairlane-encryption --example whole_ceremony -- 16 31`, with
//! `baek-zheng` before the numbers for keys of that scheme.
//!
//! CPU time is the kernel's account of this thread where there is one (Linux), the wall
//! clock otherwise. It fails if a false dealing counts, or anything comes out otherwise.

#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/finalized.rs"]
mod finalized;

use std::time::Instant;

use fairlane_encryption::{
    Ceremony, CommitteeKeys, CommitteeShares, Deal, Opened, ReceiverSecret, Subject, Suite,
    ThresholdScheme, VerifiedDeal, accept_certificate_share, certify, sign_attestation,
};
use fairlane_types::{
    BlockId, ChainId, Digest, Epoch, Height, MemberId, Root, Scheme, decode, encode,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use cpu::cpu_now;
use finalized::finalized;

/// CPU seconds of some work, and what it gave.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let (epoch, start) = (Instant::now(), cpu_now(Instant::now()));
    let given = work();
    ((cpu_now(epoch).saturating_sub(start)).as_secs_f64(), given)
}

/// The dealing with another last scalar.
fn spoilt(deal: &Deal) -> Deal {
    let bytes = encode(deal);
    let end = bytes.len();
    let changed = [end - 32, end - 1].into_iter().find_map(|at| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        decode(&bytes, end).ok()
    });
    changed.expect("another scalar is a scalar")
}

/// What a ceremony takes and gives.
struct Held {
    keys: CommitteeKeys,
    shares: Vec<CommitteeShares>,
}

/// Runs a ceremony: the first f dealers lie. Everybody's shares are read, one member's work counts.
fn run(
    what: &str,
    ceremony: &Ceremony,
    secrets: &[ReceiverSecret],
    mut deal: impl FnMut(usize) -> Deal,
) -> Held {
    let (needed, f) = (ceremony.needed(), (ceremony.dealers() - 1) / 3);
    let (dealing, first) = timed(|| deal(0));
    let bytes = encode(&first).len();
    let mut verified: Vec<VerifiedDeal> = Vec::new();
    let mut judging = 0.0;
    for dealer in 0..ceremony.dealers() {
        let deal = if dealer == 0 {
            first.clone()
        } else {
            deal(dealer)
        };
        let deal = if dealer < f { spoilt(&deal) } else { deal };
        let (took, verdict) = timed(|| ceremony.verify(MemberId(dealer as u8), deal));
        judging += took;
        assert_eq!(verdict.is_ok(), dealer >= f, "dealer {dealer}: {verdict:?}");
        verified.extend(verdict);
        if verified.len() == needed {
            break;
        }
    }
    assert_eq!(verified.len(), needed, "f liars leave enough dealings");
    let keys = ceremony.keys(&verified).expect("enough dealings");
    let (reading, own) = timed(|| ceremony.shares(&verified, MemberId(0), &secrets[0]));
    assert_eq!(own.expect("its share").0, keys);
    let share = |(member, secret): (usize, &ReceiverSecret)| {
        let read = ceremony.shares(&verified, MemberId(member as u8), secret);
        read.expect("a share for everybody").1
    };
    let shares = secrets.iter().enumerate().map(share).collect();
    println!(
        "{what}: {needed} dealings count, {f} are refused; a member deals for {dealing:.2} s, judges \
         for {judging:.1} s, reads its shares in {reading:.2} s; {bytes} bytes a dealing, {:.1} MB \
         to be judged",
        (bytes * (needed + f)) as f64 / 1e6
    );
    Held { keys, shares }
}

fn receivers(n: usize, rng: &mut ChaCha20Rng) -> Vec<ReceiverSecret> {
    (0..n).map(|_| ReceiverSecret::generate(rng)).collect()
}

/// t of the members open an order and certify a root.
fn works(held: &Held, rng: &mut ChaCha20Rng) {
    let (key, t) = (&held.keys.encryption, held.keys.encryption.t());
    let (label, payload) = (b"label", b"an order".to_vec());
    let sealed = Suite::encrypt(key, label, &payload, &[7; 32], rng).expect("it is short");
    let parsed = [Suite::check(key, label, &sealed).expect("it is valid")];
    let last: Vec<&CommitteeShares> = held.shares.iter().rev().take(t).collect();
    let parts: Vec<_> = last
        .iter()
        .map(|shares| {
            let (block, member) = (BlockId::default(), shares.encryption.member());
            let one = Suite::prove_one(&shares.encryption, block, &parsed[0], rng);
            let one = one.take(&finalized(block)).expect("token of this block");
            Suite::verify_one(key, block, &parsed[0], member, &one).expect("its share")
        })
        .collect();
    let opened = Suite::conclude(key, &parsed[0], &parts.iter().collect::<Vec<_>>());
    assert!(matches!(opened, Ok(Opened::Plain(plain)) if plain.payload == payload));
    let certificates = held.keys.certificate.as_ref().expect("both keys");
    let (chain, epoch, height, root) = (ChainId(1), Epoch(1), Height(1), Root(Digest([1; 32])));
    let accepted: Vec<_> = last
        .iter()
        .map(|shares| {
            let secret = shares.certificate.as_ref().expect("both shares");
            let share = sign_attestation(secret, chain, epoch, height, root);
            accept_certificate_share(certificates, secret.member(), &share).expect("its share")
        })
        .collect();
    let subject = Subject::Attest {
        chain,
        epoch,
        height,
        root,
    };
    let made = certify(certificates, &subject, &accepted).expect("one sharing");
    let certificate = made.certificate.expect("t shares");
    assert!(certificate.verify(certificates.public_key(), &subject));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let scheme = arguments.iter().find_map(|name| Scheme::from_name(name));
    let scheme = scheme.unwrap_or(Scheme::Tdh2);
    let sizes = arguments.iter().filter_map(|n| n.parse().ok());
    for n in sizes {
        println!("{}, n = {n}", scheme.name());
        let mut rng = ChaCha20Rng::seed_from_u64(n as u64);
        let secrets = receivers(n, &mut rng);
        let keys = secrets.iter().map(ReceiverSecret::key).collect();
        let first = Ceremony::fresh(scheme, Digest([1; 32]), Epoch(0), keys, true);
        let first = first.expect("n is in range");
        let held = run("first keys", &first, &secrets, |dealer| {
            first
                .deal(MemberId(dealer as u8), &mut rng)
                .expect("a member")
        });
        works(&held, &mut rng);
        let others = receivers(n, &mut rng);
        let keys = others.iter().map(ReceiverSecret::key).collect();
        let (encryption, certificate) =
            (held.keys.encryption.clone(), held.keys.certificate.clone());
        let change = Ceremony::renew(Digest([2; 32]), Epoch(1), keys, encryption, certificate)
            .expect("n is in range");
        let next = run("n others, fresh key", &change, &others, |dealer| {
            let shares = &held.shares[dealer];
            let certificate = shares.certificate.as_ref();
            let dealt = change.deal_share(&shares.encryption, certificate, &mut rng);
            dealt.expect("its shares")
        });
        works(&next, &mut rng);
        assert_ne!(next.keys.encryption.id(), held.keys.encryption.id());
        let former = next.keys.former.as_ref().expect("the key before");
        assert_eq!(former.id(), held.keys.encryption.id());
    }
}

//! The two tiers of cryptography decide the same, and the oracle sees who could open what.

use fairlane_encryption::{Suite, ThresholdScheme, deal_suite_insecure};
use fairlane_simnet::crypto::{Crypto, Sealing, Tier};
use fairlane_simnet::engine::{Owner, Purpose, Stream};
use fairlane_simnet::{Profile, Report, Scenario};
use fairlane_types::{
    ChainId, Domain, Epoch, LANE_NONE, Label, Millis, SUITE_TDH2, Scheme, SecretKey, Signer,
};

fn run(n: usize, seed: u64, profile: Profile, tier: Tier) -> Report {
    let mut scenario = Scenario::new(n, seed, 24, profile);
    scenario.tier = tier;
    // A key can be made by members only where cryptography is real.
    scenario.ceremony = Some(false);
    scenario.sealing = Sealing::Real;
    scenario.run()
}

/// What each height settles. Equal keys are told apart by the block's id, which hashes
/// signatures, and those differ between the tiers: within a height the order is left open.
fn by_height(report: &Report) -> Vec<(u64, usize, &'static str)> {
    let settled = report.settled.iter();
    let mut all: Vec<_> = settled.map(|s| (s.height, s.trade, s.outcome)).collect();
    all.sort_unstable();
    all
}

/// Same seed, same costs, same sizes: the same orders with the same outcomes at the same
/// heights, whether proofs and shares are computed or looked up.
#[test]
fn ideal_and_real_decide_the_same() {
    let mut orders = 0;
    let mut apart = Vec::new();
    for profile in Profile::ALL {
        for seed in 0..6 {
            let n = 4 + 3 * (seed as usize % 2);
            let real = run(n, seed, profile, Tier::Real);
            let ideal = run(n, seed, profile, Tier::Ideal);
            assert!(real.passed(), "{real}");
            assert!(ideal.passed(), "{ideal}");
            if by_height(&real) != by_height(&ideal) {
                apart.push((profile.name(), seed));
            }
            orders += real.settled.len();
        }
    }
    assert!(orders > 300, "{orders}");
    assert!(apart.is_empty(), "{apart:?}");
}

/// Without real ciphertexts either: every rule holds, an order that was opened could be
/// opened by t members, and nobody released a share of one that was not.
#[test]
fn the_oracle_knows_what_could_be_opened() {
    let (mut opened, mut closed) = (0, 0);
    for seed in 0..12 {
        let mut scenario = Scenario::new(4, seed, 40, Profile::Faults);
        scenario.tier = Tier::Ideal;
        let report = scenario.run();
        assert!(report.passed(), "{report}");
        assert_eq!(report.settled.len(), report.openable.len());
        for (settled, openable) in report.settled.iter().zip(&report.openable) {
            let decrypted = matches!(settled.outcome, "opened" | "undecryptable");
            assert_eq!(openable.is_some(), decrypted, "seed {seed}: {settled:?}");
            if decrypted {
                opened += 1;
            } else {
                closed += 1;
            }
        }
        assert_eq!(report, scenario.run());
    }
    assert!(opened > 100 && closed > 3, "{opened} {closed}");
}

/// What an oracle makes is nothing to a node: its checks are the real ones.
#[test]
fn real_checks_refuse_what_is_ideal() {
    let mut rng = Stream::new(1, Owner::World, Purpose::Test);
    let (key, _) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), 4, &mut rng).unwrap();
    let seed = rng.bytes32();
    for tier in [Tier::Real, Tier::Ideal] {
        let mut crypto = Crypto::new(tier, Sealing::Ideal, 7);
        let signer = crypto.signer(seed);
        assert_eq!(signer.public(), SecretKey::from_seed(seed).public());
        let signature = signer.sign(Domain::Vote, ChainId(1), Epoch(0), b"body");
        let check = signer
            .public()
            .check(Domain::Vote, ChainId(1), Epoch(0), b"body", signature);
        assert!(crypto.verifies(&check));
        assert_eq!(check.verify().is_ok(), tier == Tier::Real);
        let mut other = check.clone();
        other.message[0] ^= 1;
        assert!(!crypto.verifies(&other));

        let label = Label {
            suite: SUITE_TDH2,
            chain: ChainId(1),
            key_id: key.id(),
            sender: signer.public(),
            nonce: 1,
            expiry: Millis(5),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        };
        let sealed = crypto.seal(&key, &label, b"payload", &seed, &mut rng);
        let nothing = crypto.seal_nothing(&key, &label, &mut rng);
        assert_eq!(sealed.len(), nothing.len());
        for ciphertext in [sealed, nothing] {
            let real = Suite::check(&key, &label.to_bytes(), &ciphertext);
            assert_eq!(real.is_ok(), tier == Tier::Real);
        }
    }
}

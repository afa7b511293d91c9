//! The two tiers of cryptography decide the same, and the oracle sees who could open what.

use fairlane_simnet::crypto::{Sealing, Tier};
use fairlane_simnet::{Profile, Report, Scenario};

fn run(n: usize, seed: u64, profile: Profile, tier: Tier) -> Report {
    let mut scenario = Scenario::new(n, seed, 24, profile);
    scenario.tier = tier;
    scenario.sealing = Sealing::Real;
    scenario.run()
}

/// Same seed, same costs, same sizes: the same orders with the same outcomes in the same
/// order, whether proofs and shares are computed or looked up.
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
            if real.settled != ideal.settled {
                apart.push((profile.name(), seed));
            }
            orders += real.settled.len();
        }
    }
    assert!(orders > 300, "{orders}");
    assert!(apart.is_empty(), "{apart:?}");
}

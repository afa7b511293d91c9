//! Runs in which nothing goes wrong.

use fairlane_simnet::{Profile, Scenario};

#[test]
fn calm_runs_are_live_and_repeat() {
    for n in [4, 7] {
        for seed in 0..3 {
            let report = Scenario::new(n, seed, 30, Profile::Calm).run();
            assert!(report.passed(), "{report}");
            assert!(report.stats.acknowledged > 20, "{report}");
            let again = Scenario::new(n, seed, 30, Profile::Calm).run();
            assert_eq!(report, again);
        }
    }
}

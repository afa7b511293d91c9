//! Explores more than the tests do:
//! `cargo run --release -p fairlane-model --example explore -- VIEWS [LIAR_LEADS] [CRASHES]`,
//! with `clean`, `rule-off` or `forgetful` for shares with commit votes (D3).

use fairlane_model::{Reveal, Scope, explore};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let at = |i: usize| numbers.get(i).copied();
    let views = at(0).unwrap_or(3);
    let leads = at(1).map_or(1..=views.min(3) + 1, |one| one..=one);
    for liar_leads in leads {
        let mut scope = Scope::new(views, liar_leads);
        scope.crashes = at(2).unwrap_or(0) as u8;
        let modes = [
            ("clean", Reveal::WithCleanCommit),
            ("rule-off", Reveal::WithCommit),
            ("forgetful", Reveal::ForgetfulClean),
        ];
        for (name, reveal) in modes {
            if args.iter().any(|arg| arg == name) {
                scope.reveal = reveal;
            }
        }
        let report = explore(scope, 2);
        println!("{report}");
        for missed in &report.missed {
            println!("  never reached: {missed}");
        }
    }
}

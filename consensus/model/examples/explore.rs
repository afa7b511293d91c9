//! Explores more than the tests do:
//! `cargo run --release -p fairlane-model --example explore -- VIEWS [LIAR_LEADS] [CRASHES]`.

use fairlane_model::{Scope, explore};

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let at = |i: usize| numbers.get(i).copied();
    let views = at(0).unwrap_or(3);
    let leads = at(1).map_or(1..=views.min(3) + 1, |one| one..=one);
    for liar_leads in leads {
        let mut scope = Scope::new(views, liar_leads);
        scope.crashes = at(2).unwrap_or(0) as u8;
        let report = explore(scope, 2);
        println!("{report}");
        for missed in &report.missed {
            println!("  never reached: {missed}");
        }
    }
}

//! Explores more than the tests do:
//! `cargo run --release -p fairlane-model --example explore -- VIEWS [LIAR_LEADS] [CRASHES]`,
//! with `clean`, `rule-off` or `forgetful` for shares with commit votes (D3), and with
//! `forthcoming` or `layered` in fewer orders.

use fairlane_model::{Order, Reveal, Scope, explore};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let at = |i: usize| numbers.get(i).copied();
    let views = at(0).unwrap_or(3);
    let leads = at(1).map_or(1..=views.min(3) + 1, |one| one..=one);
    for liar_leads in leads {
        let mut scope = Scope::new(views, liar_leads);
        scope.crashes = at(2).map_or(0, |crashes| crashes.min(3) as u8);
        for arg in &args {
            match arg.as_str() {
                "clean" => scope.reveal = Reveal::WithCleanCommit,
                "rule-off" => scope.reveal = Reveal::WithCommit,
                "forgetful" => scope.reveal = Reveal::ForgetfulClean,
                "forthcoming" => scope.order = Order::Forthcoming,
                "layered" => scope.order = Order::Layered,
                _ => {}
            }
        }
        let report = explore(scope, 2);
        println!("{report}");
        for missed in &report.missed {
            println!("  never reached: {missed}");
        }
    }
}

//! What size, time and entry member of sealed orders tell about their content (THREATS A12): a naive Bayes
//! classifier on a sample flow, with padding to size classes and without.
//!
//! `cargo run --release -p fairlane-client --example metadata_leak -- examples/orders.jsonl`
//!
//! Each order is guessed by a classifier that was trained on four fifths of the flow, the
//! order not among them. The base rate is what guessing the most frequent answer of the
//! training part gives. An accuracy that is not above it says that nothing leaks to *this*
//! classifier; a better one may find more.

use std::collections::BTreeMap;

use fairlane_client::sample::{Sample, parse};
use fairlane_encryption::SIZE_CLASSES;
use fairlane_types::OrderAction;

/// Members; each trader is taken to be near one of them, by its name.
const MEMBERS: u64 = 4;
/// Parts of the flow; each is guessed from the others.
const FOLDS: usize = 5;

/// What an observer of one order sees, by name.
type Seen = Vec<u64>;

/// An order as the observer sees it, and what it would like to know.
struct Case {
    padded: u64,
    bare: u64,
    /// Logarithms of the times since the last order, and since the sender's last.
    gaps: [u64; 2],
    sender: u64,
    /// The member that hears it first, and how many it is sent to.
    entry: [u64; 2],
    op: &'static str,
    /// Side and time in force, of what is placed.
    side: Option<String>,
    tif: Option<String>,
}

/// The member nearest to a trader: the same for all its orders, and nothing else.
fn near(trader: &str) -> u64 {
    let sum = trader.bytes().map(u64::from).sum::<u64>();
    sum % MEMBERS
}

fn cases(samples: &[Sample]) -> Vec<Case> {
    let mut last = 0;
    let mut last_of = BTreeMap::new();
    let mut senders = BTreeMap::new();
    let mut cases = Vec::with_capacity(samples.len());
    for sample in samples {
        let payload = sample.order.to_bytes().len();
        let class = SIZE_CLASSES.into_iter().find(|class| payload < *class);
        let own = last_of.insert(&sample.trader, sample.at_ms).unwrap_or(0);
        let count = senders.len() as u64;
        let sender = *senders.entry(&sample.trader).or_insert(count);
        let gap = |from: u64| u64::from((sample.at_ms - from + 1).ilog2());
        let (op, side, tif) = match &sample.order.action {
            OrderAction::Place { side, tif, .. } => {
                ("place", Some(format!("{side:?}")), Some(format!("{tif:?}")))
            }
            OrderAction::Cancel { .. } => ("cancel", None, None),
            OrderAction::CancelAll { .. } => ("cancel_all", None, None),
        };
        cases.push(Case {
            padded: class.unwrap_or(payload) as u64,
            bare: payload as u64,
            gaps: [gap(last), gap(own)],
            sender,
            entry: [
                near(&sample.trader),
                sample.fan_out.map_or(MEMBERS, u64::from),
            ],
            op,
            side,
            tif,
        });
        last = sample.at_ms;
    }
    cases
}

/// Counts of values by answer and feature, and of answers.
#[derive(Default)]
struct Bayes {
    answers: BTreeMap<String, f64>,
    values: BTreeMap<(String, usize, u64), f64>,
    /// Values that each feature has.
    kinds: BTreeMap<usize, BTreeMap<u64, ()>>,
}

impl Bayes {
    fn learn(&mut self, seen: &[u64], answer: &str) {
        *self.answers.entry(answer.to_owned()).or_default() += 1.0;
        for (feature, value) in seen.iter().enumerate() {
            let key = (answer.to_owned(), feature, *value);
            *self.values.entry(key).or_default() += 1.0;
            self.kinds.entry(feature).or_default().insert(*value, ());
        }
    }

    /// The answer with the highest probability after what is seen (Laplace's rule).
    fn guess(&self, seen: &[u64]) -> Option<&str> {
        let score = |answer: &String, count: f64| {
            let given = seen.iter().enumerate().map(|(feature, value)| {
                let found = self.values.get(&(answer.clone(), feature, *value));
                let kinds = self.kinds.get(&feature).map_or(0, BTreeMap::len) as f64;
                ((found.copied().unwrap_or(0.0) + 1.0) / (count + kinds + 1.0)).ln()
            });
            count.ln() + given.sum::<f64>()
        };
        self.answers
            .iter()
            .max_by(|(a, n), (b, m)| score(a, **n).total_cmp(&score(b, **m)))
            .map(|(answer, _)| answer.as_str())
    }
}

/// Shares of right guesses in per cent.
fn accuracy(cases: &[(Seen, &str)]) -> f64 {
    let mut right = 0;
    for fold in 0..FOLDS {
        let mut bayes = Bayes::default();
        for (_, (seen, answer)) in cases.iter().enumerate().filter(|(i, _)| i % FOLDS != fold) {
            bayes.learn(seen, answer);
        }
        let held = cases.iter().skip(fold).step_by(FOLDS);
        right += held
            .filter(|(seen, answer)| bayes.guess(seen) == Some(answer))
            .count();
    }
    100.0 * right as f64 / cases.len() as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1);
    let path = path.unwrap_or_else(|| "examples/orders.jsonl".to_owned());
    let cases = cases(&parse(&std::fs::read_to_string(path)?)?);
    type Answer = fn(&Case) -> Option<&str>;
    let wanted: [(&str, Answer); 3] = [
        ("operation", |case| Some(case.op)),
        ("side", |case| case.side.as_deref()),
        ("time in force", |case| case.tif.as_deref()),
    ];
    type View = fn(&Case) -> Seen;
    let views: [(&str, View); 8] = [
        ("nothing: base rate", |_| vec![]),
        ("size without padding", |case| vec![case.bare]),
        ("padded size", |case| vec![case.padded]),
        ("padded size, times", |case| {
            vec![case.padded, case.gaps[0], case.gaps[1]]
        }),
        ("size without padding, times", |case| {
            vec![case.bare, case.gaps[0], case.gaps[1]]
        }),
        ("padded size, times, entry member, fan-out", |case| {
            let [entry, fan_out] = case.entry;
            vec![case.padded, case.gaps[0], case.gaps[1], entry, fan_out]
        }),
        ("padded size, times, sender", |case| {
            vec![case.padded, case.gaps[0], case.gaps[1], case.sender]
        }),
        ("size without padding, times, sender", |case| {
            vec![case.bare, case.gaps[0], case.gaps[1], case.sender]
        }),
    ];
    println!("{} orders; right guesses in per cent", cases.len());
    print!("| seen |");
    for (name, answer) in &wanted {
        let count = cases.iter().filter(|case| answer(case).is_some()).count();
        print!(" {name} ({count} orders) |");
    }
    println!("\n|---|---|---|---|");
    for (name, view) in &views {
        print!("| {name} |");
        for (_, answer) in &wanted {
            let known = cases.iter().filter_map(|c| Some((view(c), answer(c)?)));
            print!(" {:.0} |", accuracy(&known.collect::<Vec<_>>()));
        }
        println!();
    }
    Ok(())
}

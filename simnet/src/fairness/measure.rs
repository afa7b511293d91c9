//! What came out, against what was sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fairlane_types::CtId;

use super::traffic::{GAPS_MS, Role, Traffic};

/// Buckets of true gaps between two orders of one place, ms.
pub const BUCKETS_MS: [(u64, u64); 6] = [(0, 1), (1, 5), (5, 10), (10, 20), (20, 50), (50, 100)];

/// Counts of one run, or of several.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Per bucket: pairs of honest orders of one place that came out the other way round,
    /// and all.
    pub inversion: [(u64, u64); 6],
    /// The same of two places.
    pub cross: [(u64, u64); 6],
    /// Per gap: pairs in which the attacker came first, and all.
    pub attacker_first: [(u64, u64); 4],
    /// Time from sending to the place, of every order, µs.
    pub delays: Vec<u64>,
    /// Orders without a place at the end that an honest member held.
    pub unplaced: u64,
    /// Orders that liars kept to themselves.
    pub unheld: u64,
    /// Orders in the largest strong cycle.
    pub cycle_max: usize,
}

pub(super) fn measure(traffic: &Traffic, places: &[(CtId, u64)], cycle_max: usize) -> Outcome {
    let mut out = Outcome {
        cycle_max,
        ..Outcome::default()
    };
    let mut place: Vec<Option<usize>> = vec![None; traffic.orders.len()];
    for (at, (ct_id, final_us)) in places.iter().enumerate() {
        let order = traffic.index[ct_id];
        place[order] = Some(at);
        out.delays
            .push(final_us.saturating_sub(traffic.orders[order].at_us));
    }
    for (order, place) in traffic.orders.iter().zip(&place) {
        match (place, order.held) {
            (None, true) => out.unplaced += 1,
            (None, false) => out.unheld += 1,
            (Some(_), _) => {}
        }
    }
    for (x, first) in traffic.orders.iter().enumerate() {
        if first.role != Role::Trader {
            continue;
        }
        for (y, second) in traffic.orders.iter().enumerate().skip(x + 1) {
            let gap = (second.at_us - first.at_us) / 1_000;
            let Some(bucket) = BUCKETS_MS.iter().position(|(_, end)| gap < *end) else {
                break;
            };
            let (Some(x), Some(y)) = (place[x], place[y]) else {
                continue;
            };
            if second.role != Role::Trader {
                continue;
            }
            let same = first.place == second.place;
            let counts = if same {
                &mut out.inversion
            } else {
                &mut out.cross
            };
            counts[bucket].0 += u64::from(y < x);
            counts[bucket].1 += 1;
        }
    }
    let mut victims = BTreeMap::new();
    for (order, sent) in traffic.orders.iter().enumerate() {
        match sent.role {
            Role::Victim(pair) => {
                victims.insert(pair, place[order]);
            }
            Role::Attacker(pair, gap) => {
                let at = GAPS_MS.iter().position(|g| *g == gap);
                let (Some(at), Some(mine)) = (at, place[order]) else {
                    continue;
                };
                // A victim without a place has lost.
                let victim = victims.get(&pair).copied().flatten();
                out.attacker_first[at].0 += u64::from(victim.is_none_or(|victim| mine < victim));
                out.attacker_first[at].1 += 1;
            }
            Role::Trader | Role::Chain => {}
        }
    }
    out
}

/// Several runs as one.
#[must_use]
pub fn merge(all: Vec<Outcome>) -> Outcome {
    let mut sum = Outcome::default();
    for one in all {
        let add = |into: &mut [(u64, u64)], from: &[(u64, u64)]| {
            for (into, from) in into.iter_mut().zip(from) {
                into.0 += from.0;
                into.1 += from.1;
            }
        };
        add(&mut sum.inversion, &one.inversion);
        add(&mut sum.cross, &one.cross);
        add(&mut sum.attacker_first, &one.attacker_first);
        sum.delays.extend(one.delays);
        sum.unplaced += one.unplaced;
        sum.unheld += one.unheld;
        sum.cycle_max = sum.cycle_max.max(one.cycle_max);
    }
    sum.delays.sort_unstable();
    sum
}

impl Outcome {
    /// A quantile of the delays in ms, per mille.
    #[must_use]
    pub fn delay_ms(&self, per_mille: usize) -> f64 {
        let at = (self.delays.len().saturating_sub(1)) * per_mille / 1_000;
        self.delays.get(at).map_or(0.0, |us| *us as f64 / 1e3)
    }

    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let buckets: Vec<String> = BUCKETS_MS.iter().map(|(a, b)| format!("{a}-{b}")).collect();
        let gaps: Vec<String> = GAPS_MS.iter().map(u64::to_string).collect();
        let mut out = String::from("{\"fairness\":{");
        for (name, keys, counts) in [
            ("inversion", &buckets, &self.inversion[..]),
            ("inversion_cross", &buckets, &self.cross[..]),
            ("attacker_first", &gaps, &self.attacker_first[..]),
        ] {
            let pairs: Vec<String> = (keys.iter().zip(counts))
                .map(|(key, (hit, all))| {
                    format!("\"{key}\":{:.4}", *hit as f64 / (*all).max(1) as f64)
                })
                .collect();
            let _ = write!(out, "\"{name}\":{{{}}},", pairs.join(","));
        }
        let _ = write!(
            out,
            "\"delay_ms\":{{\"p50\":{:.1},\"p99\":{:.1},\"max\":{:.1}}},\"unplaced\":{},\"unheld\":{},\"orders\":{},\"cycle_max\":{}}}}}",
            self.delay_ms(500),
            self.delay_ms(990),
            self.delay_ms(1_000),
            self.unplaced,
            self.unheld,
            self.delays.len(),
            self.cycle_max
        );
        out
    }
}

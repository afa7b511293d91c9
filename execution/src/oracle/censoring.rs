//! What a leader gains who leaves members' observations out, on top of f colluders: the mean
//! shift of the price in deviations of an honest observation, measured on fixed streams
//! (decisions 45 and 73). Integers only.

use super::*;

const TRUTH: u64 = 1_000_000;
/// Deviation of an honest observation, in ticks.
const DEVIATION: u64 = 10_000;
/// Time between two observations of a member, in milliseconds.
const EVERY_MS: u64 = 1_000;
const REPORTS: u64 = 3_000;

struct Stream(u64);

impl Stream {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    /// The sum of twelve even ones has the deviation of their range, and nearly a bell's form.
    fn observation(&mut self) -> u64 {
        let sum: u64 = (0..12).map(|_| self.below(DEVIATION + 1)).sum();
        TRUTH - 6 * DEVIATION + sum
    }
}

/// Which leaders leave lanes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaders {
    None,
    /// f of n, as there are at most; each makes whole reports.
    Some,
    /// All: nobody ever brings in what was left out.
    All,
}

/// Mean shift in thousandths of a deviation, and whether a price ever left the honest
/// observations that were fresh. All that is left out is fresh still: as many lanes as a report
/// can do without, those whose last word helps most. A leader that `sees` what is sealed
/// compares with what would come.
fn shift(f: usize, leaders: Leaders, sees: bool, up: bool) -> (u64, bool) {
    let n = 3 * f + 1;
    let params = OracleParams {
        jump_ppm: 1_000_000,
        ..OracleParams::default()
    };
    let mut stream = Stream(0x1234_5678_9abc_def1 + f as u64);
    let mut state = OracleState::new(n);
    let mut fresh: Vec<(u64, u64)> = Vec::new();
    let (mut sum, mut left) = (0_i64, false);
    let helps = |ticks: u64| if up { ticks as i64 } else { -(ticks as i64) };
    let lie = if up { TICKS_MAX } else { 1 };
    for report in 1..=REPORTS {
        let now_ms = report * EVERY_MS;
        let comes: Vec<u64> = (f..n).map(|_| stream.observation()).collect();
        let censors = match leaders {
            Leaders::None => false,
            Leaders::Some => stream.below(n as u64) < f as u64,
            Leaders::All => true,
        };
        let mut gains: Vec<(i64, usize)> = Vec::new();
        for (at, new) in comes.iter().enumerate().filter(|_| censors) {
            let old = state.observed[f + at];
            let lasts = old.ticks > 0 && now_ms - old.at_ms <= params.fresh_ms;
            let instead = if sees { *new } else { TRUTH };
            let gain = helps(old.ticks) - helps(instead);
            if lasts && gain > 0 {
                gains.push((-gain, at));
            }
        }
        gains.sort_unstable();
        gains.truncate(f);
        for (at, new) in comes.iter().enumerate() {
            if gains.iter().all(|(_, out)| *out != at) {
                state.observed[f + at] = Observation {
                    ticks: *new,
                    spread: 0,
                    at_ms: now_ms,
                    new: true,
                };
                fresh.push((now_ms, *new));
            }
        }
        for liar in &mut state.observed[..f] {
            *liar = Observation {
                ticks: lie,
                spread: 0,
                at_ms: now_ms,
                new: true,
            };
        }
        assert!(state.step(&params, now_ms), "a report is made all the same");
        fresh.retain(|(at, _)| now_ms - at <= params.fresh_ms);
        let honest = || fresh.iter().map(|(_, ticks)| *ticks);
        let hull = honest().min().unwrap_or(0)..=honest().max().unwrap_or(0);
        left |= !hull.contains(&state.price);
        sum += state.price as i64 - TRUTH as i64;
    }
    (sum.unsigned_abs() * 1_000 / (REPORTS * DEVIATION), left)
}

/// The worse of both directions.
fn worst(f: usize, leaders: Leaders, sees: bool) -> u64 {
    let both = [true, false].map(|up| shift(f, leaders, sees, up));
    assert!(both.iter().all(|(_, left)| !left), "out of the honest hull");
    both[0].0.max(both[1].0)
}

/// Thousandths of a deviation: nobody censors, f of n leaders do, all leaders do; the last two
/// blind, as they are, and seeing what is sealed.
const SHIFTS: [(usize, u64, [u64; 2], [u64; 2]); 5] = [
    (1, 850, [950, 950], [1_450, 1_450]),
    (2, 490, [620, 630], [1_200, 1_230]),
    (4, 570, [720, 740], [1_250, 1_350]),
    (10, 630, [760, 800], [1_280, 1_440]),
    (21, 680, [820, 860], [1_310, 1_500]),
];

#[test]
fn a_leader_that_leaves_lanes_out_shifts_the_price_by_so_much() {
    for (f, nobody, some, all) in SHIFTS {
        let near = |got: u64, want: u64, what: &str| {
            assert!(
                got.abs_diff(want) <= 50,
                "f = {f}, {what}: {got}, not {want}"
            );
        };
        near(worst(f, Leaders::None, false), nobody, "nobody");
        for (n, sees) in [false, true].into_iter().enumerate() {
            near(worst(f, Leaders::Some, sees), some[n], "f of n");
            near(worst(f, Leaders::All, sees), all[n], "all");
        }
    }
}

/// A leader that picks the 2f+1 observations of a report itself shifts it more (EXECUTION §3):
/// what is left out counts with its last word, and with many members that is worth much.
#[test]
fn picking_a_quorum_would_shift_it_more() {
    for (f, picked) in [(4, 1_490), (10, 1_890), (21, 2_200)] {
        assert!(worst(f, Leaders::All, true) + 100 < picked, "f = {f}");
        assert!(2 * worst(f, Leaders::Some, true) < picked, "f = {f}");
    }
}

//! A clearing house out of a byte, and blocks out of bytes.

use fairlane_execution::large::LargeParams;
use fairlane_execution::oracle::OracleParams;
use fairlane_execution::params::{
    Deleveraging, ExecutionGenesis, MarketParams, MatchingRule, Tier,
};
use fairlane_execution::predictive::PredictiveParams;
use fairlane_execution::{BreakerParams, DAY_MS};
use fairlane_types::{
    ChainId, Height, Item, Label, Micros, Millis, Outcome, Position, PublicKey, Root,
    SequencedBlock,
};

/// Accounts 0 to 5 trade, 100 to 103 say prices and changes, 200 credits deposits.
const TRADERS: u8 = 6;
/// Ends a block; the next byte is how much later it is, in tenths of a second.
pub const END: u8 = 255;
/// So many empty blocks as the next byte says.
pub const IDLE: u8 = 254;

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

/// A genesis with two markets, some of it as the bits say.
pub fn genesis(bits: u8) -> ExecutionGenesis {
    let rule = match bits & 3 {
        0 | 1 => MatchingRule::PriceTime,
        2 => MatchingRule::CancelFirst,
        _ => MatchingRule::UniformBatch,
    };
    let breaker = BreakerParams {
        lag_ppm: 60_000,
        edge_ppm: 150_000,
        edge_heights: 3,
        depth_min: 2,
        window_heights: 1,
        liquidated_ppm: 300_000,
        drawn_ppm: 500_000,
        guard_heights: 2,
        calm_heights: 2,
        auction_heights: 2,
        auction_ppm: 80_000,
        auction_initial_ppm: 1_500_000,
        prolong: 1,
        halt_heights: 3,
        resume_heights: 40,
        resumes: 4,
    };
    let large = LargeParams {
        least: 10_000,
        always: 40_000,
        never: 80_000,
        depth_ppm: 500_000,
        interest_ppm: 500_000,
        delay_heights: 2,
        reports: 2,
        slices: 4,
        gap_heights: 1,
        hold_heights: 3,
        life_heights: 12,
        price_ppm: 100_000,
        impact_ppm: 5_000,
        mature_heights: 4,
    };
    let predictive = PredictiveParams {
        sample_heights: 1,
        shift: 4,
        window: 100,
        quantile_ppm: 990_000,
        horizon: 4,
        cap_ppm: 300_000,
        rise_ppm: 10_000,
        fall_ppm: 2_000,
    };
    let market = MarketParams {
        initial_ppm: 100_000,
        maintenance_ppm: 50_000,
        step_ppm: 20_000,
        band_ppm: 200_000,
        tiers: vec![Tier {
            above: 20_000,
            initial_ppm: 50_000,
            maintenance_ppm: 25_000,
        }],
        funding_heights: 3,
        funding_cap_ppm: 4_000,
        breaker: (bits & 4 != 0).then_some(breaker),
        predictive: Some(predictive),
        ..MarketParams::plain(1_000, rule)
    };
    let other = MarketParams {
        large: (rule != MatchingRule::UniformBatch).then_some(large),
        interest_max: 150,
        ..market.clone()
    };
    let lenient = OracleParams {
        fresh_ms: 50_000,
        stale_ms: DAY_MS,
        dead_ms: DAY_MS,
        uncertain_ppm: 1_000_000,
        jump_ppm: 1_000_000,
        recovery_reports: 0,
    };
    ExecutionGenesis {
        markets: vec![market, other],
        accounts: (0..TRADERS).map(|n| (key(n), 9_000)).collect(),
        oracles: (100..104).map(key).collect(),
        oracle: if bits & 8 == 0 {
            lenient
        } else {
            OracleParams::default()
        },
        bridge: Some(key(200)),
        insurance: 300,
        deleveraging: match bits >> 4 & 3 {
            0 | 1 => Deleveraging::ProRata,
            2 => Deleveraging::RiskAware,
            _ => Deleveraging::Queue,
        },
        withdraw_hour_ppm: 500_000,
        withdraw_day_ppm: 900_000,
    }
}

/// What comes next.
pub enum Step {
    /// A block of payloads with their senders, so much later than the last.
    Block(Vec<(u8, Vec<u8>)>, u64),
    /// Empty blocks.
    Idle(u8),
}

/// Reads sender, length, payload; again and again.
pub fn steps(mut bytes: &[u8]) -> Vec<Step> {
    let (mut steps, mut payloads) = (Vec::new(), Vec::new());
    while let [who, length, rest @ ..] = bytes {
        bytes = rest;
        match *who {
            END => {
                let later_ms = u64::from(*length) * 100;
                steps.push(Step::Block(std::mem::take(&mut payloads), later_ms));
            }
            IDLE => steps.push(Step::Idle(*length)),
            who => {
                let (payload, rest) = bytes.split_at(usize::from(*length).min(bytes.len()));
                payloads.push((who, payload.to_vec()));
                bytes = rest;
            }
        }
    }
    steps.push(Step::Block(payloads, 0));
    steps
}

/// A sealed block of payloads.
pub fn block(
    height: Height,
    time_ms: u64,
    parent_root: Root,
    payloads: &[(u8, Vec<u8>)],
) -> SequencedBlock {
    let item = |(at, (sender, payload)): (usize, &(u8, Vec<u8>))| Item {
        position: Position(at as u64),
        label: Label {
            suite: 1,
            chain: ChainId(1),
            key_id: Default::default(),
            sender: key(*sender),
            nonce: at as u64,
            expiry: Default::default(),
            fee: 0,
            lane: 255,
            reserved: [0; 19],
        },
        ct_id: Default::default(),
        stamp: Micros(0),
        outcome: Outcome::Opened {
            payload: payload.clone(),
            opening: [0; 32],
        },
    };
    SequencedBlock {
        chain: ChainId(1),
        epoch: Default::default(),
        height,
        block: Default::default(),
        time: Millis(time_ms),
        parent_root,
        first_position: Position(0),
        items: payloads.iter().enumerate().map(item).collect(),
        state: None,
        root: Root::default(),
    }
    .sealed()
}

//! Holds the code against the formulas that `ops/check-lemmas` proves things about:
//! `lemmas/vectors.txt` has what they give, from a fixed seed and at the bounds.

use std::collections::BTreeMap;

use crate::account::{Health, Position};
use crate::liquidation::{ratio_ppm, ticks_given};
use crate::mark::next_mark;
use crate::oracle::Validity;
use crate::params::{MarketParams, Tier};
use crate::predictive::{PPB, PredictiveParams, Predictor, SETTLING};
use crate::units::{PPM, fee, share_of};

const VECTORS: &str = include_str!("../lemmas/vectors.txt");

/// What the code gives for a line's arguments.
fn computed(name: &str, x: &[i128]) -> i128 {
    let params = |x: [i128; 3], maintenance: i128| MarketParams {
        step_ppm: x[0] as u32,
        funding_cap_ppm: x[1] as u32,
        liquidation_fee_ppm: x[2] as u32,
        maintenance_ppm: maintenance as u32,
        ..crate::mark::tests::market(1, 0, Validity::Dead).params
    };
    match name {
        "fee" => fee(x[0], x[1] as u32),
        "unsettled" => Position {
            funding: x[0],
            lots: x[2] as i64,
            ..Position::flat(0)
        }
        .unsettled(x[1]),
        "step_ticks" => {
            // The price is the largest there is; the mark takes one step towards it.
            let price = u64::MAX;
            let mut market = crate::mark::tests::market(x[0] as u64, price, Validity::Fresh);
            market.params.step_ppm = x[1] as u32;
            i128::from(next_mark(&market)) - x[0]
        }
        "margin_ticks" => {
            let mut market = crate::mark::tests::market(x[0] as u64, 0, Validity::Dead);
            market.params.step_ppm = x[1] as u32;
            market.margin_size(1)
        }
        "ratio_ppm" => ratio_ppm(&Health {
            equity: x[0],
            maintenance_micro: x[1],
            ..Health::default()
        }),
        "ticks_given" => ticks_given(x[0], x[1], x[2] as u64),
        "share_of" => share_of(x[0], x[1], x[2]),
        "margin" => {
            let tier = |at: usize| Tier {
                above: x[at] as u64,
                initial_ppm: 0,
                maintenance_ppm: x[at + 1] as u32,
            };
            let mut params = params([0; 3], x[1]);
            params.tiers = vec![tier(2), tier(4)];
            params.maintenance(x[0])
        }
        "trade_part" => {
            let mut position = Position {
                lots: x[2] as i64,
                cost: x[0],
                ..Position::flat(0)
            };
            -position.trade(-(x[1] as i64), 0)
        }
        "variance" => {
            // From a price of 10^9 the move in ppb is the difference.
            let mut predictor = Predictor {
                ticks: PPB as u64,
                seen: SETTLING,
                variance: x[0],
                ..Predictor::default()
            };
            let params = PredictiveParams {
                shift: x[2] as u8,
                ..crate::predictive::tests::params()
            };
            predictor.sample(&params, (PPB + x[1]) as u64);
            predictor.variance
        }
        "additions" => {
            let params = PredictiveParams {
                window: 100,
                cap_ppm: x[1] as u32,
                rise_ppm: x[2] as u32,
                fall_ppm: x[3] as u32,
                ..crate::predictive::tests::params()
            };
            // So wild that the cap is what is wanted.
            let mut predictor = Predictor {
                variance: PPB * PPB,
                moves: vec![u32::MAX; 100],
                initial_ppm: x[0] as u32,
                ..Predictor::default()
            };
            predictor.adjust(&params, 0);
            i128::from(predictor.initial_ppm) * PPM + i128::from(predictor.maintenance_ppm)
        }
        "envelope" => i128::from(params([x[0], x[1], x[2]], x[3]).validate().is_ok()),
        _ => unreachable!("no such function: {name}"),
    }
}

#[test]
fn the_code_computes_what_the_lemmas_are_about() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for line in VECTORS.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let mut numbers: Vec<i128> = words.map(|word| word.parse().unwrap()).collect();
        let want = numbers.pop().unwrap();
        assert_eq!(computed(name, &numbers), want, "{line}");
        *seen.entry(name).or_default() += 1;
    }
    assert_eq!(seen.len(), 12);
    assert!(seen.values().all(|lines| *lines >= 40));
}

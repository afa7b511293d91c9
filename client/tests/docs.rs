//! The documentation says what the code does.

use fairlane_client::sample;
use fairlane_client::wire::error_table;
use fairlane_types::Order;

const API: &str = include_str!("../../docs/api.md");
const ORDERS: &str = include_str!("../../docs/orders.md");
const SAMPLES: &str = include_str!("../../examples/orders.jsonl");

#[test]
fn the_error_codes_are_documented_word_for_word() {
    assert!(
        API.ends_with(&error_table()),
        "docs/api.md must end with:\n{}",
        error_table()
    );
}

#[test]
fn the_byte_examples_are_what_the_codec_makes() {
    let rows: Vec<_> = ORDERS
        .lines()
        .filter(|line| line.starts_with("| `{"))
        .collect();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let cells: Vec<_> = row.split('`').collect();
        let order = sample::parse_order(cells[1]).expect(cells[1]);
        let bytes = hex::decode(cells[3].replace(' ', "")).expect(cells[3]);
        assert_eq!(order.to_bytes(), bytes, "{}", cells[1]);
        assert_eq!(Order::from_bytes(&bytes).as_ref(), Ok(&order));
    }
}

#[test]
fn the_sample_file_is_what_it_is_said_to_be() {
    let samples = sample::parse(SAMPLES).unwrap();
    assert_eq!(samples.len(), 400);
    let mut traders: Vec<_> = samples.iter().map(|sample| &sample.trader).collect();
    traders.sort_unstable();
    traders.dedup();
    assert_eq!(traders.len(), 8);
    assert!(samples.iter().all(|sample| sample.at_ms < 8_000));
}

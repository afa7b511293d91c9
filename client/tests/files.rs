//! Text that comes from files and from members, mutated: a clear error or something valid,
//! never a panic.

#![allow(clippy::unwrap_used)]

use fairlane_client::Pin;
use fairlane_client::sample;
use fairlane_encryption::{EncryptionKey, deal_insecure};
use fairlane_types::{
    ChainId, EncryptionParams, Epoch, Genesis, Millis, Scheme, SecretKey, SeededRng, encode,
};
use proptest::prelude::*;
use std::sync::LazyLock;

static GENESIS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = SeededRng::new(&[1; 32], b"files");
    let (key, _): (EncryptionKey, _) = deal_insecure(Epoch(0), 4, &mut rng).unwrap();
    let genesis = Genesis {
        chain: ChainId(9),
        time: Millis(1),
        experiment: true,
        start: None,
        members: (1..=4)
            .map(|i| SecretKey::from_seed([i; 32]).public())
            .collect(),
        encryption: EncryptionParams::dealt(Scheme::Tdh2, key.id(), encode(&key)),
        certificates: None,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    };
    serde_json::to_vec_pretty(&genesis).unwrap()
});

/// One change of a text: where, and what is put there for how much.
fn change() -> impl Strategy<Value = (f64, usize, Vec<u8>)> {
    let pieces = prop_oneof![
        Just(b"".to_vec()),
        Just(b"0".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"18446744073709551616".to_vec()),
        Just(b"1e400".to_vec()),
        Just(b"null".to_vec()),
        Just(b"[[[[[[[[".to_vec()),
        Just(b"\",\"x\":\"".to_vec()),
        Just("\u{202e}".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    (0.0..1.0, 0..40_usize, pieces)
}

fn changed(text: &[u8], changes: &[(f64, usize, Vec<u8>)]) -> Vec<u8> {
    let mut text = text.to_vec();
    for (place, length, piece) in changes {
        let at = (text.len() as f64 * place) as usize;
        let end = (at + length).min(text.len());
        text.splice(at..end, piece.iter().copied());
    }
    text
}

fn genesis(bytes: &[u8]) {
    match Pin::from_json(bytes) {
        Ok(pin) => {
            let again = serde_json::to_vec(pin.genesis()).unwrap();
            assert_eq!(Pin::from_json(&again).unwrap().hash(), pin.hash());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[test]
fn the_unchanged_file_is_taken() {
    Pin::from_json(&GENESIS).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_changed_genesis_is_refused_or_valid(
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        genesis(&changed(&GENESIS, &changes));
    }

    #[test]
    fn bytes_are_no_genesis(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        genesis(&bytes);
    }

    #[test]
    fn a_changed_sample_names_the_line_or_is_valid(
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        let whole = include_bytes!("../../examples/orders.jsonl");
        let few: Vec<u8> = whole.split_inclusive(|b| *b == b'\n').take(6).flatten().copied().collect();
        let text = changed(&few, &changes);
        if let Ok(text) = std::str::from_utf8(&text)
            && let Err(error) = sample::parse(text)
        {
            prop_assert!(error.to_string().contains("line"), "{error}");
        }
    }
}

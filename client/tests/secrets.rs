//! A trader's secrets are not printed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../types/tests/common/printed.rs"]
mod printed;

use fairlane_client::{Pin, SealOptions, Sealer};
use fairlane_encryption::deal_suite_insecure;
use fairlane_types::{
    ChainId, EncryptionParams, Epoch, Genesis, Millis, Scheme, SecretKey, SeededRng,
};
use printed::hidden;

const ORDER: &[u8] = b"sell all of it, at any price";

fn pin(scheme: Scheme) -> Pin {
    let mut rng = SeededRng::new(&[3; 32], b"deal");
    let (key, _) = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng).unwrap();
    let member = |i| SecretKey::from_seed([i; 32]).public();
    Pin::new(Genesis {
        chain: ChainId(7),
        time: Millis(1_000),
        experiment: true,
        start: None,
        members: (1..=4).map(member).collect(),
        encryption: EncryptionParams::dealt(scheme, key.id(), key.to_bytes()),
        certificates: None,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    })
    .unwrap()
}

#[test]
fn debug_shows_neither_a_seed_nor_what_is_sealed() {
    let seed: [u8; 32] = core::array::from_fn(|n| (n * 29 + 7) as u8);
    for scheme in [Scheme::Tdh2, Scheme::BaekZheng] {
        let sealer = Sealer::new(&pin(scheme), SecretKey::from_seed(seed));
        hidden("a seed", &seed, &sealer);
        let options = SealOptions {
            nonce: 1,
            expiry: Millis(9_000),
            lane: None,
        };
        let mut rng = SeededRng::new(&[4; 32], b"seal");
        let envelope = sealer.seal_bytes(ORDER, options, &mut rng).unwrap();
        hidden("an order", ORDER, &envelope);
        hidden("a seed", &seed, &envelope);
    }
}

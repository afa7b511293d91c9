//! Envelopes and ciphertexts from traders, under a key of either suite.
#![no_main]

use std::sync::OnceLock;

use fairlane_encryption::{Suite, SuiteKey, ThresholdScheme, deal_suite_insecure};
use fairlane_fuzz::canonical;
use fairlane_types::{Envelope, Epoch, Label, Order, Scheme, SeededRng};
use libfuzzer_sys::fuzz_target;

fn key(scheme: Scheme) -> &'static SuiteKey {
    static KEYS: [OnceLock<SuiteKey>; 2] = [const { OnceLock::new() }; 2];
    KEYS[usize::from(scheme == Scheme::BaekZheng)].get_or_init(|| {
        let mut rng = SeededRng::new(&[3; 32], b"fuzz");
        let dealt = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng);
        dealt.expect("four members").0
    })
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Order::from_bytes(bytes);
    if let Some(label) = canonical::<Label>(bytes) {
        let _ = label.to_bytes();
    }
    let scheme = match bytes.first() {
        Some(first) if first % 2 == 1 => Scheme::BaekZheng,
        _ => Scheme::Tdh2,
    };
    // Nobody guesses a proof.
    assert!(Suite::check(key(scheme), b"label", bytes).is_err());
    if let Some(envelope) = canonical::<Envelope>(bytes) {
        let label = envelope.label.to_bytes();
        assert!(Suite::check(key(scheme), &label, &envelope.ciphertext).is_err());
        let _ = envelope.signature_check().verify();
    }
});

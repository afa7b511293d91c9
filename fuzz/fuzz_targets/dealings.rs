//! Dealings of a key ceremony. The fuzzer's bytes change a valid one, since nothing else has
//! the right length.
#![no_main]

use std::sync::OnceLock;

use fairlane_encryption::{Ceremony, Deal, ReceiverSecret, deal_suite_insecure};
use fairlane_fuzz::canonical;
use fairlane_replica::Dealing;
use fairlane_types::{Digest, Epoch, MemberId, Scheme, SeededRng, encode};
use libfuzzer_sys::fuzz_target;

/// Of the first keys of a chain, and of a fresh one beside the resharing of another: of either
/// scheme.
fn valid() -> &'static [[(Ceremony, Vec<u8>); 2]; 2] {
    static VALID: OnceLock<[[(Ceremony, Vec<u8>); 2]; 2]> = OnceLock::new();
    VALID.get_or_init(|| [Scheme::Tdh2, Scheme::BaekZheng].map(dealt))
}

fn dealt(scheme: Scheme) -> [(Ceremony, Vec<u8>); 2] {
    let mut rng = SeededRng::new(&[3; 32], b"fuzz");
    let receivers = (0..4).map(|_| ReceiverSecret::generate(&mut rng).key());
    let receivers: Vec<_> = receivers.collect();
    let first = Ceremony::fresh(scheme, Digest([1; 32]), Epoch(0), receivers.clone(), true);
    let first = first.expect("four receivers");
    let deal = first.deal(MemberId(0), &mut rng).expect("a dealer");
    let (key, shares) = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng).expect("four members");
    let renewal = Ceremony::renew(Digest([2; 32]), Epoch(1), receivers, key, None);
    let renewal = renewal.expect("four receivers");
    let renewed = renewal.deal_share(&shares[0], None, &mut rng);
    let renewed = renewed.expect("its share");
    [(first, encode(&deal)), (renewal, encode(&renewed))]
}

fuzz_target!(|bytes: &[u8]| {
    let _ = canonical::<Dealing>(bytes);
    let _ = canonical::<Deal>(bytes);
    let (ceremony, valid) = &valid()[bytes.len() / 2 % 2][bytes.len() % 2];
    let mut changed = valid.clone();
    for edit in bytes.chunks_exact(4) {
        let at = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize % changed.len();
        changed[at] ^= edit[3];
    }
    if let Some(deal) = canonical::<Deal>(&changed) {
        let holds = ceremony.verify(MemberId(0), deal).is_ok();
        assert_eq!(holds, changed == *valid, "a changed dealing holds");
    }
});

//! What leads from one epoch into the next: hand-overs and what epochs begin with, as any member's
//! API may answer; changes, as operators write them; what a disk remembers.
#![no_main]

use std::sync::OnceLock;

use fairlane_encryption::{Beacon, KeyBatch, ReceiverSecret};
use fairlane_fuzz::{canonical, epochs, readable};
use fairlane_mempool::fair;
use fairlane_replica::{EpochBase, Sharing};
use fairlane_types::{
    CommitteeChange, Genesis, Handover, MemberId, Millis, NextMember, OrderParams, SeededRng,
    StateClaim, UsedReceivers,
};
use libfuzzer_sys::fuzz_target;

fn world() -> &'static (Genesis, ReceiverSecret) {
    static WORLD: OnceLock<(Genesis, ReceiverSecret)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let receiver = ReceiverSecret::generate(&mut SeededRng::new(&[3; 32], b"fuzz"));
        (epochs::genesis(), receiver)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let (before, receiver) = world();
    match which % 8 {
        0 => {
            if let Some(handover) = canonical::<Handover>(bytes) {
                assert!(handover.verify(before).is_err(), "nobody signed this");
                let _ = handover.genesis.validate();
            }
        }
        1 => {
            if let Some(base) = canonical::<EpochBase>(bytes) {
                assert!(base.verify(before, None).is_err(), "nobody signed this");
                assert!(base.sharing(MemberId(0), receiver).is_err());
                let _ = base.is_covered();
            }
        }
        2 => {
            if let Some(change) = canonical::<CommitteeChange>(bytes) {
                let committee = before.validate().expect("it is valid");
                assert!(change.verify(&committee).is_err(), "nobody approved this");
                let mut used = UsedReceivers::default();
                used.add(before);
                let _ = used.check(&change.next);
            }
        }
        3 => {
            let _ = readable::<CommitteeChange>(bytes);
            let _ = readable::<NextMember>(bytes);
        }
        4 => {
            let _ = canonical::<UsedReceivers>(bytes);
            let _ = canonical::<KeyBatch>(bytes);
            let _ = canonical::<StateClaim>(bytes);
        }
        5 => {
            if let Some(beacon) = canonical::<Beacon>(bytes) {
                assert!(!beacon.verify(&[7; 48], before.chain));
            }
        }
        6 => drop(Sharing::of_kept(before, MemberId(0), bytes)),
        _ => {
            let params = OrderParams::default();
            // It says of which time it is.
            let time = bytes
                .first_chunk()
                .map_or(0, |time| u64::from_le_bytes(*time));
            let after = fair::rule_after(4, 1, &params, Millis(time), bytes);
            if let Ok(rule) = after {
                assert_eq!(rule.memory(), bytes, "a second encoding was accepted");
            }
            if let Ok(rule) = fair::restore(4, 1, &params, bytes) {
                assert_eq!(rule.snapshot(), bytes, "a second encoding was accepted");
            }
        }
    }
});

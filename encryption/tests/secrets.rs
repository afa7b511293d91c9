//! Secrets are not printed, and are erased.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{World, finalized};
use fairlane_encryption::{Plain, Tdh2, ThresholdScheme};
use fairlane_types::encode;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Whether any run of 4 bytes of `secret` shows in `text`, as hex, decimals or text.
fn shows(text: &str, secret: &[u8]) -> bool {
    let lower = text.to_lowercase().replace([' ', '\n'], "");
    secret.windows(4).any(|run| {
        let decimals: Vec<String> = run.iter().map(u8::to_string).collect();
        lower.contains(&hex::encode(run))
            || lower.contains(&decimals.join(","))
            || (run.is_ascii() && lower.contains(&String::from_utf8_lossy(run).to_lowercase()))
    })
}

#[test]
fn debug_shows_no_secret() {
    let mut world = World::new(4, 2);
    for share in &world.secrets {
        for text in [format!("{share:?}"), format!("{share:#?}")] {
            assert!(!shows(&text, &*share.expose_secret()), "{text}");
        }
    }
    let sealed = Tdh2::shares(&world.secrets[0], world.block, &world.list, &mut world.rng);
    let texts = [format!("{sealed:?}"), format!("{sealed:#?}")];
    let one = Tdh2::prove_one(
        &world.secrets[0],
        world.block,
        &world.list[0],
        &mut world.rng,
    );
    let one_text = format!("{one:?}");
    let shares = sealed.take(&finalized(world.block)).unwrap();
    for share in &shares.batch().shares {
        for text in texts
            .iter()
            .chain([&one_text, &format!("{shares:?} {:?}", shares.batch())])
        {
            assert!(!shows(text, share), "{text}");
        }
    }
    let plain = Plain {
        payload: b"sell everything".to_vec(),
        opening: [0xc3; 32],
    };
    let text = format!("{plain:?} {:?}", world.list);
    assert!(
        !shows(&text, &plain.payload) && !shows(&text, &plain.opening),
        "{text}"
    );
    assert!(shows("[1, 2, 3, 4]", &[1, 2, 3, 4]) && shows("c3c3c3c3", &[0xc3; 4]));
}

#[test]
fn key_shares_are_erased() {
    fn erased_on_drop<T: ZeroizeOnDrop>(_: &T) {}
    let mut world = World::new(4, 0);
    let share = &mut world.secrets[0];
    erased_on_drop(share);
    share.zeroize();
    assert_eq!(*share.expose_secret(), [0; 32]);
    assert_eq!(encode(share)[33..], [0; 32]);
}

/// Everything a job carries crosses threads.
#[test]
fn jobs_can_carry_everything() {
    fn job<T: Send + Sync + 'static>() {}
    job::<fairlane_encryption::EncryptionKey>();
    job::<fairlane_encryption::KeyShare>();
    job::<fairlane_encryption::ParsedCiphertext>();
    job::<fairlane_encryption::Sealed<fairlane_encryption::Shares>>();
    job::<fairlane_encryption::Combiner>();
    job::<fairlane_encryption::KeyPoints>();
    job::<fairlane_encryption::ProvenShare>();
    job::<fairlane_encryption::Resolution<fairlane_encryption::KeyPoints>>();
}

//! Secrets are not printed.
#![allow(clippy::panic, reason = "a failed test panics")]

#[path = "common/printed.rs"]
mod printed;

use fairlane_types::{SecretKey, SeededRng};
use printed::{finds_all_forms, hidden};
use rand_core::Rng as _;

#[test]
fn the_search_finds_all_forms() {
    finds_all_forms();
}

#[test]
fn debug_shows_no_secret() {
    let seed: [u8; 32] = core::array::from_fn(|n| (n * 29 + 7) as u8);
    let key = SecretKey::from_seed(seed);
    hidden("a seed", &seed, &key);
    hidden("a seed", &seed, &[(1, Some(key))]);
    let [mut rng, mut twin] = [(); 2].map(|()| SeededRng::new(&seed, b"test"));
    let mut drawn = [0; 32];
    twin.fill_bytes(&mut drawn);
    hidden("entropy", &seed, &rng);
    hidden("what is drawn next", &drawn, &rng);
    rng.fill_bytes(&mut drawn);
    hidden("what was drawn", &drawn, &rng);
}

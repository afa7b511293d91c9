//! The figures of `fairlane bench crypto` under the curve backend of this build, a line of tab-separated
//! fields each: backend, scheme, mode, n, µs per order and member. `ops/crypto-table` runs it.
//!
//! `cargo run --release -p fairlane-encryption --features bench --example crypto_bench`

#![allow(clippy::unwrap_used)]

#[path = "common/cpu.rs"]
mod cpu;

use std::time::Instant;

use fairlane_encryption::bench::{Figure, backend, figures};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn main() {
    let epoch = Instant::now();
    let clock = || cpu::cpu_now(epoch).as_nanos() as u64;
    let told = |of: &[Figure]| {
        for f in of {
            let (scheme, mode, n, micros) = (f.scheme, f.mode, f.n, f.micros);
            println!("{}\t{scheme}\t{mode}\t{n}\t{micros:.2}", backend());
        }
    };
    figures(&clock, &mut ChaCha20Rng::from_seed([1; 32]), told).unwrap();
}

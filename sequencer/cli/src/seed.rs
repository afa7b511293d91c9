//! Randomness for sealing, drawn from the system.

use fairlane_types::SeededRng;
use zeroize::Zeroizing;

use crate::exit::{Outcome, Problem};

/// A generator with fresh entropy.
pub fn rng(context: &str) -> Outcome<SeededRng> {
    let mut entropy = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *entropy)
        .map_err(|error| Problem::failed(format!("the system gives no randomness: {error}")))?;
    Ok(SeededRng::new(&entropy, context.as_bytes()))
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

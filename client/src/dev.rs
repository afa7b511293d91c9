//! Development traders: keys that follow from a name, so that samples and tests can be
//! run again. Anyone can derive them; use them on an experiment genesis only.

use fairlane_types::{Domain, SecretKey};

/// The key of a development trader.
#[must_use]
pub fn trader_key(name: &str) -> SecretKey {
    SecretKey::from_seed(Domain::DevKey.hash(name.as_bytes()).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_key() {
        assert_eq!(trader_key("alice").public(), trader_key("alice").public());
        assert_ne!(trader_key("alice").public(), trader_key("bob").public());
    }
}

//! BLS12-381 through the crate `threshold_crypto`: keys and shares of keys for suite 0x02
//! and for certificates. The two uses have keys of different types, so that no key serves
//! both.
//!
//! The crate is variable-time and takes values in and out by serde only; [`adapter`] is
//! where that is bridged.

pub(crate) mod adapter;
mod keys;

pub use keys::{Encrypting, PairingKey, PairingShare, Purpose, Signing, deal_pairing_insecure};

//! What the targets share.

pub mod clearing;
pub mod epochs;
pub mod home;

use borsh::{BorshDeserialize, BorshSerialize};

/// Whatever decodes encodes to the same bytes again: nothing has two encodings.
pub fn canonical<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) -> Option<T> {
    let value: T = fairlane_types::decode(bytes, bytes.len()).ok()?;
    assert_eq!(
        fairlane_types::encode(&value),
        bytes,
        "a second encoding was accepted"
    );
    Some(value)
}

/// Whatever reads as JSON is written and read again to the same.
pub fn readable<
    T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + core::fmt::Debug,
>(
    bytes: &[u8],
) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(again, value);
    Some(value)
}

//! Ideal signatures: a hash that only the model computes.

use std::hash::{DefaultHasher, Hash, Hasher};

use fairlane_consensus::{Message, Statement};
use fairlane_types::{MemberId, SigCheck, Signature};

use crate::load::Load;
use crate::scope::{CHAIN, key};

/// The one signature that passes this check.
pub(crate) fn ideal(check: &SigCheck) -> Signature {
    let mut hasher = DefaultHasher::new();
    (check.key.0, &check.message).hash(&mut hasher);
    let mut signature = [0; 64];
    signature[..8].copy_from_slice(&hasher.finish().to_le_bytes());
    Signature(signature)
}

/// Indices of those that do not verify.
pub(crate) fn bad_ones(sigs: &[SigCheck]) -> Vec<usize> {
    let bad = |(i, s): (usize, &SigCheck)| (ideal(s) != s.signature).then_some(i);
    sigs.iter().enumerate().filter_map(bad).collect()
}

pub(crate) fn signature(by: MemberId, statement: &Statement<Load>) -> Signature {
    ideal(&statement.check(&key(by), CHAIN, Signature::default()))
}

/// What `by` says, signed.
pub(crate) fn sign(by: MemberId, statement: Statement<Load>) -> Message<Load> {
    let signature = signature(by, &statement);
    statement.with(signature)
}

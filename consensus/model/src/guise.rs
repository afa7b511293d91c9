//! What is heard of a member, and all states that it may be in behind that.

use std::sync::Arc;

use fairlane_types::MemberId;

use crate::member::Member;
use crate::said::Said;
use crate::store::Path;

/// All states of a member that has said the same, as far as none of them can be come to in
/// silence from another. Every rule is about what was said, so they are explored as one.
#[derive(Debug)]
pub struct Guise {
    /// Who.
    pub id: MemberId,
    /// Stands for the states below.
    pub digest: u128,
    /// Stands for what is heard.
    pub voice: u128,
    /// What it has said.
    pub said: Said,
    /// The first rule that it broke on its own.
    pub breach: Option<&'static str>,
    /// The states, by digest; never none.
    pub states: Vec<Arc<Member>>,
}

impl Guise {
    pub(crate) fn new(mut states: Vec<Arc<Member>>) -> Self {
        states.sort_unstable_by_key(|member| member.digest);
        let digest = states.iter().fold(0_u128, |sum, member| {
            sum.wrapping_mul(0x0100_0000_0000_0000_0000_013b) ^ member.digest
        });
        let first = &states[0];
        Self {
            id: first.id,
            digest,
            voice: first.voice,
            said: first.said.clone(),
            breach: first.breach,
            states,
        }
    }
}

/// Where a state after a move comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The state before it, by digest.
    pub(crate) from: u128,
    /// The inputs.
    pub(crate) path: Path,
}

/// A member says something more.
#[derive(Debug)]
pub(crate) struct Move {
    /// What is heard of it then.
    pub(crate) to: Arc<Guise>,
    /// How it came to each state, by digest.
    pub(crate) how: Vec<(u128, Origin)>,
}

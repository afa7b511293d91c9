//! What an audit can find.

use fairlane_types::{CtId, Digest, Height, MemberId, Millis, Position, Root};

/// Something that cannot be if at most f members are faulty and the records are theirs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The final chain is broken.
    #[error("height {height}: {why}")]
    Chain {
        /// Height.
        height: Height,
        /// What does not fit.
        why: String,
    },
    /// A certificate does not prove its block final.
    #[error("height {height}: its certificate proves nothing: {why}")]
    Certificate {
        /// Height.
        height: Height,
        /// What does not fit.
        why: String,
    },
    /// The batches of a lane are not those of the cut.
    #[error("height {height}, lane {lane}: {why}")]
    Lane {
        /// Height.
        height: Height,
        /// Lane.
        lane: MemberId,
        /// What does not fit.
        why: String,
    },
    /// Finalized time is not what the heads say (C13).
    #[error("height {height}: finalized time is {got}, the heads say {want}")]
    Time {
        /// Height.
        height: Height,
        /// In the header.
        got: Millis,
        /// By C13.
        want: Millis,
    },
    /// Orders are tied, and what broke the tie is not the beacon of the block.
    #[error("height {height}: {why}")]
    Beacon {
        /// Height.
        height: Height,
        /// What does not fit.
        why: &'static str,
    },
    /// An envelope in final lanes that no honest member acknowledges (M5).
    #[error("height {height}: order {id} is in final lanes, but {why}")]
    Envelope {
        /// Height.
        height: Height,
        /// The order.
        id: CtId,
        /// What does not fit.
        why: String,
    },
    /// The sequence has another order than the lanes demand, or leaves one out.
    #[error(
        "height {height}, position {position}: the lanes demand {want}, the sequence has {got}{}",
        lacking(*.missing)
    )]
    Order {
        /// Height.
        height: Height,
        /// Place in the sequence.
        position: Position,
        /// What the rule gives there.
        want: String,
        /// What is claimed.
        got: String,
        /// Entries of this height whose envelopes the records lack: if they are not
        /// orders that had their outcome, the records are incomplete.
        missing: usize,
    },
    /// A published payload is not what its ciphertext holds.
    #[error("height {height}, position {position}: order {id}: {why}")]
    Opening {
        /// Height.
        height: Height,
        /// Its place.
        position: Position,
        /// The order.
        id: CtId,
        /// What does not fit.
        why: String,
    },
    /// Block id, time, positions or parent root of the claimed block are not those of the
    /// chain.
    #[error("height {height}: the block of the sequence has a false {field}")]
    Block {
        /// Height.
        height: Height,
        /// Which field.
        field: &'static str,
    },
    /// The root does not fit the content.
    #[error("height {height}: the root is {got}, the content has {want}")]
    Root {
        /// Height.
        height: Height,
        /// Claimed.
        got: Root,
        /// Of the content.
        want: Root,
    },
    /// What the next epoch begins with is not what this one's lanes lead to.
    #[error("epoch boundary at height {height}: {why}")]
    Boundary {
        /// The last height of the epoch.
        height: Height,
        /// What does not fit.
        why: String,
    },
    /// The commitment to the order state is another one.
    #[error(
        "height {height}: the sequence commits to order state {got:?}, the lanes give {want:?}"
    )]
    State {
        /// Height.
        height: Height,
        /// Claimed.
        got: Option<Digest>,
        /// Computed.
        want: Option<Digest>,
    },
}

fn lacking(missing: usize) -> String {
    match missing {
        0 => String::new(),
        count => format!(" ({count} entries of this height came without their envelopes)"),
    }
}

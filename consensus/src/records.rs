//! The safety record (C7): what must survive a crash before it is said.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{Certificate, Commit, Epoch, Signature, SignerSet, Skip, View, Vote};

use crate::message::{Block, FinalBlock, Justify};

/// One durable record. Records become durable in the order in which they were emitted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum SafetyRecord<P> {
    /// This member proposed (C6); with all that is needed to propose the same again.
    Proposed {
        /// The block.
        block: Block<P>,
        /// Its justification.
        justify: Justify,
    },
    /// This member voted (C1). Carries the block, so that q votes mean that f+1 honest
    /// members can still serve it after a restart of all at once.
    Voted {
        /// The vote.
        vote: Vote,
        /// The block.
        block: Block<P>,
        /// The leader's signature, unless this member leads.
        signature: Option<Signature>,
    },
    /// This member commit-voted (C2, C3).
    Committed {
        /// The commit vote.
        commit: Commit,
    },
    /// This member left the view (C2, C5).
    Skipped {
        /// The skip vote.
        skip: Skip,
        /// The hint that went with it.
        missing: SignerSet,
    },
    /// A verified certificate above the last final block (C4): recorded before anything is
    /// said because of it, so that whoever spoke in a view can still prove its way there.
    Certified(Certificate),
}

impl<P> SafetyRecord<P> {
    /// Not needed any more once a block of this view or a later one is final.
    #[must_use]
    pub fn view(&self) -> View {
        match self {
            Self::Proposed { block, .. } => block.header.view,
            Self::Voted { vote, .. } => vote.view,
            Self::Committed { commit } => commit.view,
            Self::Skipped { skip, .. } => skip.view,
            Self::Certified(certificate) => certificate.view,
        }
    }

    /// The epoch it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Proposed { block, .. } => block.header.epoch,
            Self::Voted { vote, .. } => vote.epoch,
            Self::Committed { commit } => commit.epoch,
            Self::Skipped { skip, .. } => skip.epoch,
            Self::Certified(certificate) => certificate.epoch,
        }
    }

    /// The first view in which a member holding this record can have been: never go below.
    #[must_use]
    pub fn entered(&self) -> View {
        match self {
            Self::Committed { commit } => commit.view.next(),
            Self::Certified(certificate) => certificate.view.next(),
            _ => self.view(),
        }
    }
}

/// What was found on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovered<P> {
    /// The last final block, or [`genesis`](crate::message::genesis).
    pub tip: FinalBlock<P>,
    /// All records, in any order; those at or below the tip's view are ignored.
    pub records: Vec<SafetyRecord<P>>,
}

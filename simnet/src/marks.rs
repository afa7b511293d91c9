//! Rare events that a set of runs must reach: a swarm that never meets them proves
//! nothing about them.

/// A rare event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mark {
    /// A skip certificate went over the wire.
    SkipCertificate,
    /// A member that was behind was served several final blocks at once.
    CatchUp,
    /// A false share set was found out and its maker named.
    ShareBlame,
    /// A lane reached its window beyond the last final head.
    FullWindow,
    /// A lane was forked.
    LaneFork,
    /// A fork was proven.
    ForkEvidence,
    /// A double vote or proposal was proven.
    VoteEvidence,
    /// Two finalized lanes recorded two orders the other way round.
    LanesDisagree,
    /// Orders with equal keys came out in the order that a beacon gives.
    BeaconTie,
    /// An order came out as a duplicate.
    DuplicateNonce,
    /// An order came out as expired.
    Expired,
    /// An order came out as undecryptable.
    Undecryptable,
    /// A crash lost writes that were not synced.
    LostWrites,
    /// All members were down at once.
    AllDown,
    /// A connection broke with messages in flight.
    ConnectionLost,
    /// A member was cut off for longer than a connection lives.
    LongPartition,
    /// An order was submitted again.
    Resubmitted,
    /// A submission was refused.
    Refused,
    /// Garbage from a member was counted as a fault.
    PeerFault,
    /// A disk was full.
    DiskFull,
    /// A member met bytes on its disk that had rotted, and stopped.
    Corruption,
    /// A member lost its disk and came back as an observer.
    DiskLost,
    /// A member pruned what all had emitted.
    Pruned,
    /// An order reached the final lanes long after its expiry, and got no item.
    Stale,
    /// A sync failed, and the member stopped.
    SyncFailed,
    /// A disk answered nothing for a while.
    DiskStalled,
    /// An order that had expired was refused at once.
    ExpiredRefused,
    /// A question about an order was answered.
    QueryAnswered,
    /// A view was both notarized and skipped.
    NotarizedAndSkipped,
    /// A block became final with a certificate of a block above it.
    FinalAsAncestor,
    /// Shares left for a block whose height somebody had emitted already.
    LateShares,
    /// The committee attested a root.
    Attested,
    /// The committee certified a state.
    StateAttested,
    /// The members made their key, and a quorum said which it is.
    KeyMade,
    /// A final dealing did not count.
    DealingRefused,
    /// A combiner told the others what a slice holds.
    SliceTold,
    /// A combiner was found to have told something false, or left out an order that opens.
    FalseTeller,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::SkipCertificate,
        Self::CatchUp,
        Self::ShareBlame,
        Self::FullWindow,
        Self::LaneFork,
        Self::ForkEvidence,
        Self::VoteEvidence,
        Self::LanesDisagree,
        Self::BeaconTie,
        Self::DuplicateNonce,
        Self::Expired,
        Self::Undecryptable,
        Self::LostWrites,
        Self::AllDown,
        Self::ConnectionLost,
        Self::LongPartition,
        Self::Resubmitted,
        Self::Refused,
        Self::PeerFault,
        Self::DiskFull,
        Self::Corruption,
        Self::DiskLost,
        Self::Pruned,
        Self::Stale,
        Self::SyncFailed,
        Self::DiskStalled,
        Self::ExpiredRefused,
        Self::QueryAnswered,
        Self::NotarizedAndSkipped,
        Self::FinalAsAncestor,
        Self::LateShares,
        Self::Attested,
        Self::StateAttested,
        Self::KeyMade,
        Self::DealingRefused,
        Self::SliceTold,
        Self::FalseTeller,
    ];

    /// Name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipCertificate => "skip_certificate",
            Self::CatchUp => "catch_up",
            Self::ShareBlame => "share_blame",
            Self::FullWindow => "full_window",
            Self::LaneFork => "lane_fork",
            Self::ForkEvidence => "fork_evidence",
            Self::VoteEvidence => "vote_evidence",
            Self::LanesDisagree => "lanes_disagree",
            Self::BeaconTie => "beacon_tie",
            Self::DuplicateNonce => "duplicate_nonce",
            Self::Expired => "expired",
            Self::Undecryptable => "undecryptable",
            Self::LostWrites => "lost_writes",
            Self::AllDown => "all_down",
            Self::ConnectionLost => "connection_lost",
            Self::LongPartition => "long_partition",
            Self::Resubmitted => "resubmitted",
            Self::Refused => "refused",
            Self::PeerFault => "peer_fault",
            Self::DiskFull => "disk_full",
            Self::Corruption => "corruption",
            Self::DiskLost => "disk_lost",
            Self::Pruned => "pruned",
            Self::Stale => "stale",
            Self::SyncFailed => "sync_failed",
            Self::DiskStalled => "disk_stalled",
            Self::ExpiredRefused => "expired_refused",
            Self::QueryAnswered => "query_answered",
            Self::NotarizedAndSkipped => "notarized_and_skipped",
            Self::FinalAsAncestor => "final_as_ancestor",
            Self::LateShares => "late_shares",
            Self::Attested => "attested",
            Self::StateAttested => "state_attested",
            Self::KeyMade => "key_made",
            Self::DealingRefused => "dealing_refused",
            Self::SliceTold => "slice_told",
            Self::FalseTeller => "false_teller",
        }
    }
}

/// How often each was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// Counts one hit.
    pub const fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }
    /// Adds the hits of another run.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
    /// Hits of one mark.
    #[must_use]
    pub const fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }
    /// Marks that were hit, and how often.
    pub fn hits(&self) -> impl Iterator<Item = (Mark, u64)> {
        let all = Mark::ALL.into_iter();
        all.map(|mark| (mark, self.count(mark)))
            .filter(|(_, count)| *count > 0)
    }
    /// Marks never hit.
    pub fn missed(&self) -> impl Iterator<Item = Mark> {
        Mark::ALL.into_iter().filter(|mark| self.count(*mark) == 0)
    }
}

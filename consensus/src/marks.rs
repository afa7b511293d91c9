//! Counters for metrics, and for simulations to show that a path was taken.

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of what happened since the start. Not part of the state: equality and hash
        /// ignore them, so that a model checker does not tell states apart by them.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Marks {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Marks {
            /// Names and values, for export.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

marks! {
    /// Views entered.
    views_entered,
    /// Proposals said.
    proposals,
    /// Votes said.
    votes,
    /// Commit votes said.
    commits,
    /// Skip votes said.
    skips,
    /// Skip votes said at once, the leader being inactive (C9).
    inactive_skips,
    /// Skip votes said because f + 1 others had given up on the view (C9).
    joined_skips,
    /// Notarizations formed from votes or first received.
    notarizations,
    /// Skip certificates formed from votes or first received.
    skip_certificates,
    /// Blocks finalized.
    finalized,
    /// Blocks finalized only as ancestors of a certified one.
    finalized_as_ancestors,
    /// Notarizations that came too late for this member's commit vote (C2, C3).
    late_notarizations,
    /// Commit votes withheld because two headers were known (C6).
    equivocations_seen,
    /// Views jumped over by a certificate from further ahead.
    view_jumps,
    /// Runs of final blocks adopted from a peer.
    catch_ups,
    /// Blocks fetched by id.
    blocks_fetched,
    /// Requests sent, of any kind.
    requests,
    /// Rebroadcasts of a stuck member (C9).
    rebroadcasts,
    /// Peers behind that were sent the certificates they lack.
    helped,
    /// View timers extended while data was fetched (C9).
    extensions,
    /// Peer faults reported.
    blames,
    /// Evidence reported.
    evidence,
    /// Lanes put on certified-only.
    lanes_restricted,
    /// Outside input dropped at a bound (C11).
    dropped,
}

impl PartialEq for Marks {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Marks {}
impl core::hash::Hash for Marks {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

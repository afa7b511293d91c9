//! Rules broken on purpose, to see that the checks see it (SIMNET §2, negative controls).
//!
//! Each [`Mutant`] is one branch at the rule that it breaks, written
//! `self.planted.is(Mutant::…)`. Without the feature `mutants`, which no shipped binary
//! enables, [`Planted`] holds nothing, `is` is constantly false and the branch is gone.

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $rule:literal;)*) => {
        /// A rule broken on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $($(#[doc = $doc])* $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Name on the command line and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The rule that it breaks, as PROTOCOL and ORDERING number them.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$name => $rule,)* }
            }
        }
    };
}

mutants! {
    /// Notarizes with q − 1 votes.
    ShortVotes = "short-votes", "C8";
    /// Finalizes with q − 1 commit votes.
    ShortCommits = "short-commits", "C8";
    /// Skips a view with q − 1 skips.
    ShortSkips = "short-skips", "C8";
    /// Commit-votes a view that was skipped.
    CommitAfterSkip = "commit-after-skip", "C2";
    /// Votes in a view that was skipped.
    VoteAfterSkip = "vote-after-skip", "C5";
    /// Votes whatever was skipped between the parent and the view.
    IgnoreGaps = "ignore-gaps", "C4";
    /// Takes a certificate of an older block for the parent's.
    StaleParent = "stale-parent", "C4";
    /// Believes a proposal whose signatures do not verify.
    UncheckedProposal = "unchecked-proposal", "C12";
    /// Finalizes a certified block and not its ancestors.
    OrphanFinal = "orphan-final", "C8";
    /// A restart forgets the own proposals.
    ForgetProposals = "forget-proposals", "C6";
    /// A restart forgets the own votes.
    ForgetVotes = "forget-votes", "C7";
    /// A restart forgets the own commit votes, and the certificates that led to them.
    ForgetCommits = "forget-commits", "C7";
    /// A restart forgets the own skips.
    ForgetSkips = "forget-skips", "C7";
    /// Statements do not wait for their record.
    SayFirst = "say-first", "C7";
    /// The replica lets statements go before their record is durable.
    SendFirst = "send-first", "C7";
    /// Own batches and receipts leave before they are durable.
    BatchFirst = "batch-first", "M1";
    /// A restart forgets the own batches.
    ForgetBatches = "forget-batches", "M1";
    /// Stamps are not raised to what may still be claimed.
    BackDated = "back-dated", "L2";
    /// Of the stamps of an order the lowest counts, which one liar chooses.
    LowestStamp = "lowest-stamp", "F1";
    /// Keys are settled while lanes can still lower them.
    EarlyFreeze = "early-freeze", "F2";
    /// Orders leave before a lower key is impossible.
    EarlyExtract = "early-extract", "F2";
    /// Equal keys go by id, which senders can grind.
    TieById = "tie-by-id", "F4";
    /// Orders never expire.
    NeverExpire = "never-expire", "F5";
    /// Orders of one nonce leave together.
    ReuseNonce = "reuse-nonce", "S10";
    /// Shares leave before the final block is durable.
    SharesFirst = "shares-first", "D2";
    /// An order whose shares do not open it at once is given up.
    GiveUp = "give-up", "D6";
    /// Blocks are emitted as they are opened, in any order.
    EmitAnyOrder = "emit-any-order", "D7";
    /// Blocks are offered before they are durable.
    EmitFirst = "emit-first", "S12";
    /// Blocks are offered twice.
    EmitAgain = "emit-again", "S6";
}

/// The mutant that a machine runs with: none, unless the feature `mutants` is on and the
/// machine was configured with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Planted {
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

impl Planted {
    /// Every rule is kept.
    pub const NONE: Self = Self {
        #[cfg(feature = "mutants")]
        mutant: None,
    };

    /// One rule is broken.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub const fn new(mutant: Mutant) -> Self {
        Self {
            mutant: Some(mutant),
        }
    }

    /// Whether this rule is broken.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether this rule is broken: never.
    #[cfg(not(feature = "mutants"))]
    #[must_use]
    #[inline(always)]
    pub const fn is(self, _: Mutant) -> bool {
        false
    }
}

//! The boundary of the core: what goes in, what comes out.

use fairlane_types::{BlockHeader, BlockId, CertificateError, Height, MemberId, Micros};
use fairlane_types::{Certificate, Millis, SigCheck, SignerSet, View};

use crate::evidence::Evidence;
use crate::message::{Block, FinalBlock, Message, Statement};
use crate::records::SafetyRecord;

/// Names a safety record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

impl RecordId {
    /// Named by statements that were recorded before a restart: durable already.
    pub const DURABLE: Self = Self(0);
}

/// Names a batch of signature checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// Receivers of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// Every other member, and observers that follow.
    All,
    /// One peer.
    One(MemberId),
}

/// A timer. Setting one again moves it; one that fires early or for an old view is ignored,
/// so the driver need not cancel anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The minimal or the maximal interval after entering the view is over (C10).
    Pace(View),
    /// No proposal arrived in time (C9).
    Propose(View),
    /// No certificate arrived in time (C9).
    View(View),
    /// Still in this view: say it again (C9).
    Rebroadcast(View),
    /// Something that was asked for has not come: ask another peer.
    Fetch,
    /// Others had time to show that they are in the view: the rest are told of it (C8).
    Tell,
}

/// The application's answer about a payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Valid on its parent, and held in full.
    Valid,
    /// Valid, and this member vouches for shares that ride with the commit votes (D3): its
    /// vote is clean. Only where [`Config::clean_votes`](crate::Config::clean_votes) is set.
    Clean,
    /// Invalid for everyone: the proposer is at fault.
    Invalid,
    /// Not decidable yet, data is being fetched; `Valid` or `Invalid` follows, or nothing.
    /// Gives the view timer one more Δ̂ (C9).
    Fetching {
        /// Lanes (members) whose data is missing: the hint of a skip vote.
        missing: SignerSet,
    },
}

/// Everything a core reacts to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<P> {
    /// Once, after [`Core::restore`](crate::Core::restore) and before anything else.
    Start,
    /// From the authenticated link of `from`, or a signed own statement fed back.
    Message {
        /// The other end of the link.
        from: MemberId,
        /// What arrived.
        message: Message<P>,
    },
    /// A timer is due.
    Timer(Timer),
    /// Answer to [`Output::Verify`].
    Verified {
        /// Which batch.
        check: CheckId,
        /// Indices of the signatures that do not verify, in ascending order (C12).
        bad: Vec<usize>,
    },
    /// Answer to [`Output::CheckPayload`]; may come again after `Fetching`.
    PayloadChecked {
        /// The block.
        block: BlockId,
        /// The verdict.
        verdict: Verdict,
    },
    /// Answer to [`Output::BuildPayload`].
    PayloadBuilt {
        /// The view it was asked for.
        view: View,
        /// The payload.
        payload: P,
        /// Header time (C13); raised to the parent's if lower.
        time: Millis,
    },
    /// Whether an advancing cut could be proposed, or an ordering backlog remains (C10).
    /// A level, false at first; tell every change, also one before [`Input::Start`].
    Proposable(bool),
}

/// Everything a core asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output<P> {
    /// Make this durable (C7).
    Record {
        /// Named by the `Say`s that depend on it.
        id: RecordId,
        /// The record.
        record: SafetyRecord<P>,
    },
    /// Once `after` is durable: sign, broadcast to all, feed back.
    Say {
        /// What must be durable first; [`RecordId::DURABLE`] is.
        after: RecordId,
        /// What to sign.
        statement: Statement<P>,
    },
    /// Send at once: nothing in it is this member's own word, or it was said before.
    Send {
        /// Receivers.
        to: To,
        /// What.
        message: Message<P>,
    },
    /// Verify these signatures, bisecting on failure (C12).
    Verify {
        /// Name for the answer.
        check: CheckId,
        /// Never empty.
        sigs: Vec<SigCheck>,
    },
    /// Wake the core with this timer.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When.
        at: Micros,
    },
    /// Is this payload valid on this parent, and held in full?
    CheckPayload {
        /// Id of the block.
        block: BlockId,
        /// Its header.
        header: BlockHeader,
        /// Its payload.
        payload: P,
        /// Its parent, notarized or final.
        parent: Block<P>,
    },
    /// Build a payload on this parent.
    BuildPayload {
        /// The view to propose in.
        view: View,
        /// The parent, notarized or final.
        parent: Block<P>,
        /// Lanes of which only certified heads may be proposed.
        certified_only: SignerSet,
    },
    /// These blocks are final: ascending heights, the first one above the last told, no gap.
    Finalized(Vec<FinalBlock<P>>),
    /// Records of views up to and including this one may go, once the final blocks told
    /// before are durable.
    Prune {
        /// The view of the last final block.
        upto: View,
    },
    /// A peer asks for final blocks; answer it with [`Message::Blocks`] out of the store.
    Serve {
        /// The peer.
        to: MemberId,
        /// First height.
        from: Height,
        /// How many, at most [`BLOCKS_MAX`](crate::config::BLOCKS_MAX).
        count: u16,
    },
    /// Proof that a member broke the rules; keep and publish it.
    Evidence(Box<Evidence>),
    /// A peer sent something that no honest member sends (C11).
    Fault {
        /// The peer.
        peer: MemberId,
        /// What it did.
        fault: PeerFault,
    },
    /// More than f members are faulty: finality is broken. The core says nothing more; the
    /// node must stop and an operator decide.
    Halt(Box<Halt>),
}

/// What a peer did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerFault {
    /// Not in the committee, yet it votes.
    NotMember,
    /// Another chain or epoch.
    ForeignChain,
    /// A field is impossible: view 0, height out of step, unknown member in a set.
    Malformed(&'static str),
    /// A proposal by someone who does not lead the view.
    NotLeader,
    /// A proposal whose certificates do not carry it (C4).
    Unjustified(&'static str),
    /// The application refused the payload.
    InvalidPayload,
    /// A signature that does not verify.
    BadSignature,
    /// A certificate that does not hold together.
    BadCertificate(&'static str),
    /// A chain of final blocks that does not hold together.
    BadBlocks(&'static str),
    /// Something nobody asked for.
    Unrequested,
    /// It said two things that exclude each other; evidence follows if both are signed.
    Contradiction,
}

impl From<CertificateError> for PeerFault {
    fn from(error: CertificateError) -> Self {
        Self::BadCertificate(match error {
            CertificateError::NoQuorum { .. } => "no quorum",
            CertificateError::Signers => "signers",
            CertificateError::Shape => "shape",
            CertificateError::NotFinal => "kind",
            CertificateError::Signature => "signature",
        })
    }
}

/// Two verified facts that exclude each other while at most f members are faulty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Halt {
    /// What broke.
    pub reason: &'static str,
    /// The certificate that was believed first, if it has one of its own.
    pub ours: Option<Certificate>,
    /// The one that contradicts it.
    pub theirs: Certificate,
}

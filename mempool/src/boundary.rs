//! The boundary of [`crate::Lanes`]: what goes in, what comes out. All of it is data;
//! whoever drives the machine does the I/O, the cryptography and the signing.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    BatchDigest, BlockId, CtId, Envelope, Label, MemberId, Micros, Millis, Receipt, Seq, SigCheck,
    Signature,
};

use crate::{AdmissionError, Batch, BatchFault, BatchHeader, Cut, LaneFork, LaneMessage};

/// Names a submission, chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a write; answered by [`Input::Stored`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Names a verification; answered by [`Input::Verified`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u64);

/// Names a read from disk; answered by [`Input::Loaded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// Timers; setting one again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Something is due: a seal, a retry, a batch held back until its stamp.
    Wake,
}

/// What is wrong with an envelope, found by a verification job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The sender's signature (or, for a batch, the owner's).
    Signature,
    /// The ciphertext's proof.
    Proof,
}

/// An order that has its outcome: it leaves the live pool, retention keeps it on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The order.
    pub ct_id: CtId,
    /// Its label.
    pub label: Label,
    /// Whether its nonce is used up: by `Opened` and `Undecryptable`, not by `Expired`.
    /// For `DuplicateNonce` another order holds the nonce: false.
    pub burned: bool,
}

/// What is under way at this member when an order comes (A11, A23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// How many more orders there is room for. Each sender may have as many under way here as
    /// are left: one alone gets half of all room, k of them a (k+1)-th each, and whoever
    /// comes next finds as much. None: only an order that is known already is answered, with
    /// its receipt. (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory
    /// Packet Switches", IEEE/ACM ToN 1998, with α = 1.)
    pub room: usize,
    /// About when it will have come out, ms: what a refused sender is told to wait.
    pub wait_ms: u64,
}

impl Default for Pressure {
    /// Nothing is under way.
    fn default() -> Self {
        let (room, wait_ms) = (usize::MAX, 0);
        Self { room, wait_ms }
    }
}

/// What goes in.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin, once, after construction or restoration.
    Start,
    /// A trader's direct submission.
    Submit {
        /// Name for the answer.
        ticket: Ticket,
        /// The order.
        envelope: Envelope,
        /// How much is under way.
        pressure: Pressure,
    },
    /// From another member, already authenticated by the transport.
    Message {
        /// Who.
        from: MemberId,
        /// What.
        message: LaneMessage,
    },
    /// Answer to `VerifyBatch` and `VerifyEnvelopes`: the bad ones by index, ascending.
    Verified {
        /// Which check.
        check: CheckId,
        /// The bad ones.
        bad: Vec<(usize, Flaw)>,
    },
    /// Answer to `Sign`.
    Signed {
        /// Number of the own batch.
        seq: Seq,
        /// By this member's identity key over the header.
        signature: Signature,
    },
    /// Answer to `Store`: with all writes before it, it survives a crash.
    Stored(WriteId),
    /// A timer fired.
    Timer(Timer),
    /// Answer to `Load`: what the disk still has of it.
    Loaded {
        /// Which.
        load: LoadId,
        /// Batches, ascending and without gaps.
        batches: Vec<Arc<Batch>>,
        /// Payloads.
        payloads: Vec<Arc<Envelope>>,
    },
    /// A block became final; in height order, before `take_final` for it.
    Finalized {
        /// Its cut.
        cut: Cut,
        /// Its finalized time.
        time: Millis,
    },
    /// The cut on which this member would build next; `Advancing` is relative to it.
    Parent(Cut),
    /// Orders whose outcome is emitted, and those the order rule left out as stale.
    Emitted(Vec<Emitted>),
}

/// A record to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A batch with the payloads it carries, keyed by (lane, seq); own or a peer's. A
    /// second one for the same key replaces the first (only after a fork).
    Batch {
        /// Digest of the batch.
        digest: BatchDigest,
        /// The batch.
        batch: Arc<Batch>,
        /// Ids of the payloads it carries.
        ids: Vec<CtId>,
    },
    /// A payload held beside the batches, keyed by id.
    Payload {
        /// Id of the order.
        ct_id: CtId,
        /// The order.
        envelope: Arc<Envelope>,
    },
    /// An acknowledgement (M2), keyed by (lane, seq); written once, never changed. It
    /// acknowledges all batches of the lane up to `seq`.
    Ack(Ack),
}

/// This member holds the lane up to here in full and found it statelessly valid.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Ack {
    /// The lane.
    pub lane: MemberId,
    /// The batch.
    pub seq: Seq,
    /// Its digest.
    pub digest: BatchDigest,
}

/// Receivers of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every other member.
    All,
    /// One member.
    One(MemberId),
}

/// What a disk read is to bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A range of a lane.
    Batches {
        /// The lane.
        lane: MemberId,
        /// First.
        from: Seq,
        /// Last.
        to: Seq,
    },
    /// Payloads by id.
    Payloads(Vec<CtId>),
}

/// Misbehaviour of a peer that proves nothing to others: count it, perhaps disconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneFault {
    /// A message over its limits.
    #[error("message over its limits")]
    Oversized,
    /// A batch that breaks a rule.
    #[error("bad batch: {0}")]
    Batch(BatchFault),
    /// A batch whose signature fails.
    #[error("batch signature does not verify")]
    BatchSignature,
    /// A batch carries, or refers to, an order that is not statelessly valid.
    #[error("a lane holds an order that is not valid")]
    Order,
    /// A payload that was sent on request is not valid.
    #[error("a payload sent on request is not valid")]
    Payload,
    /// A batch sent as fresh by someone who does not own it.
    #[error("a batch came from a member that does not own its lane")]
    NotOwner,
    /// Holdings that no list of heads explains.
    #[error("holdings without heads behind them")]
    Heads,
    /// The final part of this member's own lane holds more than it remembers: its safety
    /// record is lost or stale, and it writes nothing any more (C7).
    #[error("the own lane is final beyond what this member remembers")]
    LostMemory,
    /// A forked lane (the evidence comes separately).
    #[error("a forked lane")]
    Fork,
}

/// What comes out.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write these records, in the order of these outputs.
    Store {
        /// Name for the answer.
        id: WriteId,
        /// What.
        records: Vec<Record>,
        /// Sync it, with everything written before it, and answer [`Input::Stored`]. What is
        /// not durable is not answered.
        durable: bool,
    },
    /// Send to members.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: LaneMessage,
    },
    /// Sign an own batch and answer `Signed`; one at a time. It is not said before it is
    /// stored (M1), so signing is without consequence until then.
    Sign(BatchHeader),
    /// Verify a batch's signature.
    VerifyBatch {
        /// Name for the answer.
        check: CheckId,
        /// The check.
        signature: SigCheck,
    },
    /// Verify sender signatures and ciphertext proofs.
    VerifyEnvelopes {
        /// Name for the answer.
        check: CheckId,
        /// Ids and orders; the answer counts from 0.
        envelopes: Vec<(CtId, Arc<Envelope>)>,
    },
    /// Wake me at this time.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When.
        at: Micros,
    },
    /// The order is acknowledged; the receipt lacks only the signature.
    Accepted {
        /// The submission.
        ticket: Ticket,
        /// To be signed.
        receipt: Receipt,
    },
    /// The order is refused.
    Refused {
        /// The submission.
        ticket: Ticket,
        /// Why.
        error: AdmissionError,
    },
    /// Read from disk and answer `Loaded`.
    Load {
        /// Name for the answer.
        id: LoadId,
        /// What.
        wanted: Wanted,
    },
    /// A peer misbehaved.
    Fault {
        /// Who.
        peer: MemberId,
        /// How.
        fault: LaneFault,
    },
    /// A lane forked; anyone can check it.
    Evidence(Box<LaneFork>),
    /// Whether a cut built now on [`Input::Parent`] would advance has changed (C10).
    Advancing(bool),
    /// A wanted or final cut can be decided now.
    CutReady {
        /// The block it belongs to.
        block: BlockId,
    },
}

/// Where an order is before it has an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Held, in no durable batch of this member yet.
    Received,
    /// In a durable batch of this member.
    Laned,
    /// In the final part of some lane.
    Final,
}

/// What a restart found on disk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Cut up to which the order rule's snapshot has consumed the lanes.
    pub cut: Cut,
    /// Raw stamps of the heads of `cut`, one per lane (0 for "none yet").
    pub stamps: Vec<Micros>,
    /// Finalized time at `cut`.
    pub time: Millis,
    /// Every stored batch above `cut`, and own ones of the last TTL_max below it (their
    /// receipts are given out again); any order.
    pub batches: Vec<Arc<Batch>>,
    /// Every stored payload of the orders in those batches that are above `cut`, and of
    /// orders held but not emitted.
    pub payloads: Vec<Arc<Envelope>>,
    /// Acknowledgements, at least the highest of each lane.
    pub acks: Vec<Ack>,
    /// Lanes of which evidence of a fork is kept (M1).
    pub forked: Vec<MemberId>,
    /// Orders with an outcome in a block at or below `cut`, remembered while
    /// expiry + TTL_max is not past. Outcomes above it come as [`Input::Emitted`] while
    /// the driver replays the blocks, before [`Input::Start`].
    pub emitted: Vec<Emitted>,
}

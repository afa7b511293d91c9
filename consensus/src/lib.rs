//! The consensus core of fairlane: two-phase chained HotStuff with explicit commit votes
//! and skip certificates, generic over its payload, as a pure state machine. This page is
//! its specification; rule numbers are those of PROTOCOL §2.
//!
//! # Model
//!
//! n members, f = ⌊(n−1)/3⌋ of them Byzantine, quorums of q = n − f, partial synchrony:
//! safety never depends on time. Any two quorums share n − 2f ≥ f + 1 members, one of them
//! honest; any quorum holds at least f + 1 honest members.
//!
//! # A view
//!
//! ```text
//!            leader        all to all       all to all
//!  enter v ──────── P(B) ──────────── Vote ──────────── Commit ─────────── B final
//!      │      δ              δ    │                δ
//!      │                          └ q votes: notarization, enter v+1 (2δ block period)
//!      │
//!      └─ timer ──── Skip ──── q skips: skip certificate, enter v+1
//!
//!  B₁ ◄──── B₂ ◄─────────────── B₅      B₅ in view 5 stands on B₂ of view 2: its proposal
//!  v1       v2    v3 ✗   v4 ✗   v5      carries notarization(B₂), skip(3) and skip(4)
//! ```
//!
//! There is no lock and no "highest certificate" to compare: two booleans per view, *voted
//! to commit it* and *voted to skip it*, of which an honest member never sets both.
//!
//! # Rules
//!
//! - **C1** One vote per view, and only in the current view.
//! - **C2** Never both `Commit(v)` and `Skip(v)`, in either order, across restarts.
//! - **C3** `Commit(B, v)` only with the notarization of B and B itself (its height is
//!   signed), v above every final certificate known, no skip certificate of v known.
//! - **C4** A proposal in view v on a parent of view p carries the parent's certificate,
//!   and every view between has a skip certificate, inline or fetched. A leader builds on
//!   the newest notarized block that it holds; if a view has both certificates and the
//!   block is missing, the skip certificate lets it build further down.
//! - **C5** No vote in v after `Skip(v)`. (`Skip(v)` after a vote is the normal way out.)
//! - **C6** One proposal per view. Two headers are evidence; who knows both neither votes
//!   nor commit-votes that view.
//! - **C7** Records are durable before what they record is said, and they are durable in
//!   order, so that whoever spoke in view v has the certificate of v − 1 on disk. A restart
//!   replays them and says the same again. Records that contradict each other are refused.
//! - **C8** Whoever a certificate moves to another view sends it, Δ̂ later, to those that have
//!   not shown to be there; f + 1 send it to the leader of that view at once: see `telling`.
//!   Every certificate of v leads into v + 1, whatever was seen before.
//! - **C9** Timers: see `pacemaker`. A view is counted as failed, doubling the timers, when
//!   a skip certificate ends it *or this member skipped it*; finality resets the count.
//!   Who has heard f + 1 skips of its view skips it at once, also after its vote: one of
//!   them is honest, and timers that differ no longer keep members apart.
//! - **C10** A leader proposes when it can advance (after `min_interval`), at the latest
//!   after `max_interval`.
//! - **C11** Everything from outside is bounded by the constants in [`config`]; what no
//!   honest member sends is a [`PeerFault`].
//! - **C12** Signatures are checked only where they can complete a quorum, all at once; bad
//!   ones are blamed, and the quorum is completed with others.
//! - **C13** Header time never runs backwards; its formula is the payload check's business.
//!
//! # Safety
//!
//! *One notarization per view.* Two quorums of votes in one view share an honest member,
//! who would have voted twice (C1).
//!
//! *Irrevocability lemma.* If f + 1 honest members say `Commit(B, v)`, then no skip
//! certificate of v can ever exist, and every block notarized in a view above v descends
//! from B.
//!
//! *Proof.* Those f + 1 never say `Skip(v)` (C2), which leaves n − f − 1 < q possible
//! skippers: there is no skip certificate of v. Let B′ be the block with the smallest view
//! w > v that is notarized and does not descend from B. An honest member voted for B′, so
//! it saw a certificate of its parent in view p < w and skip certificates of all views in
//! (p, w) (C4). If p < v, then v lies between, and its skip certificate does not exist. If
//! p = v, the parent is B, the only block notarized in v: B′ descends from B. If p > v, the
//! parent is notarized, in a view between v and w, hence descends from B by the choice of
//! B′, and so does B′. Each case is a contradiction. ∎
//!
//! *Agreement.* A final certificate holds the commits of f + 1 honest members, each of
//! which saw the notarization (C3). Of two final blocks in views v ≤ w, the second is the
//! first (one notarization per view) or descends from it (lemma). C2 being per view is
//! enough: a vote, a commit or a skip in another view is never used in the proof, so a
//! commit vote for v may be said long after v was left, and this core does so.
//!
//! # Progress
//!
//! After stabilization every view ends for everyone. If an honest member commits v, it
//! holds the notarization, on disk before the commit leaves, told Δ̂ later to all that have
//! not shown to be in v + 1, and again with every rebroadcast from there; it leads all others
//! into v + 1, skipped or not.
//! If none does, all q honest members skip v when their timers run out, which makes a skip
//! certificate. A view can end with both certificates, or be committed by some and skipped
//! by others with only q members alive: no certificate decides it then, and none is needed;
//! its block becomes final with a later one built on it, or is abandoned. Some honest
//! member that spoke in v + 1 has a certificate of v on disk, so the chain from the highest
//! notarized block to the current view can be completed by asking (`GetCerts`); a notarized
//! block is on the disks of f + 1 honest voters (`GetBlock`). With timers long enough, the
//! proposal of an honest leader then reaches all honest members before they skip, they all
//! vote, see the notarization before they skip, and commit.
//!
//! # Where this departs from PROTOCOL §2, and why
//!
//! - *C9, doubling.* The text doubles per skipped view. If Δ̂ is a little short, each view
//!   can be notarized just after most members skipped it: no skip certificate, no growth of
//!   the timers, and nothing final ever again. Own skips count too.
//! - *C9, joining.* In the text only the own timer makes a member skip. A view then ends
//!   with the q-th fastest timer; with f + 1 skips as a reason it is the (f + 1)-th.
//! - *C9, inactive leaders.* "q others active" cannot be seen by anyone while f members are
//!   down; it reads q members including oneself, within the last 16 views.
//! - *C8, telling.* The text broadcasts each certificate once. With everybody's votes sent to
//!   everybody, n² copies go to members that have made it themselves: two thirds of all bytes of
//!   100 members.
//! - *C8, recording.* Skip certificates and notarizations are recorded before anything is
//!   said because of them. Otherwise a restart of all could lose the only notarization of a
//!   view that one member committed and the others may no longer skip into a certificate:
//!   f of its votes came from liars and are never said again.
//! - *C8, entering.* A final certificate leads into the next view as well, also when its
//!   block still has to be fetched; from then on nothing is said at or below its view.
//! - *C6.* Who knows two headers does not vote either: the view is skipped at once. The
//!   knowledge is not durable; it protects liveness and early shares, not the lemma.
//! - *Look-ahead.* Besides 64 views up, votes are taken 64 views down. Certificates and
//!   blocks are kept for 16,384 views above the last final one. A chain that finalizes
//!   nothing for so long (days, with the timers doubled 64-fold) stops safely.
//! - *Contradictory certificates* (two notarizations in a view, final against skip, a final
//!   block off the chain) prove more than f liars: [`Output::Halt`], and silence.
//!
//! # The machine
//!
//! [`Core::step`] takes one [`Input`] and appends [`Output`]s; it does no I/O, holds no key
//! and checks no signature itself. State is plain ordered data, `Clone + Eq + Hash`, so that
//! a model checker can run this very code. The driver's contract:
//!
//! 1. Outputs are carried out in the order in which they were emitted, and those of one
//!    step before the next step. What is written ([`Output::Record`], [`Output::Finalized`],
//!    [`Output::Prune`]) becomes durable in that order (a crash keeps a prefix), in as few
//!    syncs as the driver likes.
//! 2. An [`Output::Say`] leaves only when the record it names is durable (C7). Then it is
//!    signed, broadcast, *and fed back* as [`Input::Message`] from this member: an own vote
//!    counts only when it comes back. Nothing else may come in under the own id.
//! 3. Questions (`Verify`, `CheckPayload`, `BuildPayload`) may be answered at any later
//!    time, in any order, or never: then only progress suffers.
//! 4. [`Input::Message`] names the authenticated other end of the link it came over.
//! 5. [`Output::Halt`] stops the node.
//!
//! Files: `core` (state, restore, dispatch), `voting` and `proposing` (what this member
//! says), `quorum` (what others say), `certificates`, `finality` (final blocks, catching
//! up), `telling` (who is told of a view), and the parts they use: `tally`, `certs`, `chain`,
//! `jobs`, `fetch`, `pacemaker`, `lanes`.

// Messages are moved a few times at most, and derived decoding has no boxes over generics.
#![allow(clippy::large_enum_variant)]

mod boundary;
mod certificates;
mod certs;
mod chain;
pub mod config;
mod core;
mod essence;
mod evidence;
mod fetch;
mod finality;
mod jobs;
mod lanes;
mod leader;
mod marks;
mod message;
mod pacemaker;
mod pledges;
mod proposing;
mod quorum;
mod records;
mod tally;
mod telling;
mod voting;

#[cfg(test)]
mod tests;

pub use crate::boundary::{CheckId, Halt, Input, Output, PeerFault, RecordId, Timer, To, Verdict};
pub use crate::config::{Config, ConfigError, Params, UNFINAL_VIEWS_MAX};
pub use crate::core::{Core, RestoreError};
pub use crate::essence::{Essence, ViewEssence};
pub use crate::evidence::{Evidence, EvidenceError, Offence};
pub use crate::leader::LeaderSchedule;
pub use crate::marks::Marks;
pub use crate::message::{
    Block, Blocks, FinalBlock, HintedSkip, Justify, Message, Payload, Proposal, Signed, Statement,
    genesis,
};
pub use crate::pledges::Pledges;
pub use crate::records::{Recovered, SafetyRecord};

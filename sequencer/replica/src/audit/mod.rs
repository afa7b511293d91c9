//! The audit (F6): what anyone computes from a member's records to see whether the
//! sequence is the one that the lanes demand. No member is trusted; the genesis is.
//!
//! For every height an auditor takes a [`Step`]: the final block with its cut, the lane
//! batches that the cut adds, the envelopes they name, and the block of the sequence that
//! is claimed to follow. The [`Auditor`] holds of each, in this order:
//!
//! 1. headers link, commit to their cuts, and are proven final by q commit signatures at
//!    or above their height;
//! 2. the batches are exactly those which the cut names by digest;
//! 3. envelopes are the orders that the lanes name, signed by their senders, with valid
//!    ciphertexts;
//! 4. finalized time is what the heads say (C13);
//! 5. the order rule of the genesis, run on all that, gives the items of the claimed
//!    block, each at its place with its key, and every opening is the one of its
//!    ciphertext;
//! 6. roots, positions and commitments to the order state are those of this content.
//!
//! Receipts are held against the lanes ([`ReceiptBook`]): a receipt that its own lane
//! contradicts convicts the member by two of its signatures ([`BrokenReceipt`]).
//!
//! A [`BlindReceipt`] shows of one order that its place was fixed before anybody could read it.
//!
//! What fails is a [`Violation`]. A [`Case`] is all that is needed to see it again: the
//! order state at the last height that committed to it, and the steps from there on. It
//! needs no trust in whoever hands it over, only in the root at its beginning.
//!
//! Each epoch has lanes of its own. An audit begins where a member's epoch does, with what the
//! committee before handed over; from the lanes of the epoch before it goes on into the next
//! ([`Auditor::cross`]), if what was handed over is what those lanes lead to.

mod auditor;
mod blind;
mod case;
mod receipts;
mod start;
mod step;
mod violation;

pub use auditor::{Auditor, Findings};
pub use blind::{Attested, BLIND_BYTES_MAX, BlindError, BlindReceipt, LanePath, Link, Shown};
pub use case::{Case, CaseError};
pub use receipts::{BrokenReceipt, BrokenReceiptError, ReceiptBook};
pub use start::{Checkpoint, Start, StartError};
pub use step::{AncestorProof, STEP_BYTES_MAX, Step, StepError};
pub use violation::Violation;

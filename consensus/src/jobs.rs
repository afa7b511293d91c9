//! Signature checks under way (C11, C12).

use std::collections::BTreeMap;

use fairlane_types::{BlockId, Certificate, CertificateKind, Commit, MemberId, Skip, View, Vote};

use crate::boundary::CheckId;
use crate::config::PEER_CERTS_MAX;
use crate::evidence::Evidence;
use crate::message::{Blocks, Proposal, Signed};

/// Statements with their senders.
pub(crate) type Batch<S> = Vec<(MemberId, Signed<S>)>;
/// What a certificate states; two certificates of one key are interchangeable.
pub(crate) type CertKey = (CertificateKind, View, BlockId);

pub(crate) fn key(certificate: &Certificate) -> CertKey {
    (certificate.kind, certificate.view, certificate.block)
}

/// What a check is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job<P> {
    Votes(View, Batch<Vote>),
    Commits(View, Batch<Commit>),
    Skips(View, Batch<Skip>),
    /// The header's signature, then those of the certificates not known yet.
    Proposal(Box<Proposal<P>>, Vec<Certificate>),
    Certificate(MemberId, Box<Certificate>),
    /// The signatures of all certificates among the blocks, then of the tail.
    Blocks(MemberId, Box<Blocks<P>>),
    /// Evidence, and who is to blame if its first or second signature is bad.
    Evidence(Box<Evidence>, [MemberId; 2]),
}

/// All checks under way. Statement checks are bounded by the tallies they come from,
/// proposals by one per view, evidence by one per view and signer, blocks by one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Jobs<P> {
    next: CheckId,
    running: BTreeMap<CheckId, Job<P>>,
    /// Certificates being verified, by key, with others of the same key to fall back on:
    /// a forged one must not keep a good one out.
    waiting: BTreeMap<CertKey, Vec<(MemberId, Certificate)>>,
}

impl<P> Default for Jobs<P> {
    fn default() -> Self {
        Self {
            next: CheckId::default(),
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }
}

impl<P> Jobs<P> {
    pub(crate) fn start(&mut self, job: Job<P>) -> CheckId {
        self.next = CheckId(self.next.0.saturating_add(1));
        self.running.insert(self.next, job);
        self.next
    }

    pub(crate) fn finish(&mut self, check: CheckId) -> Option<Job<P>> {
        self.running.remove(&check)
    }

    pub(crate) fn blocks_running(&self) -> bool {
        self.running
            .values()
            .any(|job| matches!(job, Job::Blocks(..)))
    }

    /// Whether one more certificate of this peer may be held (C11).
    pub(crate) fn admits(&self, peer: MemberId) -> bool {
        let running = self.running.values();
        let running = running.filter(|j| matches!(j, Job::Certificate(from, _) if *from == peer));
        let waiting = self.waiting.values().flatten();
        let waiting = waiting.filter(|(from, _)| *from == peer);
        running.count() + waiting.count() < PEER_CERTS_MAX
    }

    /// Whether this certificate must be verified now; otherwise it waits behind another.
    pub(crate) fn claim(&mut self, from: MemberId, certificate: &Certificate) -> bool {
        match self.waiting.get_mut(&key(certificate)) {
            None => {
                self.waiting.insert(key(certificate), Vec::new());
                true
            }
            Some(queue) => {
                if queue.iter().all(|(peer, _)| *peer != from) {
                    queue.push((from, certificate.clone()));
                }
                false
            }
        }
    }

    /// The certificate under verification was bad: the next of its key, if any.
    pub(crate) fn fallback(&mut self, key: CertKey) -> Option<(MemberId, Certificate)> {
        let queue = self.waiting.get_mut(&key)?;
        if queue.is_empty() {
            self.waiting.remove(&key);
            return None;
        }
        Some(queue.remove(0))
    }

    /// This statement is certain: nothing of its key need be verified.
    pub(crate) fn settle(&mut self, key: CertKey) {
        self.waiting.remove(&key);
    }

    /// Drops waiting certificates that finality has overtaken.
    pub(crate) fn prune(&mut self, tip: View) {
        self.waiting.retain(|(_, view, _), _| *view > tip);
    }
}

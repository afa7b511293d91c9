//! The rules once more, independently of the code that they judge: the oracle sees every
//! statement when it leaves a member, and every final block.

use std::collections::{BTreeMap, BTreeSet};

use fairlane_types::{BlockHeader, BlockId, Commit, Height, MemberId, Skip, View, Vote};

use super::Cut;
use crate::{FinalBlock, Statement};

/// The rule that was broken, and how.
pub(crate) type Violation = (&'static str, String);

#[derive(Clone, Debug, Default)]
struct Said {
    vote: Option<Vote>,
    commit: Option<Commit>,
    skip: Option<Skip>,
    proposal: Option<BlockId>,
}

pub(crate) struct Oracle {
    n: usize,
    f: usize,
    byzantine: BTreeSet<MemberId>,
    said: BTreeMap<(MemberId, View), Said>,
    headers: BTreeMap<BlockId, BlockHeader>,
    finals: BTreeMap<Height, BlockId>,
    /// Blocks with f+1 honest commit votes.
    irrevocable: BTreeMap<Height, BlockId>,
    pub(crate) violations: Vec<Violation>,
}

impl Oracle {
    pub(crate) fn new(n: usize, byzantine: BTreeSet<MemberId>, genesis: &BlockHeader) -> Self {
        let mut oracle = Self {
            n,
            f: (n - 1) / 3,
            byzantine,
            said: BTreeMap::new(),
            headers: BTreeMap::new(),
            finals: BTreeMap::new(),
            irrevocable: BTreeMap::new(),
            violations: Vec::new(),
        };
        oracle.finals.insert(genesis.height, genesis.id());
        oracle.headers.insert(genesis.id(), genesis.clone());
        oracle
    }

    fn require(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push((rule, what()));
        }
    }

    /// Distinct members that may have said it: honest ones that did, and all liars.
    fn support(&self, view: View, said: impl Fn(&Said) -> bool) -> usize {
        let honest = self
            .said
            .iter()
            .filter(|((member, v), s)| *v == view && !self.byzantine.contains(member) && said(s));
        honest.count() + self.byzantine.len()
    }

    pub(crate) fn header(&mut self, header: &BlockHeader) {
        self.headers.insert(header.id(), header.clone());
    }

    /// An honest member's statement leaves it. `durable`: its record is.
    pub(crate) fn says(&mut self, who: MemberId, statement: &Statement<Cut>, durable: bool) {
        let quorum = self.n - self.f;
        let view = statement.view();
        self.require(durable, "C7", || {
            format!("{who} says before it is durable: {statement:?}")
        });
        let before = self.said.get(&(who, view)).cloned().unwrap_or_default();
        let mut after = before.clone();
        match statement {
            Statement::Proposal { block, .. } => {
                let id = block.id();
                self.header(&block.header);
                self.require(before.proposal.is_none_or(|p| p == id), "C6", || {
                    format!("{who} proposes twice in view {view}")
                });
                after.proposal = Some(id);
            }
            Statement::Vote(vote) => {
                let same = before.vote.as_ref().is_none_or(|v| v == vote);
                self.require(same, "C1", || format!("{who} votes twice in view {view}"));
                let again = before.vote.is_some();
                self.require(again || before.skip.is_none(), "C5", || {
                    format!("{who} votes in view {view} after skipping it")
                });
                after.vote = Some(vote.clone());
                self.check_ground(who, vote);
            }
            Statement::Commit(commit) => {
                self.require(before.skip.is_none(), "C2", || {
                    format!("{who} commits view {view} after skipping it")
                });
                let same = before.commit.as_ref().is_none_or(|c| c == commit);
                self.require(same, "C2", || format!("{who} commits twice in {view}"));
                let votes = self.support(view, |s| {
                    s.vote.as_ref().is_some_and(|v| v.block == commit.block)
                });
                self.require(votes >= quorum, "C3", || {
                    format!("{who} commits view {view}, not notarized: {votes} votes")
                });
                after.commit = Some(commit.clone());
            }
            Statement::Skip { skip, .. } => {
                self.require(before.commit.is_none(), "C2", || {
                    format!("{who} skips view {view} after committing it")
                });
                after.skip = Some(skip.clone());
            }
        }
        self.said.insert((who, view), after);
        if let Statement::Commit(commit) = statement {
            self.check_lemma(commit);
        }
    }

    /// C4, restated on statements instead of certificates.
    fn check_ground(&mut self, who: MemberId, vote: &Vote) {
        let quorum = self.n - self.f;
        let Some(header) = self.headers.get(&vote.block).cloned() else {
            return self
                .violations
                .push(("C4", "a vote for an unknown block".into()));
        };
        let Some(parent) = self.headers.get(&header.parent).cloned() else {
            return self.violations.push(("C4", "an unknown parent".into()));
        };
        let fits = parent.view == header.parent_view && parent.height.next() == header.height;
        self.require(fits, "C4", || format!("{who} votes off its parent"));
        if parent.view > View(0) {
            let votes = self.support(parent.view, |s| {
                s.vote.as_ref().is_some_and(|v| v.block == header.parent)
            });
            self.require(votes >= quorum, "C4", || {
                format!("{who} votes on a parent with {votes} votes")
            });
        }
        for between in parent.view.0 + 1..header.view.0 {
            let skips = self.support(View(between), |s| s.skip.is_some());
            self.require(skips >= quorum, "C4", || {
                format!("{who} votes over view {between} with {skips} skips")
            });
        }
    }

    /// The irrevocability lemma: f+1 honest commits, and nothing else can ever be final.
    fn check_lemma(&mut self, commit: &Commit) {
        let honest = self.support(commit.view, |s| {
            s.commit.as_ref().is_some_and(|c| c.block == commit.block)
        }) - self.byzantine.len();
        if honest > self.f {
            self.irrevocable.insert(commit.height, commit.block);
            let skips = self.support(commit.view, |s| s.skip.is_some());
            self.require(skips < self.n - self.f, "lemma", || {
                format!("view {} can still be skipped", commit.view)
            });
        }
    }

    /// A member tells its application that this is final.
    pub(crate) fn final_block(&mut self, who: MemberId, block: &FinalBlock<Cut>) {
        let (id, header) = (block.id(), &block.header);
        self.header(header);
        let known = self.finals.get(&header.height).copied();
        self.require(known.is_none_or(|k| k == id), "agreement", || {
            format!("{who} finalizes another block at height {}", header.height)
        });
        let parent = self.finals.get(&header.height.prev()).copied();
        self.require(parent == Some(header.parent), "ancestry", || {
            format!("{who} finalizes an orphan at height {}", header.height)
        });
        let fixed = self.irrevocable.get(&header.height).copied();
        self.require(fixed.is_none_or(|k| k == id), "lemma", || {
            format!("{who} revokes height {}", header.height)
        });
        if let Some(certificate) = &block.certificate {
            let commits = self.support(header.view, |s| {
                s.commit.as_ref().is_some_and(|c| c.block == id)
            });
            let quorum = self.n - self.f;
            let signed = certificate.signers.len() >= quorum && certificate.block == id;
            self.require(commits >= quorum && signed, "final", || {
                format!("{who} finalizes with {commits} commits")
            });
        }
        self.finals.entry(header.height).or_insert(id);
    }

    pub(crate) fn highest(&self) -> Height {
        self.finals.keys().next_back().copied().unwrap_or_default()
    }
}

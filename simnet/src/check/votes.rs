//! S3, S4, S12, S13 and C2, C3, C5, C6: what members say about views, across restarts.

use std::collections::{BTreeMap, BTreeSet};

use fairlane_types::{BlockHeader, BlockId, Certificate, CertificateKind, View};

use crate::marks::Mark;

use super::{Fact, Notes, Rule};

/// What is said about a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A proposal.
    Proposal,
    /// A vote.
    Vote,
    /// A commit vote.
    Commit,
    /// A skip.
    Skip,
}

/// What one member said: the block (zero for a skip) and in which of its lives.
type Said = BTreeMap<(View, Kind), (BlockId, u32)>;

#[derive(Debug)]
pub struct Votes {
    honest: Vec<bool>,
    quorum: usize,
    lives: Vec<u32>,
    mute: Vec<bool>,
    said: Vec<Said>,
    durable: Vec<BTreeSet<(View, Kind, BlockId)>>,
    /// Who was heard to say it, Byzantine members not counted.
    heard: BTreeMap<(View, Kind, BlockId), u128>,
    /// Per view, whether it was notarized (1) and skipped (2).
    quorums: BTreeMap<View, u8>,
}

impl Votes {
    pub fn new(honest: &[bool]) -> Self {
        let n = honest.len();
        Self {
            honest: honest.to_vec(),
            quorum: n - (n - 1) / 3,
            lives: vec![0; n],
            mute: vec![false; n],
            said: vec![Said::new(); n],
            durable: vec![BTreeSet::new(); n],
            heard: BTreeMap::new(),
            quorums: BTreeMap::new(),
        }
    }

    pub fn started(&mut self, node: usize) {
        self.lives[node] += 1;
    }

    /// C7: an identity without its safety record is an observer.
    pub fn forgot(&mut self, node: usize) {
        self.mute[node] = true;
    }

    pub fn durable(&mut self, node: usize, record: &(View, Kind, BlockId)) {
        self.durable[node].insert(*record);
    }

    pub fn said(&mut self, node: usize, honest: bool, fact: &Fact, notes: &mut Notes) {
        let (view, kind, block) = match fact {
            Fact::Vote { view, block } => (*view, Kind::Vote, *block),
            Fact::Commit { view, block } => (*view, Kind::Commit, *block),
            Fact::Skip { view } => (*view, Kind::Skip, BlockId::default()),
            Fact::Proposal { header, .. } => (header.view, Kind::Proposal, header.id()),
            _ => return,
        };
        if !honest {
            return;
        }
        if self.mute[node] {
            let what = format!("{kind:?} of view {view} without a safety record");
            notes.break_rule(Rule::Restart, node, what);
        }
        *self.heard.entry((view, kind, block)).or_default() |= 1 << node;
        if !self.durable[node].contains(&(view, kind, block)) {
            let what = format!("{kind:?} of view {view} left before it was durable");
            notes.break_rule(Rule::PersistFirst, node, what);
        }
        let fresh = !self.said[node].contains_key(&(view, kind));
        self.contradictions(node, view, kind, block, fresh, notes);
        if kind == Kind::Commit && fresh {
            // C3: q votes, of which each Byzantine member may have given one unheard.
            let votes = self.count((view, Kind::Vote, block));
            if votes < self.quorum {
                let what = format!("commit in view {view} on {votes} votes");
                notes.break_rule(Rule::Quorum, node, what);
            }
        }
        let life = self.lives[node];
        self.said[node].entry((view, kind)).or_insert((block, life));
    }

    fn contradictions(
        &self,
        node: usize,
        view: View,
        kind: Kind,
        block: BlockId,
        fresh: bool,
        notes: &mut Notes,
    ) {
        let said = &self.said[node];
        let before = |kind| said.get(&(view, kind)).copied();
        let mut clash = None;
        if let Some((other, life)) = before(kind)
            && other != block
        {
            clash = Some((life, format!("two {kind:?}s in view {view}")));
        }
        let excluded = match kind {
            // C2 in either order, C5.
            Kind::Commit => before(Kind::Skip),
            Kind::Skip => before(Kind::Commit),
            Kind::Vote if fresh => before(Kind::Skip),
            Kind::Vote | Kind::Proposal => None,
        };
        if let Some((_, life)) = excluded {
            clash = Some((
                life,
                format!("{kind:?} in view {view} against its opposite"),
            ));
        }
        if let Some((life, what)) = clash {
            let rule = if life == self.lives[node] {
                Rule::Contradiction
            } else {
                Rule::Restart
            };
            notes.break_rule(rule, node, what);
        }
    }

    /// C4: the parent has q votes, and every view between has q skips.
    pub fn grounds(&self, node: usize, header: &BlockHeader, notes: &mut Notes) {
        let (view, parent) = (header.view, header.parent_view);
        if parent >= view {
            let what = format!("a block of view {view} stands on view {parent}");
            notes.break_rule(Rule::Grounds, node, what);
            return;
        }
        if parent > View(0) {
            let votes = self.count((parent, Kind::Vote, header.parent));
            if votes < self.quorum {
                let what = format!("view {view} stands on {votes} votes of view {parent}");
                notes.break_rule(Rule::Grounds, node, what);
            }
        }
        for between in parent.0 + 1..view.0 {
            let skips = self.count((View(between), Kind::Skip, BlockId::default()));
            if skips < self.quorum {
                let what = format!(
                    "view {view} stands on view {parent} with {skips} skips of view {between}"
                );
                notes.break_rule(Rule::Grounds, node, what);
                return;
            }
        }
    }

    /// S4: every honest signer of a certificate said so.
    pub fn certificate(&mut self, certificate: &Certificate, notes: &mut Notes) {
        let kind = match certificate.kind {
            CertificateKind::Notarization => Kind::Vote,
            CertificateKind::Final => Kind::Commit,
            CertificateKind::Skip => Kind::Skip,
        };
        if kind == Kind::Skip {
            notes.mark(Mark::SkipCertificate);
        }
        let seen = self.quorums.entry(certificate.view).or_default();
        let bit = if kind == Kind::Skip { 2 } else { 1 };
        if *seen != 3 && *seen | bit == 3 {
            notes.mark(Mark::NotarizedAndSkipped);
        }
        *seen |= bit;
        let signers = certificate.signers.0;
        if certificate.signatures.len() != signers.count_ones() as usize {
            let (lines, names) = (certificate.signatures.len(), signers.count_ones());
            let what = format!(
                "{kind:?} certificate of view {} has {lines} signatures for {names} names",
                certificate.view
            );
            notes.break_rule(Rule::Quorum, 0, what);
        }
        let statement = (certificate.view, kind, certificate.block);
        let heard = self.heard.get(&statement).copied().unwrap_or(0);
        let unheard = (0..self.honest.len())
            .find(|i| self.honest[*i] && signers >> i & 1 == 1 && heard >> i & 1 == 0);
        // A member's own statement is in its certificate only after it said it to all.
        if let Some(node) = unheard {
            let what = format!(
                "{kind:?} certificate of view {} holds a word it never said",
                certificate.view
            );
            notes.break_rule(Rule::Quorum, node, what);
        }
        if (signers.count_ones() as usize) < self.quorum {
            let what = format!(
                "{kind:?} certificate of view {} is no quorum",
                certificate.view
            );
            notes.break_rule(Rule::Quorum, 0, what);
        }
    }

    fn count(&self, statement: (View, Kind, BlockId)) -> usize {
        let heard = self.heard.get(&statement).copied().unwrap_or(0);
        let faulty = self.honest.iter().filter(|honest| !**honest).count();
        heard.count_ones() as usize + faulty
    }
}

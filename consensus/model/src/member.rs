//! One honest member: the real core, the driver that its contract asks for, and its disk.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fairlane_consensus::{
    Core, Essence, FinalBlock, Input as CoreInput, Message, Output, Pledges, RecordId, Recovered,
    SafetyRecord, Statement, Timer, Verdict, genesis,
};
use fairlane_types::{BlockId, CertificateKind, Height, MemberId, Micros, Millis, View};

use crate::crypto::{bad_ones, sign};
use crate::load::Load;
use crate::said::{Known, Said};
use crate::scope::{CHAIN, EPOCH, Reveal, Scope};
use crate::store::Registry;

/// Longer than any timer of the core: time that passes between two inputs.
const TICK: u64 = 10_000_000;
/// The one ciphertext of the model.
const CIPHERTEXT: u8 = 0;

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// It proposes, if it leads; whether its cut holds the ciphertext.
    Propose {
        /// It does.
        holds: bool,
    },
    /// Its view timer runs out.
    Timeout,
    /// An honest leader's proposal arrives.
    Proposal {
        /// Its block.
        block: BlockId,
        /// The certificate of its parent is a final one.
        on_final: bool,
        /// Views whose skip certificates it carries, as bits.
        cover: u16,
    },
    /// A proposal of the liar arrives.
    Offer {
        /// Its block.
        block: BlockId,
        /// Views between parent and block whose skip certificate it carries, as bits.
        cover: u16,
        /// How good the certificate of its parent is.
        parent: Parent,
    },
    /// All votes for a block arrive, the liar's included.
    Votes {
        /// The view.
        view: View,
        /// The block.
        block: BlockId,
        /// Honest voters, as bits of their places; those that vote dirty in the high half.
        from: u8,
    },
    /// All commit votes for a block arrive, the liar's included.
    Commits {
        /// The view.
        view: View,
        /// The block.
        block: BlockId,
        /// Honest voters.
        from: u8,
    },
    /// All skips of a view arrive, the liar's included.
    Skips {
        /// The view.
        view: View,
        /// Honest skippers.
        from: u8,
    },
    /// A notarized block that never came is fetched.
    Fetch(BlockId),
    /// What was written becomes durable.
    Sync,
    /// kill −9 and a restart; so many of the writes that were not synced survive.
    Crash {
        /// How many.
        kept: u8,
    },
}

/// The certificate that a proposal of the liar shows for its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parent {
    /// What it should be.
    Genuine,
    /// A genuine one of an older block.
    Stale,
    /// Signatures that do not verify.
    Forged,
}

#[derive(Clone, Debug, Hash)]
enum Write {
    Record(RecordId, SafetyRecord<Load>),
    Pledge(BlockId),
    Final(FinalBlock<Load>),
    Prune(View),
}

#[derive(Clone, Debug)]
struct Disk {
    tip: FinalBlock<Load>,
    records: Vec<SafetyRecord<Load>>,
    pledges: Pledges<u8>,
    unsynced: VecDeque<Write>,
    durable: RecordId,
}

/// An honest member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// Stands for everything below; what states are compared by.
    pub digest: u128,
    /// Stands for what others can see of it: what it has said, and a breach.
    pub voice: u128,
    /// What the core is, apart from the way there.
    pub essence: Essence,
    /// What it has said.
    pub said: Said,
    /// Its final blocks, genesis first.
    pub finals: Vec<Arc<Known>>,
    /// The first rule that it broke on its own.
    pub breach: Option<&'static str>,
    /// Crashes that it may still suffer.
    pub crashes: u8,
    /// The blocks that it knows or has spoken of.
    pub blocks: Vec<Arc<Known>>,
    core: Core<Load>,
    now: Micros,
    asked: Option<View>,
    pledges: Pledges<u8>,
    disk: Disk,
    waiting: Vec<(RecordId, Statement<Load>)>,
    inbox: VecDeque<CoreInput<Load>>,
}

impl Member {
    /// A member that has just started for the first time.
    pub(crate) fn new(id: MemberId, scope: &Scope, registry: &Registry) -> Self {
        let tip = origin();
        let root = registry.add(tip.block());
        let recovered = Recovered {
            tip: tip.clone(),
            records: Vec::new(),
        };
        let core = Core::restore(scope.config(id), recovered)
            .expect("invariant: the configuration is sound and the disk is empty");
        let mut member = Self {
            id,
            digest: 0,
            voice: 0,
            essence: core.essence(),
            said: Said::default(),
            finals: vec![root],
            breach: None,
            crashes: scope.crashes,
            blocks: Vec::new(),
            core,
            now: Micros(1),
            asked: None,
            pledges: Pledges::default(),
            disk: Disk {
                tip,
                records: Vec::new(),
                pledges: Pledges::default(),
                unsynced: VecDeque::new(),
                durable: RecordId::DURABLE,
            },
            waiting: Vec::new(),
            inbox: VecDeque::new(),
        };
        member.feed(CoreInput::Start, scope, registry);
        member.feed(CoreInput::Proposable(true), scope, registry);
        member.seal(registry);
        member
    }

    /// The view it is in.
    #[must_use]
    pub fn view(&self) -> View {
        self.essence.view
    }

    /// Writes that a crash would lose.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.disk.unsynced.len()
    }

    /// This member after an input; `mail` is what the input delivers.
    pub(crate) fn after(
        &self,
        input: Input,
        mail: Vec<(MemberId, Message<Load>)>,
        scope: &Scope,
        registry: &Registry,
    ) -> Self {
        let mut next = self.clone();
        next.tick();
        match input {
            Input::Propose { holds } => next.propose(holds, scope, registry),
            Input::Timeout => {
                let view = next.core.view();
                next.fire(Timer::Pace(view), scope, registry);
                next.fire(Timer::View(view), scope, registry);
            }
            Input::Fetch(_) => {
                // Noticed, then asked for: the answer is taken only by who asked.
                next.fire(Timer::Fetch, scope, registry);
                next.fire(Timer::Fetch, scope, registry);
            }
            Input::Sync => next.sync(next.disk.unsynced.len(), scope, registry),
            Input::Crash { kept } => next.restart(kept.into(), scope, registry),
            _ => {}
        }
        for (from, message) in mail {
            next.feed(CoreInput::Message { from, message }, scope, registry);
        }
        next.seal(registry);
        next
    }

    fn tick(&mut self) {
        self.now = self.now.plus(TICK);
    }

    fn fire(&mut self, timer: Timer, scope: &Scope, registry: &Registry) {
        self.feed(CoreInput::Timer(timer), scope, registry);
        self.tick();
    }

    fn propose(&mut self, holds: bool, scope: &Scope, registry: &Registry) {
        let view = self.core.view();
        if self.asked != Some(view) {
            self.fire(Timer::Pace(view), scope, registry);
        }
        // Asked again where the ground has moved since it asked first.
        for _ in 0..2 {
            if self.asked.take() != Some(view) {
                return;
            }
            let built = CoreInput::PayloadBuilt {
                view,
                payload: Load { twin: 0, holds },
                time: Millis(0),
            };
            self.feed(built, scope, registry);
        }
    }

    // ---- the driver -----------------------------------------------------------------

    fn feed(&mut self, input: CoreInput<Load>, scope: &Scope, registry: &Registry) {
        self.inbox.push_back(input);
        self.drain(scope, registry);
    }

    fn drain(&mut self, scope: &Scope, registry: &Registry) {
        while let Some(input) = self.inbox.pop_front() {
            let mut out = Vec::new();
            self.core.step(self.now, input, &mut out);
            for output in out {
                self.carry_out(output, scope, registry);
            }
        }
    }

    fn carry_out(&mut self, output: Output<Load>, scope: &Scope, registry: &Registry) {
        match output {
            Output::Record { id, record } => self.write(Write::Record(id, record)),
            Output::Say { after, statement } => {
                if after <= self.disk.durable {
                    self.say(statement, scope, registry);
                } else {
                    self.waiting.push((after, statement));
                }
            }
            Output::Verify { check, sigs } => {
                let bad = bad_ones(&sigs);
                self.inbox.push_back(CoreInput::Verified { check, bad });
            }
            Output::CheckPayload { block, .. } => {
                let verdict = self.judge(block, scope, registry);
                let checked = CoreInput::PayloadChecked { block, verdict };
                self.inbox.push_back(checked);
            }
            Output::BuildPayload { view, .. } => self.asked = Some(view),
            Output::Finalized(blocks) => {
                for block in blocks {
                    self.finalize(&block, scope, registry);
                    self.write(Write::Final(block));
                }
            }
            Output::Prune { upto } => self.write(Write::Prune(upto)),
            Output::Halt(_) => self.accuse("halt: finality is found broken"),
            // What others have said can arrive at any time, whoever sends it.
            Output::Send { .. } | Output::Serve { .. } => {}
            Output::SetTimer { .. } => {}
            // Blame names signers, which states do not tell apart; the swarms judge it.
            Output::Fault { .. } | Output::Evidence(_) => {}
        }
    }

    fn accuse(&mut self, rule: &'static str) {
        self.breach.get_or_insert(rule);
    }

    /// D3: whether the vote for this block may be clean.
    fn judge(&mut self, id: BlockId, scope: &Scope, registry: &Registry) -> Verdict {
        let Some(block) = registry.get(id) else {
            return Verdict::Invalid;
        };
        let reveals: &[u8] = if block.reveals { &[CIPHERTEXT] } else { &[] };
        match scope.reveal {
            Reveal::AfterFinal => Verdict::Valid,
            Reveal::WithCommit => Verdict::Clean,
            Reveal::WithCleanCommit | Reveal::ForgetfulClean => {
                if !self.pledges.pledge(id, reveals) {
                    return Verdict::Valid;
                }
                if block.reveals {
                    self.write(Write::Pledge(id));
                }
                Verdict::Clean
            }
        }
    }

    fn finalize(&mut self, block: &FinalBlock<Load>, scope: &Scope, registry: &Registry) {
        let Some(known) = registry.get(block.id()) else {
            return self.accuse("ancestry: an unknown block is final");
        };
        let tip = self.finals.last().map(|tip| tip.id);
        if tip != Some(block.header.parent) {
            self.accuse("ancestry: a final block does not stand on the last one");
        }
        if known.reveals {
            self.pledges.release(&[CIPHERTEXT]);
        }
        if scope.reveal == Reveal::ForgetfulClean {
            self.pledges = Pledges::default();
        }
        self.finals.push(known);
    }

    /// A statement leaves: it is signed, can arrive at everyone, and is fed back.
    fn say(&mut self, statement: Statement<Load>, scope: &Scope, registry: &Registry) {
        if !self.is_recorded(&statement) {
            self.accuse("C7: said before it was durable");
        }
        let about = match &statement {
            Statement::Proposal { block, .. } => Some(registry.add(block.clone())),
            Statement::Vote(vote) => registry.get(vote.block),
            Statement::Commit(commit) => registry.get(commit.block),
            Statement::Skip { .. } => None,
        };
        let shared = match (&statement, &about) {
            (Statement::Commit(commit), Some(block)) if block.reveals => match scope.reveal {
                Reveal::AfterFinal => false,
                Reveal::WithCommit => true,
                _ => self.core.is_vouched(commit.view, commit.block),
            },
            _ => false,
        };
        let message = sign(self.id, statement.clone());
        if let Some(rule) = self.said.add(&statement, about, shared, &message) {
            self.accuse(rule);
        }
        let from = self.id;
        self.inbox.push_back(CoreInput::Message { from, message });
    }

    // ---- the disk -------------------------------------------------------------------

    fn write(&mut self, write: Write) {
        if self.crashes > 0 {
            self.disk.unsynced.push_back(write);
        } else if let Write::Record(id, _) = write {
            self.disk.durable = id; // and never read again
        }
    }

    fn is_recorded(&self, statement: &Statement<Load>) -> bool {
        let mut records = self.disk.records.iter();
        let pruned = statement.view() <= self.disk.tip.header.view;
        self.crashes == 0
            || pruned
            || records.any(|record| match (record, statement) {
                (SafetyRecord::Proposed { block, .. }, Statement::Proposal { block: said, .. }) => {
                    block == said
                }
                (SafetyRecord::Voted { vote, .. }, Statement::Vote(said)) => vote == said,
                (SafetyRecord::Committed { commit }, Statement::Commit(said)) => commit == said,
                (SafetyRecord::Skipped { skip, .. }, Statement::Skip { skip: said, .. }) => {
                    skip == said
                }
                _ => false,
            })
    }

    fn sync(&mut self, count: usize, scope: &Scope, registry: &Registry) {
        for write in self.disk.unsynced.drain(..count).collect::<Vec<_>>() {
            self.disk.apply(write);
        }
        let durable = self.disk.durable;
        let waiting = std::mem::take(&mut self.waiting);
        let (ready, rest): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(after, _)| *after <= durable);
        self.waiting = rest;
        for (_, statement) in ready {
            self.say(statement, scope, registry);
        }
        self.drain(scope, registry);
    }

    fn restart(&mut self, kept: usize, scope: &Scope, registry: &Registry) {
        let unsynced = std::mem::take(&mut self.disk.unsynced);
        for write in unsynced.into_iter().take(kept) {
            self.disk.apply(write);
        }
        self.crashes -= 1;
        self.waiting.clear();
        self.asked = None;
        self.disk.durable = RecordId::DURABLE;
        self.pledges = self.disk.pledges.clone();
        // The sequence goes on behind what is on disk; what was told before may be told again.
        let tip = self.disk.tip.id();
        let known = self.finals.iter().position(|block| block.id == tip);
        self.finals.truncate(known.map_or(0, |at| at + 1));
        let recovered = Recovered {
            tip: self.disk.tip.clone(),
            records: self.disk.records.clone(),
        };
        match Core::restore(scope.config(self.id), recovered) {
            Ok(core) => self.core = core,
            Err(_) => return self.accuse("C7: the safety record contradicts itself"),
        }
        self.feed(CoreInput::Start, scope, registry);
        self.feed(CoreInput::Proposable(true), scope, registry);
    }

    // ---- comparison -----------------------------------------------------------------

    fn seal(&mut self, registry: &Registry) {
        self.essence = self.core.essence();
        let views = self.essence.views.iter();
        let known = views.flat_map(|v| v.blocks.iter().chain(v.candidate.as_ref().map(|c| &c.0)));
        let mut blocks: Vec<_> = known.filter_map(|id| registry.get(*id)).collect();
        blocks.extend(self.finals.iter().cloned());
        blocks.extend(self.said.blocks().cloned());
        blocks.sort_unstable_by_key(|block| block.id);
        blocks.dedup_by_key(|block| block.id);
        self.blocks = blocks;
        self.voice = wide(|hasher| self.speech(hasher));
        self.digest = wide(|hasher| self.content(hasher));
    }

    /// A rule that only shows from outside is broken.
    pub(crate) fn broke(mut self, rule: &'static str, registry: &Registry) -> Self {
        self.accuse(rule);
        self.seal(registry);
        self
    }

    fn speech(&self, hasher: &mut impl Hasher) {
        (self.id, self.breach).hash(hasher);
        for (view, said) in self.said.iter() {
            let proposals: Vec<_> = said.proposals.iter().map(shown).collect();
            let vote = said.vote.as_ref().map(|(b, dirty)| (b.id, *dirty));
            let commit = said.commit.as_ref().map(|(b, shared)| (b.id, *shared));
            (view, proposals, vote, commit, said.skip).hash(hasher);
        }
    }

    fn content(&self, hasher: &mut impl Hasher) {
        (self.voice, &self.essence, self.crashes, &self.pledges).hash(hasher);
        for block in &self.finals {
            block.id.hash(hasher);
        }
        // Without crashes to come the disk decides nothing.
        if self.crashes > 0 {
            self.disk.tip.id().hash(hasher);
            let mut gists: Vec<_> = self.disk.records.iter().map(gist).collect();
            gists.sort_unstable();
            gists.hash(hasher);
            self.disk.pledges.hash(hasher);
            for write in &self.disk.unsynced {
                match write {
                    Write::Record(_, record) => gist(record).hash(hasher),
                    Write::Pledge(block) => (1, block).hash(hasher),
                    Write::Final(block) => (2, block.id()).hash(hasher),
                    Write::Prune(view) => (3, view).hash(hasher),
                }
            }
        }
    }
}

impl Disk {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Record(id, record) => {
                self.records.push(record);
                self.durable = id;
            }
            Write::Pledge(block) => self.pledges.restore(CIPHERTEXT, block),
            Write::Final(block) => {
                if block.payload.holds {
                    self.pledges.release(&[CIPHERTEXT]);
                }
                self.tip = block;
            }
            Write::Prune(upto) => self.records.retain(|record| record.view() > upto),
        }
    }
}

fn wide(content: impl Fn(&mut DefaultHasher)) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        content(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// A proposal and what it carries, without the signatures.
pub(crate) fn shown((block, message): &(Arc<Known>, Arc<Message<Load>>)) -> Input {
    let (mut on_final, mut cover) = (false, 0);
    if let Message::Proposal(proposal) = message.as_ref() {
        let parent = proposal.justify.parent.as_ref();
        on_final = parent.is_some_and(|c| c.kind == CertificateKind::Final);
        let skips = proposal.justify.skips.iter();
        cover = skips.fold(0, |bits, c| bits | 1 << c.view.0);
    }
    let block = block.id;
    Input::Proposal {
        block,
        on_final,
        cover,
    }
}

/// A record without the signatures in it.
fn gist(record: &SafetyRecord<Load>) -> (u8, View, BlockId, bool) {
    let view = record.view();
    match record {
        SafetyRecord::Proposed { block, .. } => (0, view, block.id(), false),
        SafetyRecord::Voted { vote, .. } => (1, view, vote.block, vote.dirty),
        SafetyRecord::Committed { commit } => (2, view, commit.block, false),
        SafetyRecord::Skipped { .. } => (3, view, BlockId::default(), false),
        SafetyRecord::Certified(c) => (4 + c.kind as u8, view, c.block, false),
    }
}

fn origin() -> FinalBlock<Load> {
    let parent = BlockId::default();
    genesis(CHAIN, EPOCH, Height(0), parent, Millis(0), Load::default())
}

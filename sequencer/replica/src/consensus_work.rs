//! What consensus asks for, carried out: records before words (C7), payload questions to
//! the lanes, final blocks to the order.

use std::sync::Arc;

use fairlane_consensus::{self as consensus, Output, RecordId, Statement, Verdict};
use fairlane_mempool as mempool;
use fairlane_types::{BlockId, Domain, MemberId, Micros, Mutant, SignerSet, View, encode};

use crate::boundary::{Effect, Peers, TimerId};
use crate::keys::height_key;
use crate::payload::{CutPayload, FinalBlock, SafetyRecord};
use crate::replica::{PendingCheck, Replica};
use crate::serving::Serving;
use crate::under_way::{Purpose, Written};
use crate::{Evidence, Fault, Job, Message, Table, Write};

/// Proposals whose payload is not decidable yet; consensus keeps two blocks a view.
const PENDING_CHECKS_MAX: usize = 64;

/// Proofs that are kept of one member's misbehaviour of one kind, from each start on.
pub const EVIDENCE_MAX: u32 = 64;

impl Replica {
    pub(crate) fn consensus_output(
        &mut self,
        now: Micros,
        output: Output<CutPayload>,
        out: &mut Vec<Effect>,
    ) {
        match output {
            Output::Record { id, record } => {
                let write = Write::put(Table::Safety, record_key(&record), encode(&record));
                self.store(vec![write], true, Written::Record(id), out);
            }
            Output::Say { after, statement } => {
                if matches!(statement, Statement::Skip { .. }) {
                    // The next leader may have to build on an older parent.
                    let cut = self.final_tip().payload.cut.clone();
                    self.tell_lanes(mempool::Input::Parent(cut));
                }
                if after <= self.recorded || self.planted.is(Mutant::SendFirst) {
                    self.say(statement, out);
                } else {
                    self.says.entry(after).or_default().push(statement);
                }
            }
            Output::Send { to, message } => {
                let to = match to {
                    consensus::To::All => Peers::All,
                    consensus::To::One(member) => Peers::One(member),
                };
                self.send(to, Message::Consensus(Box::new(message)), out);
            }
            Output::Verify { check, sigs } => {
                self.compute(Job::Verify(sigs), Purpose::Consensus(check), out);
            }
            Output::SetTimer { timer, at } => {
                out.push(Effect::SetTimer {
                    id: TimerId::Consensus(timer),
                    at,
                });
            }
            Output::CheckPayload {
                block,
                header,
                payload,
                parent,
            } => {
                self.tell_lanes(mempool::Input::Parent(payload.cut.clone()));
                if self.checks.len() >= PENDING_CHECKS_MAX {
                    self.checks.pop_first();
                }
                let pending = PendingCheck {
                    parent,
                    block: consensus::Block { header, payload },
                };
                self.checks.insert(block, pending);
                self.check_payload(now, block, true, out);
            }
            Output::BuildPayload {
                view,
                parent,
                certified_only,
            } => {
                if parent.payload.ends() {
                    // C13: the same cut has the same time.
                    let (payload, time) = (parent.payload, parent.header.time);
                    self.tell(consensus::Input::PayloadBuilt {
                        view,
                        payload,
                        time,
                    });
                    return;
                }
                let only: Vec<MemberId> = certified_only.iter().collect();
                let parent_time = parent.header.time;
                let built = self
                    .lanes
                    .build_cut(&parent.payload.cut, parent_time, &only);
                self.tell_lanes(mempool::Input::Parent(built.cut.clone()));
                let (payload, time) = (CutPayload::of(built.cut), built.time);
                let payload = self.with_step(view, payload);
                self.tell(consensus::Input::PayloadBuilt {
                    view,
                    payload,
                    time,
                });
            }
            Output::Finalized(blocks) => self.finalized(blocks, out),
            Output::Prune { upto } => {
                // Above the last stored block a restart begins anew: what was said there is
                // remembered (C7). Past the boundary of an epoch no more blocks are stored.
                let upto = upto.min(self.finals.tip().header.view);
                let (from, to) = (View(0).0.to_be_bytes(), upto.next().0.to_be_bytes());
                let table = Table::Safety;
                let write = Write::DeleteRange {
                    table,
                    from: from.to_vec(),
                    to: to.to_vec(),
                };
                self.store(vec![write], false, Written::Nothing, out);
            }
            Output::Serve { to, from, count } => {
                self.read_run(Serving::new(to, from, count), out);
            }
            Output::Evidence(evidence) => self.convict(Evidence::Consensus(*evidence), out),
            Output::Fault { peer, fault } => {
                out.push(Effect::Fault {
                    peer,
                    fault: Fault::Consensus(fault),
                });
            }
            Output::Halt(halt) => {
                let (ours, theirs) = (halt.ours.map(|c| c.block), halt.theirs.block);
                out.push(Effect::Halt(format!(
                    "{}: certified {theirs} contradicts {ours:?}; more than f members are faulty",
                    halt.reason
                )));
            }
        }
    }

    /// C7: a record is durable; what was waiting for it may be said.
    pub(crate) fn recorded(&mut self, id: RecordId, out: &mut Vec<Effect>) {
        self.recorded = self.recorded.max(id);
        while let Some(entry) = self.says.first_entry()
            && *entry.key() <= self.recorded
        {
            for statement in entry.remove() {
                self.say(statement, out);
            }
        }
    }

    fn say(&mut self, statement: Statement<CutPayload>, out: &mut Vec<Effect>) {
        let message = statement.sign(&self.identity, self.chain());
        self.send(
            Peers::All,
            Message::Consensus(Box::new(message.clone())),
            out,
        );
        self.tell(consensus::Input::Message {
            from: self.me,
            message,
        });
    }

    /// What a member says to what rides with the cut of a proposal.
    fn check_rider(
        &mut self,
        view: View,
        parent: &CutPayload,
        payload: &CutPayload,
    ) -> Option<bool> {
        if parent.ends() {
            return Some(payload == parent);
        }
        let dealing = self.check_dealing(view, payload.dealing.as_deref())?;
        Some(dealing && self.check_step(view, payload.step.as_ref())?)
    }

    /// Asks the lanes about a proposed cut; `first` says that nothing is on its way yet.
    pub(crate) fn check_payload(
        &mut self,
        now: Micros,
        id: BlockId,
        first: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.checks.get(&id) else {
            return;
        };
        let view = pending.block.header.view;
        let (parent, payload) = (&pending.parent.payload, &pending.block.payload);
        let rides = payload.dealing.is_some() || payload.step.is_some() || parent.ends();
        let rider = if rides {
            let (parent, payload) = (parent.clone(), payload.clone());
            self.check_rider(view, &parent, &payload)
        } else {
            Some(true)
        };
        let Some(pending) = self.checks.get(&id) else {
            return;
        };
        let (parent, block) = (&pending.parent, &pending.block);
        let (old, new) = (&parent.payload.cut, &block.payload.cut);
        let verdict = self
            .lanes
            .check_cut(old, parent.header.time, new, block.header.time);
        let verdict = match verdict {
            _ if rider == Some(false) => Verdict::Invalid,
            // Nobody's fault: its proposer knows more or less than this member.
            _ if rider.is_none() => Verdict::Fetching {
                missing: SignerSet::default(),
            },
            mempool::Verdict::Valid => Verdict::Valid,
            mempool::Verdict::Invalid(_) => Verdict::Invalid,
            mempool::Verdict::Missing(lanes) => {
                let mut outputs = Vec::new();
                let leader = block.header.proposer;
                self.lanes.want_cut(now, id, leader, old, new, &mut outputs);
                self.carry_out(&mut outputs, out);
                if !first {
                    return;
                }
                Verdict::Fetching {
                    missing: lanes.into_iter().collect(),
                }
            }
        };
        if !matches!(verdict, Verdict::Fetching { .. }) {
            self.checks.remove(&id);
        }
        self.tell(consensus::Input::PayloadChecked { block: id, verdict });
    }

    fn finalized(&mut self, blocks: Vec<FinalBlock>, out: &mut Vec<Effect>) {
        let blocks = self.up_to_boundary(blocks);
        let Some(tip) = blocks.last().map(|block| block.header.height) else {
            return;
        };
        let rows = blocks.iter().map(|block| {
            Write::put(
                Table::Blocks,
                height_key(block.header.height),
                encode(block),
            )
        });
        let mut writes: Vec<Write> = rows.collect();
        writes.extend(self.changes_final(&blocks, out));
        writes.extend(self.dealings_final(&blocks, out));
        // Final before revealed: shares leave only when this is synced (D2).
        self.store(writes, true, Written::Final(tip), out);
        for block in &blocks {
            let (cut, time) = (block.payload.cut.clone(), block.header.time);
            self.checks.remove(&block.header.id());
            self.tell_lanes(mempool::Input::Finalized { cut, time });
        }
        self.finals.push(blocks);
    }

    /// Keeps and publishes a proof of misbehaviour: the first ones of a member and a kind. More
    /// convict it no further, and would fill the disk.
    pub(crate) fn convict(&mut self, evidence: Evidence, out: &mut Vec<Effect>) {
        let proofs = self.convicted.entry((evidence.accused(), evidence.kind()));
        let proofs = proofs.or_default();
        if *proofs >= EVIDENCE_MAX {
            return;
        }
        *proofs += 1;
        let write = Write::put(Table::Evidence, evidence.key(), encode(&evidence));
        self.store(vec![write], false, Written::Nothing, out);
        out.push(Effect::Evidence(Arc::new(evidence)));
    }
}

/// By view, so that pruning is a range; then by content, so that a record written again
/// after a restart replaces itself and nothing else.
fn record_key(record: &SafetyRecord) -> Vec<u8> {
    let mut key = record.view().0.to_be_bytes().to_vec();
    key.extend(&Domain::Snapshot.hash_of(record).0[..16]);
    key
}

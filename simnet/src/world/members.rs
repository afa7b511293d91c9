//! Members of a run: their processes, effects, disks and cores.

use fairlane_replica::{
    Effect, Event, Evidence, Fault, ShareFault, Store as _, Table, TimerId, Write,
};
use fairlane_types::Micros;

use crate::byz::{Act, Behaviour, Heard, Scene};
use crate::check::Rule;
use crate::cpu::step_kind;
use crate::crypto::Tier;
use crate::disk::Change;
use crate::engine::{MICROSECOND, MILLISECOND, Nanos};
use crate::marks::Mark;
use crate::scenario::Planted;

use super::frame::Frame;
use super::happening::Happening;
use super::{LOAD_NS, SUSPICIOUS_MAX, World};

impl World {
    pub(super) fn boot(&mut self, node: usize) {
        if self.members[node].up() || self.retired[node] {
            return;
        }
        if self.scenario.planted == Some(Planted::SafetyForgotten) && self.members[node].life > 0 {
            self.members[node].store.wipe(Table::Safety);
        }
        if let Err(error) = self.members[node].start() {
            self.disk_failed(node, &format!("does not start: {error}"));
            return;
        }
        self.judge.started(node);
        self.step(node, Event::Start);
        for peer in 0..self.members.len() {
            if peer != node && self.members[peer].up() {
                self.reconnect(node, peer, 5 * MILLISECOND);
            }
        }
    }

    /// What was written cannot be read: the member stops and an operator is called. Only
    /// where the plan let bytes rot.
    pub(super) fn disk_failed(&mut self, node: usize, error: &str) {
        if self.members[node].store.is_rotten() {
            self.judge.mark(Mark::Corruption);
            self.crash(node);
            self.retired[node] = true;
            self.judge.retire(node);
        } else {
            self.judge.break_rule(Rule::Halt, node, error);
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        if !self.members[node].up() {
            return;
        }
        let (lost, durable) = self.members[node].crash();
        if lost > 0 {
            self.judge.mark(Mark::LostWrites);
        }
        self.note_durable(node, &durable);
        for peer in 0..self.members.len() {
            if peer != node && self.fabric.disconnect(node, peer) {
                self.judge.mark(Mark::ConnectionLost);
            }
        }
        if self.members.iter().all(|member| !member.up()) {
            self.judge.mark(Mark::AllDown);
        }
    }

    pub(super) fn step(&mut self, node: usize, event: Event) {
        self.note(node, || match &event {
            Event::Message { from, message } => format!("<- {from} {}", message.name()),
            Event::Computed { id, .. } => format!("computed {}", id.0),
            other => format!("{other:?}").chars().take(200).collect(),
        });
        if self.members[node].behaviour.is_some()
            && let Event::Message { from, message } = &event
        {
            let heard = Heard {
                from: *from,
                message,
            };
            let mut acts = Vec::new();
            let passes = self.misbehave(node, |behaviour, scene| {
                behaviour.hear(scene, &heard, &mut acts)
            });
            self.carry_out(node, acts);
            if passes == Some(false) {
                return;
            }
        }
        let effects = self.measured_step(node, event);
        for effect in effects {
            if self.members[node].behaviour.is_none() {
                self.effect(node, effect);
                continue;
            }
            let acts = self.misbehave(node, |behaviour, scene| behaviour.act(scene, effect));
            self.carry_out(node, acts.unwrap_or_default());
        }
        self.start_writes(node);
        self.start_jobs(node);
    }

    /// A step of the replica; a meter, where there is one, takes its time.
    fn measured_step(&mut self, node: usize, event: Event) -> Vec<Effect> {
        let meter = self.recorder.as_mut().and_then(|r| r.meter.as_mut());
        let Some(meter) = meter else {
            return self.members[node].step(self.now, event);
        };
        let (name, items) = step_kind(&event);
        let began = meter.read();
        let effects = self.members[node].step(self.now, event);
        meter.step(name, items, began);
        effects
    }

    /// Asks a member's behaviour; nothing if it is down or has none.
    pub(super) fn misbehave<T>(
        &mut self,
        node: usize,
        ask: impl FnOnce(&mut dyn Behaviour, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let member = &mut self.members[node];
        if !member.up() {
            return None;
        }
        let now = member.clock.read(self.now);
        let behaviour = member.behaviour.as_mut()?;
        let mut scene = Scene {
            keys: &member.keys,
            all: &self.all_keys,
            crypto: &mut self.crypto,
            rng: &mut member.choices,
            now,
            genesis: &self.genesis,
            lies: &mut member.lies,
        };
        Some(ask(behaviour.as_mut(), &mut scene))
    }

    /// What a misbehaving member does.
    fn carry_out(&mut self, node: usize, acts: Vec<Act>) {
        let life = self.members[node].life;
        for act in acts {
            match act {
                Act::Effect(effect) => self.effect(node, effect),
                Act::Raw { to, class, frame } => {
                    self.transmit(node, to.index(), class, &Frame::raw(frame));
                }
                Act::Later {
                    to,
                    message,
                    after_ms,
                } => {
                    let at = self.now.plus(after_ms * MILLISECOND);
                    let late = Happening::Late {
                        node,
                        life,
                        to,
                        message,
                    };
                    self.queue.push(at, 5, late);
                }
            }
        }
    }

    pub(super) fn effect(&mut self, node: usize, effect: Effect) {
        self.note(node, || describe(&effect));
        match effect {
            Effect::Send { to, message } => self.send(node, to, &message),
            Effect::SetTimer { id, at } => self.set_timer(node, id, at),
            Effect::Store {
                id,
                writes,
                durable,
            } => {
                let life = self.members[node].life;
                if durable && self.scenario.planted == Some(Planted::SendBeforeStored) {
                    self.queue
                        .push(self.now, 3, Happening::Early { node, life, id });
                }
                let changes = writes.into_iter().map(|write| self.values.change(write));
                self.members[node]
                    .writer
                    .push(id, changes.collect(), durable);
            }
            Effect::Load {
                id,
                table,
                from,
                to,
                rows_max,
                bytes_max,
            } => {
                let member = &self.members[node];
                let (life, at) = (member.life, self.now.plus(LOAD_NS));
                match member.store.scan(table, &from, &to, rows_max, bytes_max) {
                    Ok(rows) => self.queue.push(
                        at,
                        3,
                        Happening::Loaded {
                            node,
                            life,
                            id,
                            rows,
                        },
                    ),
                    Err(error) => self.disk_failed(node, &error.to_string()),
                }
            }
            Effect::Compute { id, job } => self.members[node].cpu.push(id, job),
            Effect::Emit(block) => {
                self.trace.bytes(&block.root.0.0);
                self.judge.emitted(node, &block);
                self.execute(node, &block);
                self.settle(&block);
                if let Some(recorder) = &mut self.recorder {
                    for (trade, to, at) in recorder.emitted(self.now, node, &block) {
                        let submit = Happening::Submit { trade, node: to };
                        self.queue.push(at, 2, submit);
                    }
                    let items = block.items.iter();
                    let orders = items.filter_map(|item| self.by_id.get(&item.ct_id).copied());
                    let orders = orders.collect();
                    self.follow(node, orders);
                }
            }
            Effect::Reply { ticket, reply } => self.reply(node, ticket, reply),
            Effect::Evidence(evidence) => self.evidence(node, &evidence),
            Effect::Fault { peer, fault } => {
                self.judge.mark(Mark::PeerFault);
                if matches!(fault, Fault::Share(ShareFault::Keys | ShareFault::LeftOut)) {
                    self.judge.mark(Mark::FalseTeller);
                }
                if self.honest[node] && self.honest[peer.index()] {
                    self.stats.honest_faults += 1;
                    self.suspect(format!("{} member {node} about {peer}: {fault}", self.now));
                }
            }
            Effect::EpochEnded(_) | Effect::KeyOver => {
                let what = "an epoch or its key ended, and nobody asked for it";
                self.judge.break_rule(Rule::Halt, node, what);
            }
            Effect::Halt(reason) => {
                if self.honest[node] {
                    self.judge.break_rule(Rule::Halt, node, reason);
                }
                self.crash(node);
            }
        }
    }

    pub(super) fn evidence(&mut self, node: usize, evidence: &Evidence) {
        let keys = &self.members[node].keys;
        let verdict = match self.scenario.tier {
            Tier::Real => {
                let keys_of: Vec<_> = keys.key().map(AsRef::as_ref).into_iter().collect();
                evidence.verify(keys.chain, keys.epoch, &keys.committee, &keys_of)
            }
            // Only real signatures convict anyone; whom it accuses is judged all the same.
            Tier::Ideal => Ok(evidence.accused()),
        };
        match verdict {
            Ok(offender) if self.honest[offender.index()] => {
                let what = format!("evidence convicts the honest member {offender}: {evidence:?}");
                self.judge.break_rule(Rule::Contradiction, node, what);
            }
            Ok(_) => self.judge.mark(match evidence {
                Evidence::LaneFork(_) => Mark::ForkEvidence,
                Evidence::FalseShares(_) => Mark::ShareBlame,
                Evidence::Consensus(_) => Mark::VoteEvidence,
            }),
            Err(error) if self.honest[node] => {
                let what = format!("evidence that convicts nobody: {error}");
                self.judge.break_rule(Rule::Contradiction, node, what);
            }
            Err(_) => {}
        }
    }

    pub(super) fn suspect(&mut self, what: String) {
        if self.suspicious.len() < SUSPICIOUS_MAX {
            self.suspicious.push(what);
        }
    }

    pub(super) fn set_timer(&mut self, node: usize, id: TimerId, at: Micros) {
        let member = &mut self.members[node];
        member.timers[id.slot()] = Some((at, id));
        let when = member.clock.reach(self.now, at);
        self.wake(node, when);
    }

    /// One event in the queue for all timers of a member: that of the earliest.
    fn wake(&mut self, node: usize, when: Nanos) {
        let member = &mut self.members[node];
        if member.alarm.is_none_or(|alarm| when < alarm) {
            member.alarm = Some(when);
            let life = member.life;
            self.queue.push(when, 4, Happening::Timer { node, life });
        }
    }

    /// Whatever is due by the member's clock, in the order in which it was to be.
    pub(super) fn timers(&mut self, node: usize) {
        while let Some((at, id)) = self.members[node].next_timer() {
            let member = &mut self.members[node];
            if member.clock.read(self.now) < at {
                // Later than now, also where the clock was stepped back meanwhile.
                let when = member.clock.reach(self.now, at);
                return self.wake(node, when.max(self.now.plus(MICROSECOND)));
            }
            member.timers[id.slot()] = None;
            self.input(node, Event::Timer(id));
        }
    }

    // ---- disk and cores ----

    pub(super) fn start_writes(&mut self, node: usize) {
        if self.threaded() {
            self.commit_later(node);
        } else {
            self.commit(node);
        }
    }

    pub(super) fn commit(&mut self, node: usize) {
        let member = &mut self.members[node];
        let life = member.life;
        match member
            .writer
            .start(self.now, &mut member.store, &mut member.disk)
        {
            Ok(Some(at)) => {
                let at = at.max(member.disk_until);
                if let Some(recorder) = &mut self.recorder {
                    recorder.write(self.now, node, at);
                }
                self.queue.push(at, 3, Happening::Stored { node, life });
            }
            Ok(None) => {}
            // A full disk stops the member; the plan gives it room again.
            Err(_) => {
                self.judge.mark(Mark::DiskFull);
                self.crash(node);
            }
        }
    }

    pub(super) fn stored(&mut self, node: usize) {
        let member = &mut self.members[node];
        if std::mem::take(&mut member.sync_fails) {
            // What the disk kept of it nobody knows: the process must stop (fsyncgate).
            self.judge.mark(Mark::SyncFailed);
            self.crash(node);
            return;
        }
        let (ids, durable) = member.writer.finish(&mut member.store);
        self.note_durable(node, &durable);
        let early = self.scenario.planted == Some(Planted::SendBeforeStored);
        for id in ids {
            if !early {
                self.input(node, Event::Stored(id));
            }
        }
        self.start_writes(node);
    }

    pub(super) fn note_durable(&mut self, node: usize, changes: &[Change]) {
        for change in changes {
            self.judge.synced(node, change);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.durable(self.now, node, changes);
        }
    }

    pub(super) fn start_jobs(&mut self, node: usize) {
        if self.threaded() {
            return self.wake_pool(node);
        }
        let cores = self.cpu.cores;
        while let Some((id, job)) = self.members[node].cpu.start(cores) {
            let member = &mut self.members[node];
            let cost = self.cpu.cost_ns(&job).saturating_mul(member.cpu_factor);
            let at = self.now.plus(cost);
            if let Some(recorder) = &mut self.recorder {
                recorder.job(self.now, node, job.name(), job.items(), at);
            }
            let (entropy, life) = (member.entropy.bytes32(), member.life);
            let result = Box::new(self.run_job(node, &job, entropy));
            self.queue.push(
                at,
                3,
                Happening::Computed {
                    node,
                    life,
                    id,
                    result,
                },
            );
        }
    }
}

/// An effect in a line.
fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Send { to, message } => {
            let text = format!("{message:?}");
            format!(
                "-> {to:?} {}: {}",
                message.name(),
                text.chars().take(1_500).collect::<String>()
            )
        }
        Effect::Store {
            id,
            writes,
            durable,
        } => {
            let table = |write: &Write| match write {
                Write::Put { table, .. } => table.name(),
                Write::Delete { .. } => "delete",
                Write::DeleteRange { .. } => "delete-range",
            };
            let tables: Vec<_> = writes.iter().map(table).collect();
            format!("store {} {tables:?} durable={durable}", id.0)
        }
        Effect::Compute { id, job } => format!("compute {} {} {}", id.0, job.name(), job.items()),
        Effect::Emit(block) => format!("emit {} with {}", block.height, block.items.len()),
        other => format!("{other:?}").chars().take(200).collect(),
    }
}

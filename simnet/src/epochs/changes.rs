//! Operators and shells of a run: changes are approved and handed in, machines go from one
//! epoch into the next.

use std::sync::Arc;

use fairlane_encryption::leads_on;
use fairlane_replica::{
    EPOCH_BASE_BYTES_MAX, EpochBase, Event, FinalBlock, Table, epoch_key, height_key,
};
use fairlane_types::{
    CommitteeChange, Epoch, Height, MemberId, NextCommittee, NextKey, QuorumWord, decode,
};

use crate::engine::{MICROSECOND, MILLISECOND};

use super::machine::{Machine, ROW_BYTES_MAX};
use super::run::{Happening, Run, TERM_NS};

impl Run<'_> {
    /// The operators of a committee approve the next one and hand it to some members.
    pub(super) fn change(&mut self, epoch: usize) {
        let Some(next) = self.plan.committees.get(epoch) else {
            return;
        };
        let before = &self.plan.committees[epoch - 1];
        let ready = |m: &usize| {
            let machine = &self.machines[*m];
            machine.member.up() && machine.genesis.epoch().0 + 1 == epoch as u64
        };
        let keyed = before
            .iter()
            .any(|m| self.machines[*m].member.keys.key().is_some());
        let asked: Vec<usize> = before.iter().copied().filter(ready).collect();
        if asked.len() < 2 || !keyed {
            self.push(100 * MILLISECOND, Happening::Change(epoch));
            return;
        }
        let (chain, of) = (self.machines[0].genesis.chain, Epoch(epoch as u64));
        let members = next.iter().map(|m| self.machines[*m].card(of)).collect();
        let next = NextCommittee {
            chain,
            epoch: of,
            key: match self.plan.fresh.get(epoch - 1) {
                Some(true) => NextKey::Fresh,
                _ => NextKey::Kept,
            },
            members,
        };
        let mut approved = QuorumWord::default();
        let quorum = before.len() - (before.len() - 1) / 3;
        for (id, machine) in before.iter().enumerate().take(quorum) {
            let signature = next.approve(self.machines[*machine].identity.as_ref());
            approved.add(MemberId(id as u8), signature);
        }
        let change = Arc::new(CommitteeChange { next, approved });
        self.changed.entry(epoch as u64).or_insert(self.now);
        for machine in asked {
            if self.rng.chance(600) {
                self.step(machine, Event::Change(Arc::clone(&change)));
            }
        }
        // Until it is in force operators ask again.
        let entered = |m: &Machine| m.genesis.epoch().0 >= epoch as u64;
        if !self.machines.iter().any(entered) {
            self.push(500 * MILLISECOND, Happening::Change(epoch));
        }
    }

    /// A machine that is behind looks for the next epoch on the disks of others.
    pub(super) fn poll(&mut self, machine: usize) {
        let m = &self.machines[machine];
        // One that stopped while it crossed comes back first.
        if m.dead || !m.linked || m.disk_epoch() != m.genesis.epoch() {
            return;
        }
        let (next, runs) = (m.genesis.epoch().next(), m.runs());
        let key = epoch_key(next);
        let others = (0..self.machines.len()).filter(|other| *other != machine);
        let mut others: Vec<usize> = others
            .filter(|o| self.machines[*o].linked && !self.machines[*o].dead)
            .collect();
        self.rng.shuffle(&mut others);
        for other in others {
            let (from, to) = (key.clone(), epoch_key(next.next()));
            let rows = self.machines[other].rows(Table::Epochs, &from, &to);
            let Some((_, row)) = rows.first() else {
                let word = self.machines[other].left_by();
                if runs && let Some(word) = word.filter(|w| w.genesis.epoch() == next) {
                    self.shown(machine, &word);
                }
                continue;
            };
            let Ok(base) = decode::<EpochBase>(row, EPOCH_BASE_BYTES_MAX) else {
                continue;
            };
            if runs {
                self.shown(machine, &base.handover);
                return;
            }
            if !base.is_whole() {
                // It is over: the same disk has the word for that.
                let (from, to) = (epoch_key(next.next()), epoch_key(next.next().next()));
                let rows = self.machines[other].rows(Table::Epochs, &from, &to);
                let onward = rows
                    .first()
                    .map(|(_, row)| decode(row, EPOCH_BASE_BYTES_MAX));
                let onward: Option<EpochBase> = onward.and_then(Result::ok);
                let over = |o: &EpochBase| leads_on(&o.handover, base.genesis(), None).is_ok();
                if !onward.as_ref().is_some_and(over) {
                    self.breach(format!("machine {other} has half of {next} too early"));
                    return;
                }
                self.report.passed_through += 1;
            }
            let (from, to) = (Height(1), base.genesis().base().next());
            let (from, to) = (height_key(from), height_key(to));
            let sequence = self.machines[other].rows(Table::Sequence, &from, &to);
            self.retire(machine);
            let dies = self.plan.faults && self.rng.chance(100);
            let m = &mut self.machines[machine];
            if dies && m.leave(&base.handover).is_ok() {
                // Between the two writes: the next look goes on from there.
                return;
            }
            if let Err(error) = m
                .leave(&base.handover)
                .and_then(|()| m.import(&base, &sequence))
            {
                self.breach(format!("machine {machine} cannot import: {error}"));
                return;
            }
            self.report.fetched += 1;
            self.cross(machine, &base);
            return;
        }
    }

    /// A process ends, and with it what it counted.
    pub(super) fn retire(&mut self, machine: usize) {
        let replica = self.machines[machine].member.replica.as_ref();
        let refused = replica.map(|r| r.status().counters.dealings_refused);
        self.report.dealings_refused += refused.unwrap_or_default();
        self.machines[machine].stop();
    }

    /// Who has left hands what it acknowledged, and nobody has recorded, to those who stay.
    pub(super) fn forward(&mut self, machine: usize) {
        let m = &self.machines[machine];
        if m.me.is_some() || m.dead || !m.linked {
            return;
        }
        let carried = m.carried.iter().filter_map(|id| self.by_id.get(id));
        let open: Vec<usize> = carried
            .copied()
            .filter(|t| !self.settled.contains(t))
            .collect();
        for trade in open {
            for member in self.reachable() {
                let after = self.rng.between(1_000, 12_000) * MICROSECOND;
                self.push(after, Happening::Submit(trade, member));
            }
        }
    }

    pub(super) fn cross(&mut self, machine: usize, base: &EpochBase) {
        let m = &mut self.machines[machine];
        if let Err(error) = m.leave(&base.handover).and_then(|()| m.enter(base)) {
            self.breach(format!("machine {machine} cannot cross: {error}"));
            return;
        }
        let epoch = base.epoch().0;
        if epoch > self.report.epoch {
            self.report.epoch = epoch;
            self.report.renewed += u64::from(base.genesis().former_key().is_some());
            self.push(TERM_NS, Happening::Change(epoch as usize + 1));
        }
        if self.plan.torn && self.torn.chance(300) {
            // A kill between entering an epoch and erasing the secrets of the one before.
            self.report.torn += 1;
            let after = self.torn.between(1, 400) * MILLISECOND;
            self.push(after, Happening::Boot(machine));
            return;
        }
        self.boot(machine);
    }

    /// Once its disk is in another epoch, and again after a stop in the middle: the secrets of
    /// earlier ones go, and it takes part with what is left.
    pub(super) fn settle(&mut self, machine: usize) {
        let m = &mut self.machines[machine];
        if m.disk_epoch() == m.genesis.epoch() {
            // A process that starts again reads its files again, and erases what it had not.
            match m.read_keys() {
                Ok(erased) => self.report.forgotten += usize::from(erased),
                Err(error) => self.breach(format!("machine {machine} cannot go on: {error}")),
            }
            return;
        }
        self.report.erased += m.erase();
        match m.take_part() {
            Ok(carried) => self.report.carried += carried,
            Err(error) => self.breach(format!("machine {machine} cannot take part: {error}")),
        }
    }

    /// A machine's replica needs no share of the former key any more.
    pub(super) fn key_over(&mut self, machine: usize) {
        if self.plan.torn && self.torn.chance(300) {
            // A kill before it is erased.
            self.report.torn += 1;
            let after = self.torn.between(1, 400) * MILLISECOND;
            let life = self.machines[machine].member.life;
            self.push(0, Happening::Kill(machine, life, after));
            return;
        }
        let erased = self.machines[machine].forget_former();
        self.report.forgotten += usize::from(erased);
    }

    /// Who takes a machine's disk and key files finds neither dealings nor secrets of epochs
    /// before its own, and reads no share of them (A21).
    pub(super) fn search_disks(&mut self) {
        let (mut found, mut emptied) = (Vec::new(), 0);
        for (machine, m) in self.machines.iter().enumerate() {
            let epoch = m.genesis.epoch();
            if epoch != m.disk_epoch() {
                continue;
            }
            if let Some(of) = m.receivers.keys().find(|of| **of < epoch) {
                found.push(format!("machine {machine} in {epoch} has a secret of {of}"));
            }
            let (from, to) = (epoch_key(Epoch(0)), epoch_key(epoch));
            for (_, row) in m.rows(Table::Epochs, &from, &to) {
                if decode(&row, EPOCH_BASE_BYTES_MAX).is_ok_and(|base: EpochBase| base.is_whole()) {
                    found.push(format!("machine {machine} in {epoch} keeps dealings"));
                }
            }
            let (from, to) = (height_key(Height(0)), height_key(m.genesis.base().next()));
            for (_, row) in m.rows(Table::Blocks, &from, &to) {
                let Ok(block) = decode::<FinalBlock>(&row, ROW_BYTES_MAX) else {
                    continue;
                };
                // The header still says that something rode with the cut.
                let rode = block.header.payload != block.payload.cut.digest();
                emptied += usize::from(rode && block.payload.step.is_none());
                if block.payload.dealing.is_some() {
                    let height = block.header.height;
                    found.push(format!("machine {machine} keeps a dealing at {height}"));
                }
            }
            // One that is down erases it before it does anything else, and no run waits for a liar.
            if m.member.up() && self.honest(machine) && m.former_is_over() {
                if m.receivers.contains_key(&epoch) {
                    found.push(format!(
                        "machine {machine} can read the former key of {epoch}"
                    ));
                }
                if m.has_former_share() {
                    found.push(format!(
                        "machine {machine} has a share of the former key of {epoch}"
                    ));
                }
            }
            if let Some(of) = m.shares.keys().find(|of| **of < epoch) {
                found.push(format!("machine {machine} in {epoch} has shares of {of}"));
            }
            let identity = m.identity.public();
            for base in self.bases.values().filter(|base| base.epoch() < epoch) {
                let members = &base.genesis().members;
                let place = members.iter().position(|key| *key == identity);
                let Some(me) = place.map(|at| MemberId(at as u8)) else {
                    continue;
                };
                self.report.searched += 1;
                if m.receivers.values().any(|s| base.sharing(me, s).is_ok()) {
                    let of = base.epoch();
                    found.push(format!(
                        "machine {machine} in {epoch} reads its share of {of}"
                    ));
                }
            }
        }
        self.report.emptied = emptied;
        for what in found {
            self.breach(what);
        }
    }
}

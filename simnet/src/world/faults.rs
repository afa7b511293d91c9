//! The plan, carried out.

use crate::disk::SimStore;
use crate::engine::MILLISECOND;
use crate::faults::Fault;
use crate::marks::Mark;
use crate::net::Released;

use super::World;
use super::happening::Happening;

impl World {
    pub(super) fn fault(&mut self, fault: &Fault) {
        let n = self.members.len();
        match fault {
            Fault::Crash(node) => self.crash(*node),
            Fault::CrashAll => (0..n).for_each(|node| self.crash(node)),
            Fault::Restart(node) => self.boot(*node),
            Fault::RestartAll => {
                for node in 0..n {
                    self.members[node].store.set_budget(None);
                    self.boot(node);
                }
            }
            Fault::Partition(side) => {
                self.block_where(|from, to| side.contains(&from) != side.contains(&to));
            }
            Fault::Isolate(node) => self.block_where(|from, to| from == *node || to == *node),
            Fault::Split(one, two) => self.block_where(|from, to| {
                (one.contains(&from) && two.contains(&to))
                    || (two.contains(&from) && one.contains(&to))
            }),
            Fault::Deaf(side) => {
                self.block_where(|from, to| side.contains(&to) && !side.contains(&from));
            }
            Fault::Clog(node) => self.block_where(|from, to| from == *node || to == *node),
            Fault::Unclog(node) => {
                for (from, to) in pairs(n).filter(|(a, b)| a == node || b == node) {
                    self.unblock(from, to);
                }
            }
            Fault::Block(from, to) => self.fabric.block(self.now, *from, *to),
            Fault::Unblock(from, to) => self.unblock(*from, *to),
            Fault::Heal => self.heal(),
            Fault::Reset(a, b) => {
                if self.fabric.disconnect(*a, *b) {
                    self.lost(*a, *b);
                }
            }
            Fault::Loss(per_mille) => {
                for (from, to) in pairs(n) {
                    self.fabric.model_mut(from, to).loss_per_mille = *per_mille;
                }
            }
            Fault::LinkLoss(from, to, per_mille) => {
                self.fabric.model_mut(*from, *to).loss_per_mille = *per_mille;
            }
            Fault::Spike(factor) => {
                for (from, to) in pairs(n) {
                    let model = self.fabric.model_mut(from, to);
                    model.latency = model.latency.scaled(*factor);
                }
            }
            Fault::Restore => pairs(n).for_each(|(from, to)| self.fabric.restore(from, to)),
            Fault::Bandwidth(node, rate) => {
                for (from, to) in pairs(n).filter(|(from, _)| from == node) {
                    self.fabric.model_mut(from, to).bytes_per_s = *rate;
                }
            }
            Fault::SlowCpu(node, factor) => self.members[*node].cpu_factor = (*factor).max(1),
            Fault::Drift(node, ppm) => {
                let now = self.now;
                self.members[*node].clock.drift(now, *ppm);
            }
            Fault::DiskStall(node, ms) => {
                self.judge.mark(Mark::DiskStalled);
                let until = self.now.plus(ms.saturating_mul(MILLISECOND));
                let member = &mut self.members[*node];
                member.disk_until = member.disk_until.max(until);
            }
            Fault::SyncError(node) => self.members[*node].sync_fails = true,
            Fault::Burst(burst, node, count) => self.burst(*burst, *node, *count),
            Fault::Slow(node, factor) => {
                for peer in 0..n {
                    for (from, to) in [(*node, peer), (peer, *node)] {
                        let model = self.fabric.model_mut(from, to);
                        model.latency = model.latency.scaled(*factor);
                    }
                }
            }
            Fault::SlowDisk(node, factor) => self.members[*node].writer.slow_down(*factor),
            Fault::Pause(node, ms) => {
                let until = self.now.plus(ms * MILLISECOND);
                let member = &mut self.members[*node];
                member.paused_until = member.paused_until.max(until);
            }
            Fault::ClockStep(node, ms) => self.members[*node].clock.step(ms * 1_000),
            Fault::LoseDisk(node) => self.lose_disk(*node),
            Fault::Rot(node) => self.rot(*node),
            Fault::DiskBudget(node, bytes) => {
                let store = &mut self.members[*node].store;
                let room = store.bytes() + bytes;
                store.set_budget(Some(room));
            }
        }
    }

    /// At most f members may be faulty for good: liars, rotten and lost disks.
    fn spare_fault(&self, node: usize) -> bool {
        let n = self.members.len();
        let faulty = |i: usize| !self.honest[i] || self.retired[i] || self.observer[i];
        let rotting = |i: usize| self.members[i].store.is_rotten();
        let count = (0..n).filter(|i| faulty(*i) || rotting(*i)).count();
        !faulty(node) && !rotting(node) && count < (n - 1) / 3
    }

    /// The disk is gone: the member comes back as an observer.
    fn lose_disk(&mut self, node: usize) {
        if self.spare_fault(node) {
            self.crash(node);
            self.members[node].store = SimStore::new();
            self.observer[node] = true;
            self.judge.forgot(node);
            self.judge.mark(Mark::DiskLost);
        }
    }

    /// Some row, any row, can no longer be read.
    fn rot(&mut self, node: usize) {
        if self.spare_fault(node) {
            let member = &mut self.members[node];
            member.store.rot_any(&mut member.crash);
        }
    }

    fn block_where(&mut self, blocked: impl Fn(usize, usize) -> bool) {
        for (from, to) in pairs(self.members.len()) {
            if blocked(from, to) {
                self.fabric.block(self.now, from, to);
            }
        }
    }

    pub(super) fn heal(&mut self) {
        for member in &mut self.members {
            member.writer.slow_down(1);
            member.cpu_factor = 1;
            member.sync_fails = false;
        }
        for (from, to) in pairs(self.members.len()) {
            self.fabric.restore(from, to);
            self.unblock(from, to);
        }
    }

    fn unblock(&mut self, from: usize, to: usize) {
        match self.fabric.unblock(self.now, from, to) {
            Released::Frames(frames) => {
                for (_, sent, _, happening) in frames {
                    if let Happening::Frame {
                        from,
                        to,
                        class,
                        frame,
                        ..
                    } = happening
                    {
                        let again = Happening::Frame {
                            from,
                            to,
                            class,
                            sent,
                            frame,
                        };
                        self.queue.push(sent.at, 5, again);
                    }
                }
            }
            Released::Gone => {
                self.judge.mark(Mark::LongPartition);
                self.lost(from, to);
            }
        }
    }
}

/// Every directed pair.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n * n)
        .map(move |index| (index / n, index % n))
        .filter(|(a, b)| a != b)
}

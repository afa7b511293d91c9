//! Threads of members whose cost table says what more than jobs takes: inputs wait for the
//! core thread, frames for the network's, commits for the writer, and all of them for a
//! core of their machine. Without such a table none of this is there.

use fairlane_replica::{Class, Event, JobId, JobResult};

use crate::machine::{Machine, Slot, Thread};
use crate::research::Meter;

use super::World;
use super::frame::Frame;
use super::happening::Happening;

/// Something to do for a thread, and the life of the member it belongs to.
#[derive(Debug)]
pub(super) struct Task {
    life: u32,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Input(Event),
    Send {
        to: usize,
        class: Class,
        frame: Frame,
    },
    Receive {
        from: usize,
        class: Class,
        frame: Frame,
    },
    Submit {
        trade: usize,
    },
    Commit,
    /// Jobs are chosen when the thread begins.
    Jobs(Vec<(JobId, JobResult)>),
    /// The client checks a block with these orders.
    Follow(Vec<usize>),
}

impl World {
    /// The machines that a cost table asks for.
    pub(super) fn machines(n: usize, cpu: &crate::cpu::CpuModel) -> Vec<Machine<Task>> {
        if !cpu.table.has_threads() {
            return Vec::new();
        }
        match cpu.shared_cores {
            // The client is on one of its own.
            0 => (0..=n).map(|_| Machine::new(cpu.cores)).collect(),
            cores => vec![Machine::new(cores)],
        }
    }

    /// Whether threads take time.
    pub(super) const fn threaded(&self) -> bool {
        !self.machines.is_empty()
    }

    fn give(&mut self, slot: Slot, work: Work) {
        let at = if self.machines.len() > 1 { slot.0 } else { 0 };
        let life = self.members.get(slot.0).map_or(0, |member| member.life);
        self.machines[at].push(slot, Task { life, work });
        self.begin(at);
    }

    /// Free cores take what is ready.
    fn begin(&mut self, at: usize) {
        while let Some((slot, woken)) = self.machines[at].begin() {
            let cost = match slot {
                (node, Thread::Pool(_)) => self.begin_jobs(at, slot, node),
                _ => self.machines[at]
                    .at_hand(slot)
                    .map_or(0, |task| self.cost_ns(slot.0, &task.work)),
            };
            let threads = &self.cpu.table.threads;
            let wake = match slot.1 {
                Thread::Core if woken => threads.core_wake_ns,
                Thread::Network if woken => threads.network_wake_ns,
                _ => 0,
            };
            let factor = self.members.get(slot.0).map_or(1, |m| m.cpu_factor);
            let busy_ns = cost.saturating_add(wake).saturating_mul(factor);
            if let Some(recorder) = &mut self.recorder {
                recorder.thread(slot, busy_ns, woken);
            }
            let done = Happening::Done { at, slot, busy_ns };
            self.queue.push(self.now.plus(busy_ns), 3, done);
        }
    }

    fn cost_ns(&self, node: usize, work: &Work) -> u64 {
        let threads = &self.cpu.table.threads;
        let each = |ns: u64, count: usize| ns.saturating_mul(count as u64);
        match work {
            Work::Input(event) => self.cpu.step_ns(event),
            Work::Send { .. } | Work::Receive { .. } | Work::Submit { .. } => {
                threads.network_frame_ns
            }
            Work::Commit => {
                let rows = self.members[node].writer.rows();
                threads.writer_commit_ns + each(threads.writer_row_ns, rows)
            }
            Work::Jobs(_) => 0,
            Work::Follow(orders) => {
                threads.client_block_ns + each(threads.client_order_ns, orders.len())
            }
        }
    }

    /// What the pool begins with: those that wait in line are done together.
    fn begin_jobs(&mut self, at: usize, slot: Slot, node: usize) -> u64 {
        let member = &mut self.members[node];
        let Some((parts, job)) = member.cpu.take() else {
            return 0;
        };
        let cost = self.cpu.cost_ns(&job) + self.cpu.table.threads.pool_job_ns;
        if let Some(recorder) = &mut self.recorder {
            let end = self.now.plus(cost.saturating_mul(member.cpu_factor));
            recorder.job(self.now, node, job.name(), job.items(), end);
        }
        let entropy = member.entropy.bytes32();
        let result = self.run_job(node, &job, entropy);
        let items: Vec<_> = parts.iter().map(|(_, items)| *items).collect();
        let ids = parts.iter().map(|(id, _)| *id);
        let results = ids.zip(result.split(&items)).collect();
        if let Some(task) = self.machines[at].current(slot) {
            task.work = Work::Jobs(results);
        }
        cost
    }

    /// A thread is done with something.
    pub(super) fn done(&mut self, at: usize, slot: Slot, busy_ns: u64) {
        let task = self.machines[at].finish(slot, busy_ns);
        self.begin(at);
        let Some(Task { life, work }) = task else {
            return;
        };
        let node = slot.0;
        if self.members.get(node).is_some_and(|m| m.life != life) {
            return;
        }
        match work {
            Work::Input(event) => self.step(node, event),
            Work::Send { to, class, frame } => self.put_on_wire(node, to, class, &frame),
            Work::Receive { from, class, frame } => self.open(from, node, class, frame),
            Work::Submit { trade } => self.submitted(trade, node),
            Work::Commit => self.commit(node),
            Work::Jobs(results) => {
                self.start_jobs(node);
                for (id, result) in results {
                    self.input(node, Event::Computed { id, result });
                }
            }
            Work::Follow(orders) => {
                if let Some(recorder) = &mut self.recorder {
                    recorder.delivered(self.now, &orders);
                }
            }
        }
    }

    /// An input of the replica: at once, or when the core thread comes to it.
    pub(super) fn input(&mut self, node: usize, event: Event) {
        if self.threaded() {
            self.give((node, Thread::Core), Work::Input(event));
        } else {
            self.step(node, event);
        }
    }

    pub(super) fn send_later(&mut self, from: usize, to: usize, class: Class, frame: Frame) {
        self.give((from, Thread::Network), Work::Send { to, class, frame });
    }

    pub(super) fn receive_later(&mut self, from: usize, to: usize, class: Class, frame: Frame) {
        self.give((to, Thread::Network), Work::Receive { from, class, frame });
    }

    pub(super) fn submit_later(&mut self, trade: usize, node: usize) {
        self.give((node, Thread::Network), Work::Submit { trade });
    }

    /// The writer commits what waits once it gets to it.
    pub(super) fn commit_later(&mut self, node: usize) {
        let slot = (node, Thread::Writer);
        let at = if self.machines.len() > 1 { node } else { 0 };
        if self.members[node].writer.is_due() && self.machines[at].is_idle(slot) {
            self.give(slot, Work::Commit);
        }
    }

    /// Wakes as many threads of the pool as there is work for.
    pub(super) fn wake_pool(&mut self, node: usize) {
        let at = if self.machines.len() > 1 { node } else { 0 };
        let mut waiting = self.members[node].cpu.waiting();
        for thread in 0..self.cpu.pool.min(usize::from(u8::MAX)) {
            let slot = (node, Thread::Pool(thread as u8));
            if waiting == 0 {
                return;
            }
            if self.machines[at].is_idle(slot) {
                waiting -= 1;
                self.give(slot, Work::Jobs(Vec::new()));
            }
        }
    }

    /// The client hears of a block from the first member.
    pub(super) fn follow(&mut self, node: usize, orders: Vec<usize>) {
        if node == 0 && self.threaded() {
            let client = (self.members.len(), Thread::Client);
            self.give(client, Work::Follow(orders));
        }
    }

    /// Runs a job; a meter, where there is one, takes its time.
    pub(super) fn run_job(
        &mut self,
        node: usize,
        job: &fairlane_replica::Job,
        entropy: [u8; 32],
    ) -> JobResult {
        let meter = self.recorder.as_ref().and_then(|r| r.meter.as_ref());
        let began = meter.map(Meter::read);
        let result = self.crypto.run(&self.members[node].keys, job, &entropy);
        let meter = self.recorder.as_mut().and_then(|r| r.meter.as_mut());
        if let (Some(began), Some(meter)) = (began, meter) {
            meter.job(job.name(), job.items(), began);
        }
        result
    }
}

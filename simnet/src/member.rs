//! One simulated member: a replica with its disk, clock, cores and timers around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_replica::{
    CryptoContext, Effect, Event, Recovered, Replica, ReplicaConfig, Ticket, TimerId, WriteId,
    birth,
};
use fairlane_types::{Genesis, MemberId, Micros, Planted};

use crate::byz::Behaviour;
use crate::cpu::Cpu;
use crate::disk::{Change, DiskModel, SimStore, Writer};
use crate::engine::{Clock, Nanos, Owner, Purpose, Stream};
use crate::faults::Burst;

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The trader of this order.
    Trade(usize),
    /// A client of a burst.
    Stranger(Burst),
}

/// A member.
pub struct Member {
    /// Place in the committee.
    pub index: usize,
    /// Its keys.
    pub keys: CryptoContext,
    /// How it misbehaves, if it does.
    pub behaviour: Option<Box<dyn Behaviour>>,
    /// How often it lied.
    pub lies: u64,
    /// Counts starts; what belongs to an earlier life is dropped.
    pub life: u32,
    /// The replica while the process runs.
    pub replica: Option<Replica>,
    /// Disk.
    pub store: SimStore,
    /// Its writer.
    pub writer: Writer<WriteId>,
    /// Clock.
    pub clock: Clock,
    /// Cores.
    pub cpu: Cpu,
    /// When each timer is due, by slot.
    pub timers: [Option<(Micros, TimerId)>; TimerId::SLOTS],
    /// When the queue says that the earliest of them is due.
    pub alarm: Option<Nanos>,
    /// Who waits for the answer to each open request.
    pub tickets: BTreeMap<Ticket, Asker>,
    /// Nothing is handled before (SIGSTOP).
    pub paused_until: Nanos,
    /// Factor on what jobs take.
    pub cpu_factor: u64,
    /// The disk answers nothing before.
    pub disk_until: Nanos,
    /// The next sync fails.
    pub sync_fails: bool,
    /// Entropy of jobs.
    pub entropy: Stream,
    /// Disk latency.
    pub disk: Stream,
    /// What crashes leave.
    pub crash: Stream,
    /// Choices of a misbehaving member.
    pub choices: Stream,
    /// Numbers of tickets.
    pub counter: u64,
    /// The rule that it breaks on purpose.
    pub planted: Planted,
    genesis: Genesis,
}

impl core::fmt::Debug for Member {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Member")
            .field("index", &self.index)
            .field("life", &self.life)
            .field("up", &self.replica.is_some())
            .field("behaviour", &self.behaviour)
            .finish_non_exhaustive()
    }
}

impl Member {
    /// A member that was born and never started.
    #[must_use]
    pub fn new(
        index: usize,
        seed: u64,
        genesis: &Genesis,
        keys: CryptoContext,
        disk: DiskModel,
        start: Micros,
    ) -> Self {
        let stream = |purpose| Stream::new(seed, Owner::Node(index), purpose);
        let mut clock = stream(Purpose::Clock);
        let offset_us = clock.between(0, 6_000) as i64 - 3_000;
        let drift_ppm = clock.between(0, 200) as i64 - 100;
        let mut store = SimStore::new();
        let writes = birth(genesis, MemberId(index as u8));
        store
            .append(writes.into_iter().map(Change::from).collect())
            .map(|commit| store.sync(commit))
            .expect("invariant: an empty disk has room");
        Self {
            index,
            keys,
            behaviour: None,
            lies: 0,
            life: 0,
            replica: None,
            store,
            writer: Writer::new(disk),
            clock: Clock::new(start, offset_us, drift_ppm),
            cpu: Cpu::default(),
            timers: [None; TimerId::SLOTS],
            alarm: None,
            tickets: BTreeMap::new(),
            paused_until: Nanos(0),
            cpu_factor: 1,
            disk_until: Nanos(0),
            sync_fails: false,
            entropy: stream(Purpose::Entropy),
            disk: stream(Purpose::Disk),
            crash: stream(Purpose::Crash),
            choices: stream(Purpose::Byzantine),
            counter: 0,
            planted: Planted::NONE,
            genesis: genesis.clone(),
        }
    }

    /// Starts the process from what is on disk.
    ///
    /// # Errors
    /// Why the replica refuses to start, in words.
    pub fn start(&mut self) -> Result<(), String> {
        let me = self.keys.me;
        let recovered =
            Recovered::read(&self.store, &self.genesis, me).map_err(|error| error.to_string())?;
        let config = ReplicaConfig {
            genesis: self.genesis.clone(),
            me,
            identity: Arc::clone(&self.keys.identity),
            archive: false,
            planted: self.planted,
        };
        if self.keys.ceremony.is_some() {
            // The share is only in memory: it is read from the log again.
            self.keys.sharing = Arc::default();
        }
        let replica = Replica::new(config, recovered).map_err(|error| error.to_string())?;
        self.life += 1;
        self.replica = Some(replica);
        self.clock.restart();
        Ok(())
    }

    /// From the next start on it belongs to another epoch.
    pub fn enter(&mut self, genesis: Genesis, keys: CryptoContext) {
        (self.genesis, self.keys) = (genesis, keys);
    }

    /// The process dies and the power goes: the number of commits that are lost, and the
    /// writes that turn out to have reached the disk.
    pub fn crash(&mut self) -> (u64, Vec<Change>) {
        self.replica = None;
        self.life += 1;
        self.writer.reset();
        self.cpu.reset();
        self.timers = [None; TimerId::SLOTS];
        self.alarm = None;
        self.tickets.clear();
        self.paused_until = Nanos(0);
        self.store.crash(&mut self.crash)
    }

    /// Whether the process runs.
    #[must_use]
    pub const fn up(&self) -> bool {
        self.replica.is_some()
    }

    /// One step of the replica; nothing while it is down.
    pub fn step(&mut self, now: Nanos, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let local = self.clock.read(now);
        if let Some(replica) = &mut self.replica {
            replica.step(local, event, &mut effects);
        }
        effects
    }

    /// The timer that is due first, by the member's clock.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Micros, TimerId)> {
        self.timers.iter().flatten().min().copied()
    }

    /// A fresh number.
    pub const fn fresh(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

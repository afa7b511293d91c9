//! Stand-ins for what `fairlane_replica` will export; replaced by `use` when it does.

#![allow(dead_code, missing_docs)]
use std::sync::Arc;

use fairlane_types::{
    CtId, DecodeError, Envelope, Genesis, Height, MemberId, Micros, Position, Receipt, SecretKey,
    SequencedBlock,
};
use fairlane_mempool::AdmissionError;
use fairlane_replica::{Class, Row, Store, StoreError, Table, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

#[derive(Clone, Debug)]
pub enum Event {
    Start,
    Message { from: MemberId, message: Message },
    Connected(MemberId),
    Submit { ticket: Ticket, envelope: Arc<Envelope> },
    Query { ticket: Ticket, ct_id: CtId },
    Timer(TimerId),
    Stored(WriteId),
    Loaded { id: LoadId, rows: Vec<Row> },
    Computed { id: JobId, result: JobResult },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    All,
    One(MemberId),
}

#[derive(Clone, Debug)]
pub enum Effect {
    Send { to: Peers, message: Arc<Message> },
    SetTimer { id: TimerId, at: Micros },
    Store { id: WriteId, writes: Vec<Write>, durable: bool },
    Load { id: LoadId, table: Table, from: Vec<u8>, to: Vec<u8>, rows_max: usize, bytes_max: usize },
    Compute { id: JobId, job: Job },
    Emit(Arc<SequencedBlock>),
    Reply { ticket: Ticket, reply: Reply },
    Evidence(Arc<Evidence>),
    Fault { peer: MemberId, fault: Fault },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Receipt(Receipt),
    Refused(AdmissionError),
    Status(Option<Stage>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Received,
    Laned,
    Final { height: Height },
    Emitted { height: Height, position: Position },
}

#[derive(Clone, Debug)]
pub struct Evidence;
#[derive(Clone, Debug)]
pub struct Fault;
#[derive(Clone, Debug)]
pub struct Job;
#[derive(Clone, Debug)]
pub struct JobResult;
pub struct CryptoContext;
#[derive(Clone, Debug)]
pub struct Message(pub Class, pub Vec<u8>);

impl Message {
    pub fn class(&self) -> Class {
        self.0
    }
    pub fn encode(&self) -> Vec<u8> {
        self.1.clone()
    }
    pub fn decode(class: Class, bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(class, bytes.to_vec()))
    }
}

pub fn run_job(_: &CryptoContext, _: Job, _: [u8; 32]) -> JobResult {
    JobResult
}

pub struct ReplicaConfig {
    pub genesis: Genesis,
    pub me: MemberId,
    pub identity: SecretKey,
}
pub struct Recovered;
impl Recovered {
    pub fn read(_: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self)
    }
}
#[derive(Clone, Debug, Default)]
pub struct ReplicaStatus {
    pub final_height: Height,
    pub emitted_height: Height,
    pub view: u64,
    pub catching_up: bool,
    pub observer: bool,
}
pub struct Replica;
impl Replica {
    pub fn new(_: ReplicaConfig, _: Recovered) -> Self {
        Self
    }
    pub fn step(&mut self, _now: Micros, _event: Event, _out: &mut Vec<Effect>) {}
    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus::default()
    }
}

//! A node without a replica: a real store, a real inbox, and a thread that answers for
//! the core as a test tells it to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use fairlane_encryption::{
    Attestation, CERTIFICATE_BYTES, CertificateKey, CertificateSecret, StateAttestation,
    ThresholdCertificate, accept_certificate_share, certify, deal_pairing_insecure,
    deal_suite_insecure, sign_attestation,
};
use fairlane_replica::{
    AdmissionError, Emitted, Reply, Stage, Store, Table, Write, height_key, index_key, payload_key,
};
use fairlane_types::{
    BlockId, CertificateParams, ChainId, ConsensusParams, CtId, EncryptionParams, Envelope, Epoch,
    Genesis, Height, Item, LaneParams, MemberId, Micros, Millis, OrderParams, Outcome, Position,
    Receipt, Root, Scheme, SecretKey, SeededRng, Seq, SequencedBlock, Signature, encode,
};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};

use super::{ApiLimits, public, serve};
use crate::executor::{self, Executor};
use crate::handle::{NodeHandle, NodeStatus, Shared};
use crate::home::Home;
use crate::inbox::{Inbox, Input, Request};
use crate::store::{RocksStore, StoreOptions};

/// What the core says of an order.
#[derive(Clone)]
pub enum Verdict {
    Receipt,
    Refuse(AdmissionError),
    Silence,
}

/// What tests and the core's stand-in share.
pub struct Core {
    pub verdict: Verdict,
    pub stages: BTreeMap<CtId, Stage>,
}

pub struct Rig {
    pub handle: NodeHandle,
    pub core: Arc<Mutex<Core>>,
    pub store: Mutex<RocksStore>,
    heads: watch::Sender<Height>,
    last: Mutex<(Height, Root, Position)>,
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    _status: watch::Sender<NodeStatus>,
    _folder: tempfile::TempDir,
}

pub fn member_key(i: u8) -> SecretKey {
    SecretKey::from_seed([i + 1; 32])
}

pub fn genesis() -> Genesis {
    let mut rng = SeededRng::new(&[3; 32], b"deal");
    let (key, _) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), 4, &mut rng).unwrap();
    Genesis {
        chain: ChainId(7),
        time: Millis(1_000),
        experiment: true,
        start: None,
        members: (0..4).map(|i| member_key(i).public()).collect(),
        encryption: EncryptionParams::dealt(Scheme::Tdh2, key.id(), key.to_bytes()),
        certificates: None,
        lanes: LaneParams::default(),
        consensus: ConsensusParams::default(),
        order: OrderParams::default(),
    }
}

/// A committee's certificate key, and all shares of it.
pub struct Signers {
    key: CertificateKey,
    secrets: Vec<CertificateSecret>,
}

impl Signers {
    pub fn new() -> Self {
        let mut rng = SeededRng::new(&[5; 32], b"certificates");
        let (key, secrets) = deal_pairing_insecure(Epoch(0), 4, &mut rng).unwrap();
        Self { key, secrets }
    }

    /// The genesis with this key.
    pub fn genesis(&self) -> Genesis {
        let key = encode(&self.key);
        Genesis {
            certificates: Some(CertificateParams::dealt(key)),
            ..genesis()
        }
    }

    /// The committee's attestation of a block.
    pub fn attest(&self, block: &SequencedBlock) -> Attestation {
        let (chain, epoch, height, root) = (block.chain, block.epoch, block.height, block.root);
        let share = |secret: &CertificateSecret| {
            let share = sign_attestation(secret, chain, epoch, height, root);
            accept_certificate_share(&self.key, secret.member(), &share).unwrap()
        };
        let shares: Vec<_> = self.secrets[1..].iter().map(share).collect();
        let mut made = Attestation {
            epoch,
            height,
            root,
            certificate: ThresholdCertificate([0; CERTIFICATE_BYTES]),
        };
        let found = certify(&self.key, &made.subject(chain), &shares).unwrap();
        made.certificate = found.certificate.unwrap();
        made
    }
}

/// A sealed order of a development trader.
pub fn envelope(nonce: u64) -> Envelope {
    let pin = fairlane_client::Pin::new(genesis()).unwrap();
    let sealer = fairlane_client::Sealer::new(&pin, fairlane_client::dev::trader_key("alice"));
    let options = fairlane_client::SealOptions {
        nonce,
        expiry: Millis(60_000),
        lane: None,
    };
    let mut rng = SeededRng::new(&[4; 32], &nonce.to_le_bytes());
    sealer.seal_bytes(b"payload", options, &mut rng).unwrap()
}

impl Rig {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(folder.path().join("db"));
        options.reserve_bytes = 0;
        let store = RocksStore::open(&options).unwrap();
        let home = Home::create(folder.path().join("home")).unwrap();
        executor::write_genesis(&home, &executor::tests::genesis()).unwrap();
        let executor = Executor::open(&home, store.reader()).unwrap();
        let inbox = Arc::new(Inbox::default());
        let core = Arc::new(Mutex::new(Core {
            verdict: Verdict::Receipt,
            stages: BTreeMap::new(),
        }));
        let (heads, heads_seen) = watch::channel(Height(0));
        let ready = NodeStatus {
            quorum_connected: true,
            ..NodeStatus::default()
        };
        let (status, status_seen) = watch::channel(ready);
        let handle = NodeHandle::new(Shared {
            origin: Arc::new(genesis()),
            genesis: Arc::new(genesis()),
            key: Default::default(),
            me: MemberId(1),
            inbox: inbox.clone(),
            reader: store.reader(),
            status: status_seen,
            heads: heads_seen,
            blocks: broadcast::channel(4).0,
            draining: AtomicBool::new(false),
            stop: watch::channel(false).0,
            metrics: None,
            log_control: None,
            executor,
            identity: Arc::new(member_key(1)),
        });
        let thread = std::thread::spawn({
            let (inbox, core) = (inbox.clone(), core.clone());
            move || serve_core(&inbox, &core)
        });
        Self {
            handle,
            core,
            store: Mutex::new(store),
            heads,
            last: Mutex::new((Height(0), Root::default(), Position(0))),
            inbox,
            thread: Some(thread),
            _status: status,
            _folder: folder,
        }
    }

    /// Serves the public port on a free address.
    pub async fn serve(&self, limits: ApiLimits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = public(self.handle.clone(), limits.clone());
        tokio::spawn(serve(listener, router, limits, self.handle.stopping()));
        address
    }

    /// Emits a block with these orders, as the replica does: on disk, then told.
    pub fn emit(&self, envelopes: &[Envelope]) -> SequencedBlock {
        let mut last = self.last.lock().unwrap();
        let (height, parent_root, first_position) = (last.0.next(), last.1, last.2);
        let items = envelopes
            .iter()
            .enumerate()
            .map(|(i, envelope)| Item {
                position: first_position.plus(i as u64),
                label: envelope.label.clone(),
                ct_id: envelope.id(),
                stamp: Micros(5),
                outcome: Outcome::Undecryptable,
            })
            .collect();
        let block = SequencedBlock {
            chain: ChainId(7),
            epoch: Epoch(0),
            height,
            block: BlockId::default(),
            time: Millis(1_000 + height.0),
            parent_root,
            first_position,
            items,
            state: None,
            root: Root::default(),
        }
        .sealed();
        let mut writes = vec![Write::put(
            Table::Sequence,
            height_key(height),
            encode(&block),
        )];
        for (item, envelope) in block.items.iter().zip(envelopes) {
            let place = Emitted {
                height,
                position: item.position,
            };
            writes.push(Write::put(
                Table::Index,
                index_key(&item.ct_id),
                encode(&place),
            ));
            writes.push(Write::put(
                Table::Payloads,
                payload_key(&item.ct_id),
                encode(envelope),
            ));
        }
        self.store.lock().unwrap().commit(&writes, false).unwrap();
        *last = (height, block.root, block.next_position());
        self.heads.send_replace(height);
        block
    }

    /// Stores an attestation, as the replica does.
    pub fn attest(&self, attestation: &Attestation) {
        let (key, value) = (height_key(attestation.height), encode(attestation));
        let write = Write::put(Table::Attestations, key, value);
        self.store.lock().unwrap().commit(&[write], false).unwrap();
    }

    /// Stores an attested state, as the replica does.
    pub fn attest_state(&self, attested: &StateAttestation) {
        let (key, value) = (height_key(attested.height), encode(attested));
        let write = Write::put(Table::StateAttestations, key, value);
        self.store.lock().unwrap().commit(&[write], false).unwrap();
    }

    /// Forgets the blocks below a height.
    pub fn prune(&self, below: Height) {
        let write = Write::DeleteRange {
            table: Table::Sequence,
            from: height_key(Height(0)),
            to: height_key(below),
        };
        self.store.lock().unwrap().commit(&[write], false).unwrap();
    }

    pub fn verdict(&self, verdict: Verdict) {
        self.core.lock().unwrap().verdict = verdict;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.handle.stop();
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve_core(inbox: &Inbox, core: &Mutex<Core>) {
    let mut inputs = Vec::new();
    let mut silent = Vec::new();
    while inbox.turn(Duration::from_millis(50), &mut inputs) {
        for input in inputs.drain(..) {
            let Input::Request(request) = input else {
                continue;
            };
            let mut core = core.lock().unwrap();
            match request {
                Request::Query { ct_id, reply } => {
                    let stage = core.stages.get(&ct_id).copied();
                    let _ = reply.send(Reply::Status(stage));
                }
                Request::Submit { envelope, reply } => match core.verdict.clone() {
                    Verdict::Silence => silent.push(reply),
                    Verdict::Refuse(error) => {
                        let _ = reply.send(Reply::Refused(error));
                    }
                    Verdict::Receipt => {
                        let id = envelope.id();
                        core.stages.entry(id).or_insert(Stage::Laned);
                        let _ = reply.send(Reply::Receipt(receipt(id)));
                    }
                },
            }
        }
    }
}

fn receipt(ct_id: CtId) -> Receipt {
    Receipt {
        chain: ChainId(7),
        epoch: Epoch(0),
        ct_id,
        lane: MemberId(1),
        seq: Seq(1),
        entry: 0,
        stamp: Micros(9),
        signature: Signature::default(),
    }
    .signed(&member_key(1))
}

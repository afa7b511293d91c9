//! A whole node: assembled from its home folder, run, and stopped in order.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fairlane_replica::{
    BaseError, CryptoContext, EpochBase, Event, FormerSharing, RecoverError, Recovered, Replica,
    ReplicaConfig, ReplicaError, Sharing, WriteId,
};
use fairlane_types::{Epoch, Genesis, Height, MemberId, Planted, SequencedBlock};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle as Task, JoinSet};

use crate::api::{self, ApiLimits};
use crate::claim::Claim;
use crate::config::{Config, Overrides};
use crate::descriptors::{self, OPS_CONNECTIONS_MAX};
use crate::driver::{Driver, Ingress, KeyOver, Links, Parts, crypto_pool};
use crate::epochs::{EpochError, Resting, Standing};
use crate::executor::Executor;
use crate::failure::{Failure, Failures};
use crate::handle::{BLOCKS_TAIL_MAX, LogControl, NodeHandle, NodeStatus, Shared};
use crate::home::{EncryptionKeys, Home, HomeError, MemberKeys};
use crate::inbox::Inbox;
use crate::key_files::AtRest;
use crate::listening::{listen, local, when_free};
use crate::net::{NetConfig, NetError, Network};
use crate::oracle::Observer;
use crate::passphrase::Passphrase;
use crate::pool;
use crate::store::{RocksStore, StoreReader};
use crate::tamper::Tamper;
use crate::writer::Writer;

/// How long a stopping node waits for answers to the requests it has taken.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// How long it waits for its servers to close.
const SERVERS_TIME_MAX: Duration = Duration::from_secs(5);
/// How long it waits for the last holder of the database to let go, if nothing follows; and
/// how often it says that it waits.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a member goes on serving an epoch that is over.
const HAND_OVER_TIME: Duration = Duration::from_millis(200);
/// How often the database's sizes and the queues' lengths are published.
const STATS_INTERVAL: Duration = Duration::from_secs(5);

/// How to start a node.
#[derive(Clone)]
pub struct NodeOptions {
    /// Its home.
    pub home: PathBuf,
    /// Flags and environment, over `config.toml`.
    pub overrides: Overrides,
    /// Of the key files, if they are encrypted.
    pub passphrase: Option<Arc<Passphrase>>,
    /// The recorder of the process, if it has one.
    pub metrics: Option<PrometheusHandle>,
    /// Changes the log filter, if that can be done.
    pub log_control: Option<LogControl>,
    /// Limits of the API.
    pub api: ApiLimits,
    /// Threads for cryptography; by the cores if none is given.
    pub crypto_threads: Option<usize>,
    /// Lies, in a test member.
    pub tamper: Option<Arc<dyn Tamper>>,
}

impl NodeOptions {
    /// The defaults for a home.
    #[must_use]
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            overrides: Overrides::default(),
            passphrase: None,
            metrics: None,
            log_control: None,
            api: ApiLimits::default(),
            crypto_threads: None,
            tamper: None,
        }
    }
}

/// Why a node did not start; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The home folder, its files or its database.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// What is on disk cannot be started from.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// What is on disk, genesis and keys do not fit together.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The links.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A port for HTTP.
    #[error(
        "cannot listen on tcp {address} ({what}): {source}; is another node running, or the \
         address not of this machine?"
    )]
    Listen {
        /// What the port is for.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The limit of open files is too low.
    #[error(transparent)]
    Descriptors(#[from] descriptors::TooFew),
    /// This identity has no place in the epoch that the folder is in, or has left it.
    #[error("the folder is in epoch {0}, in which this identity is no member any more, or not yet")]
    NotAMember(Epoch),
    /// What is on disk of its epochs.
    #[error("what is on disk of its epochs: {0}")]
    Epoch(BaseError),
    /// The system.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<EpochError> for StartError {
    fn from(error: EpochError) -> Self {
        match error {
            EpochError::Home(error) => Self::Home(error),
            EpochError::Recover(error) => Self::Recover(error),
            EpochError::Base(error) => Self::Epoch(error),
        }
    }
}

impl From<fairlane_replica::StoreError> for StartError {
    fn from(error: fairlane_replica::StoreError) -> Self {
        Self::Home(error.into())
    }
}

/// How a node ended, in order.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// Its epoch is over, and this is what the next one begins with.
    Epoch(Arc<EpochBase>),
}

/// Where a node listens, with the ports it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Links, UDP.
    pub quic: SocketAddr,
    /// API, TCP.
    pub api: SocketAddr,
    /// Operators, TCP.
    pub ops: SocketAddr,
}

/// Keeps the shares of an epoch with a former key by themselves, and erases what gives that
/// key's share where the disk shows that it is over: a stop may have come before.
fn secure(
    home: &Home,
    genesis: &Genesis,
    me: MemberId,
    sharing: &Sharing,
    last: Option<&SequencedBlock>,
) -> Result<(), StartError> {
    let (Some((_, until)), Some(former)) = (genesis.former_key(), &sharing.former) else {
        return Ok(());
    };
    home.secure_shares(genesis, me, sharing)?;
    if last.is_some_and(|last| last.time > until) {
        former.forget();
        home.forget_former(genesis.epoch())?;
    }
    Ok(())
}

/// What is done once the former key is over.
fn key_over(home: &Home, epoch: Epoch, former: Option<&FormerSharing>) -> Option<KeyOver> {
    let (home, former) = (home.clone(), former?.clone());
    Some(Box::new(move || {
        former.forget();
        let erased = home.forget_former(epoch)?;
        tracing::info!(%epoch, erased, "the key of the epoch before is over: its share is erased");
        Ok(())
    }))
}

/// A running node. It is stopped by [`Node::run`]; dropping it ends the process's part of
/// it without an orderly end, as a crash would.
pub struct Node {
    handle: NodeHandle,
    addresses: Addresses,
    network: Network,
    inbox: Arc<Inbox>,
    core: JoinHandle<()>,
    failures: Failures,
    servers: JoinSet<()>,
    stats: Task<()>,
    /// What executes, if anything does: reads the database until it has ended.
    executing: Option<Task<()>>,
    observing: Option<Task<()>>,
    /// What the next epoch begins with, once this one is over.
    ending: watch::Receiver<Option<Arc<EpochBase>>>,
    /// Goes last: until then nobody else may have folder and identity.
    claim: Claim,
}

impl Node {
    /// Reads the home, recovers, and starts all parts. Must be called inside a tokio
    /// runtime with at least two workers.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        let home = Home::open(options.home.clone())?.with_passphrase(options.passphrase.clone());
        let config = Config::load(&home, options.overrides.clone())?;
        let (resting, standing) = blocking(rest_step(&home, &config)).await?;
        Self::start_from(options, resting, standing).await
    }

    /// As [`start`](Self::start), on a database that is open already and was found to stand so.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_from(
        options: NodeOptions,
        resting: Resting,
        standing: Standing,
    ) -> Result<Self, StartError> {
        let home = Home::open(options.home.clone())?.with_passphrase(options.passphrase.clone());
        let config = Config::load(&home, options.overrides.clone())?;
        let origin = home.genesis()?;
        if !standing.runs() {
            return Err(StartError::NotAMember(standing.epoch()));
        }
        let Standing { genesis, base, .. } = standing;
        let committee = genesis.validate().map_err(ReplicaError::from)?;
        let at_rest = home.at_rest(&genesis)?;
        let MemberKeys {
            me,
            identity,
            encryption,
            certificates,
        } = match &base {
            Some(base) => home.keys_in(base)?,
            None => home.keys(&genesis)?,
        };
        let (sharing, ceremony) = match encryption {
            EncryptionKeys::Dealt(key, share) => (Sharing::known(key, share, certificates), None),
            EncryptionKeys::Reshared(sharing) => {
                let last = resting.last_block()?;
                secure(&home, &genesis, me, &sharing, last.as_ref())?;
                (Arc::new(OnceLock::from(sharing)), None)
            }
            EncryptionKeys::Ceremony(keys) => (Arc::default(), Some(keys)),
        };
        let identity = Arc::new(identity);
        let peers = match &base {
            Some(base) => config.later_peers(&base.next),
            None => config.peer_addresses(&home.config_path(), me, &committee)?,
        };

        let mut limits = config.api.limits(options.api);
        limits.connections_max =
            descriptors::connections(descriptors::raise(), limits.connections_max)?;
        let api_listener = listen("api", config.listen_api).await?;
        let ops_listener = listen("ops", config.listen_ops).await?;
        let (store, claim) = resting.into_parts();
        let (store, replica) =
            blocking(recover_step(store, &config, &genesis, me, &identity)).await?;
        let reader = store.reader();
        let (place, from) = (home.clone(), reader.clone());
        let executor = blocking(move || Ok(Executor::open(&place, from)?)).await?;
        let observer = observer(&home, &config, me, &identity, executor.as_ref())?;
        let emitted = reader.emitted_range()?.map_or(Height(0), |(_, last)| last);
        report_start(&genesis, me, at_rest, &replica);

        let failures = Failures::default();
        let inbox = Arc::new(Inbox::default());
        let links = Links::default();
        let ingress = Arc::new(Ingress::new(Arc::clone(&inbox), Arc::clone(&links)));
        let reporting = Arc::clone(&inbox);
        let stored =
            move |ids: &[WriteId]| reporting.results(ids.iter().map(|id| Event::Stored(*id)));
        let writer = Writer::start(store, stored, &failures)?;
        let former = sharing.get().and_then(|sharing| sharing.former.clone());
        let epoch = genesis.epoch();
        let context = CryptoContext {
            chain: genesis.chain,
            epoch: genesis.epoch(),
            committee: committee.clone(),
            me,
            identity: Arc::<fairlane_types::SecretKey>::clone(&identity),
            sharing,
            ceremony,
        };
        let threads = options.crypto_threads.unwrap_or_else(pool::default_threads);
        let pool = crypto_pool(threads, context, Arc::clone(&inbox), &failures)?;
        let quorum = committee.quorum();
        let net = NetConfig {
            me,
            committee,
            genesis: genesis.hash(),
            listen: config.listen_quic,
            peers,
        };
        let probe = || async { std::net::UdpSocket::bind(net.listen).map(drop) };
        // Whatever is wrong with the address, who opens it says so.
        let _ = when_free(probe).await;
        let network = Network::start(&net, &identity, ingress)?;

        let status = watch::Sender::new(NodeStatus::default());
        let heads = watch::Sender::new(emitted);
        let (blocks, _) = broadcast::channel(BLOCKS_TAIL_MAX);
        let (ended, ending) = watch::channel(None);
        let handle = NodeHandle::new(Shared {
            origin: Arc::new(origin),
            genesis: Arc::new(genesis),
            key: Default::default(),
            me,
            inbox: Arc::clone(&inbox),
            reader: reader.clone(),
            status: status.subscribe(),
            heads: heads.subscribe(),
            blocks: blocks.clone(),
            draining: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            metrics: options.metrics.clone(),
            log_control: options.log_control.clone(),
            executor: executor.clone(),
            identity: Arc::clone(&identity),
        });
        let addresses = Addresses {
            quic: network.address(),
            api: local("api", &api_listener)?,
            ops: local("ops", &ops_listener)?,
        };
        let key_over = key_over(&home, epoch, former.as_ref());
        let parts = Parts {
            replica,
            inbox: Arc::clone(&inbox),
            writer,
            pool,
            outbound: network.outbound(),
            links,
            reader: reader.clone(),
            status,
            heads,
            blocks,
            ended,
            quorum,
            me,
            key_over,
            tamper: options.tamper,
        };
        if let Some(executor) = &executor {
            // Before any block: nothing leaves the disk that a restart would need.
            inbox.results([Event::Executed(executor.saved())]);
        }
        let driver = Driver::new(parts, &failures)?;
        let core = failures.spawn("fairlane-core", move || driver.run())?;

        let executing = executor.map(|executor| {
            let telling = Arc::clone(&inbox);
            let tell = move |event| telling.results([event]);
            tokio::spawn(executor.run(handle.heads(), handle.stopping(), tell))
        });
        let observing = observer.map(|observer| tokio::spawn(observer.run(handle.clone())));
        let mut servers = JoinSet::new();
        let stopping = handle.stopping();
        let public = api::public(handle.clone(), limits.clone());
        servers.spawn(api::serve(
            api_listener,
            public,
            limits.clone(),
            stopping.clone(),
        ));
        let limits = ApiLimits {
            connections_max: OPS_CONNECTIONS_MAX,
            ..limits
        };
        let ops = api::ops(handle.clone(), limits.clone());
        servers.spawn(api::serve(ops_listener, ops, limits, stopping));
        let stats = tokio::spawn(publish_stats(reader, Arc::clone(&inbox), options.metrics));
        tracing::info!(member = %me, quic = %addresses.quic, api = %addresses.api,
            ops = %addresses.ops, "node started");
        Ok(Self {
            handle,
            addresses,
            network,
            inbox,
            core,
            failures,
            servers,
            stats,
            executing,
            observing,
            ending,
            claim,
        })
    }

    /// For the rest of the process.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Runs until `shutdown` is ready, [`NodeHandle::stop`] is called, or a part fails;
    /// then stops in order: no new requests, answers to those taken, links, core, sync.
    ///
    /// # Errors
    /// The [`Failure`] that stopped it: exit code 1. Nothing acknowledged is lost (C7).
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Ended, Failure> {
        let mut stop = self.handle.stopping();
        let mut ending = self.ending.clone();
        let over = async {
            let base = ending.wait_for(Option::is_some).await;
            let base = base.ok().and_then(|base| base.clone());
            match base {
                Some(base) => Some(base),
                // The core is gone: that has its own end.
                None => std::future::pending().await,
            }
        };
        let (failure, base) = tokio::select! {
            failure = self.failures.wait() => (Some(failure), None),
            base = over => (None, base),
            () = shutdown => (None, None),
            _ = stop.wait_for(|stop| *stop) => (None, None),
        };
        match (&failure, &base) {
            (Some(_), _) => {}
            (None, Some(base)) => {
                tracing::info!(next = %base.epoch(), "this epoch is over");
                // What was said last is on its way to members that are not so far.
                tokio::time::sleep(HAND_OVER_TIME).await;
            }
            (None, None) => {
                tracing::info!("draining");
                self.drain().await;
            }
        }
        self.shut_down(base.is_some()).await;
        match failure {
            Some(failure) => Err(failure),
            None => Ok(base.map_or(Ended::Stopped, Ended::Epoch)),
        }
    }

    /// Takes no more requests and waits for the answers to those taken.
    async fn drain(&self) {
        self.handle.drain();
        let mut status = self.handle.status();
        // A status that is older than the last request would show none open.
        let answered = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(status.wait_for(|status| status.requests_open == 0).await);
        };
        tokio::select! {
            result = tokio::time::timeout(DRAIN_TIME_MAX, answered) => {
                if result.is_err() {
                    tracing::warn!("stopping with requests that have no answer yet");
                }
            }
            _ = self.failures.wait() => {}
        }
    }

    /// Stops all parts. If this process goes on `onward` with the next epoch, it needs the
    /// database for itself: then nothing is cut off before that is closed.
    async fn shut_down(self, onward: bool) {
        let Self {
            handle,
            network,
            inbox,
            core,
            failures,
            mut servers,
            stats,
            executing,
            observing,
            claim,
            ..
        } = self;
        handle.stop();
        stats.abort();
        if let Some(observing) = observing {
            observing.abort();
        }
        let store_closed = handle.reader().closed();
        network.stop().await;
        inbox.close();
        // The core ends with the writer's last sync.
        let joined = tokio::task::spawn_blocking(move || core.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the core thread did not end in order");
        }
        let closed = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(SERVERS_TIME_MAX, closed)
            .await
            .is_err()
        {
            tracing::warn!("servers were cut off");
        }
        drop(handle);
        if let Some(executing) = executing {
            // A turn or a snapshot that is under way is finished.
            drop(waited_for("the execution of blocks", executing).await);
        }
        if onward {
            waited_for("the database", store_closed).await;
        } else if (tokio::time::timeout(STORE_TIME_MAX, store_closed).await).is_err() {
            tracing::debug!("somebody still holds the database");
        }
        drop(claim);
        if failures.first().is_none() {
            tracing::info!("stopped; everything is on disk");
        }
    }
}

/// Waits as long as it takes, and says so.
async fn waited_for<T>(what: &str, end: impl Future<Output = T>) -> T {
    let mut end = std::pin::pin!(end);
    loop {
        match tokio::time::timeout(STORE_TIME_MAX, end.as_mut()).await {
            Ok(ended) => return ended,
            Err(_) => tracing::warn!(what, "the node stops as soon as this has ended"),
        }
    }
}

/// What makes this member's observations, if it is to make any.
fn observer(
    home: &Home,
    config: &Config,
    me: MemberId,
    identity: &fairlane_types::SecretKey,
    executor: Option<&Executor>,
) -> Result<Option<Observer>, StartError> {
    let Some(oracle) = config.oracle.clone() else {
        return Ok(None);
    };
    let Some(executor) = executor else {
        tracing::warn!("config.toml has an oracle, but this member does not execute");
        return Ok(None);
    };
    if !executor.is_oracle(&identity.public()) {
        tracing::warn!("config.toml has an oracle, but this member's prices do not count yet");
    }
    let refuse = |reason: String| HomeError::content(&home.config_path(), reason);
    let observer = Observer::new(oracle, home, me, identity).map_err(refuse)?;
    Ok(Some(observer))
}

/// Opens the database and says where it stands.
fn rest_step(
    home: &Home,
    config: &Config,
) -> impl FnOnce() -> Result<(Resting, Standing), StartError> + Send + 'static {
    let (home, config) = (home.clone(), config.clone());
    move || {
        let resting = Resting::open(&home, &config)?;
        let standing = resting.standing()?;
        Ok((resting, standing))
    }
}

/// Makes the replica from the database; may take a while.
fn recover_step(
    store: RocksStore,
    config: &Config,
    genesis: &Genesis,
    me: MemberId,
    identity: &Arc<fairlane_types::SecretKey>,
) -> impl FnOnce() -> Result<(RocksStore, Replica), StartError> + Send + 'static {
    let (genesis, identity) = (genesis.clone(), Arc::clone(identity));
    let archive = config.store.archive;
    move || {
        let start = Instant::now();
        let recovered = Recovered::read(&store, &genesis, me)?;
        let replica = Replica::new(
            ReplicaConfig {
                genesis,
                me,
                identity,
                archive,
                planted: Planted::NONE,
            },
            recovered,
        )?;
        tracing::info!(
            ms = start.elapsed().as_millis() as u64,
            "recovered from disk"
        );
        Ok((store, replica))
    }
}

async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(step).await {
        Ok(result) => result,
        Err(error) => {
            let message = error.to_string();
            Err(StartError::Failure(Failure::Panic {
                part: "recovery",
                message,
            }))
        }
    }
}

fn report_start(genesis: &Genesis, me: MemberId, at_rest: AtRest, replica: &Replica) {
    let status = replica.status();
    tracing::info!(member = %me, chain = %genesis.chain, genesis = %genesis.hash(),
        final_height = %status.final_height, emitted_height = %status.emitted_height, "starting");
    if genesis.experiment {
        tracing::warn!("experiment: this chain allows insecure keys; it protects nobody's orders");
    }
    if at_rest == AtRest::Plain {
        tracing::warn!(
            "plain keys: whoever reads this folder can be this member; `fairlane keys passphrase` \
             encrypts them"
        );
    }
    if status.observer {
        tracing::warn!(
            "observer: this folder has no birth record of the identity, so the node does not \
             vote; its data folder was lost, or is not the one that the identity was made with"
        );
    }
}

async fn publish_stats(reader: StoreReader, inbox: Arc<Inbox>, metrics: Option<PrometheusHandle>) {
    let mut ticks = tokio::time::interval(STATS_INTERVAL);
    loop {
        ticks.tick().await;
        inbox.publish_lengths();
        if let Some(metrics) = &metrics {
            metrics.run_upkeep();
        }
        let reader = reader.clone();
        let published = tokio::task::spawn_blocking(move || reader.publish_stats()).await;
        if let Ok(Err(error)) = published {
            tracing::warn!(%error, "sizes of the database are not known");
        }
    }
}

/// Ready when the process is asked to end: SIGTERM or Ctrl-C.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM is not handled");
                std::future::pending::<()>().await;
            }
        }
    };
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C is not handled");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = terminate => tracing::info!("SIGTERM"),
        () = interrupt => tracing::info!("interrupted"),
    }
}

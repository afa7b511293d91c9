//! A committee on this machine: folders, members, and clients to them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fairlane_client::wire::ExecutedBody;
use fairlane_client::{Committee, Member};
use fairlane_execution::params::ExecutionGenesis;
use fairlane_node::failure::Failure;
use fairlane_node::handle::NodeHandle;
use fairlane_node::node::{Ended, Node, NodeOptions};
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_node::testnet::{self, InitOptions, Testnet, init};
use fairlane_types::{Combining, Digest, Height, OrderRule, Root, Scheme, TieSource};
use tokio::task::JoinSet;

use crate::args::Lie;
use crate::children::{Children, Place, Program};
use crate::exit::{Exit, Outcome, Problem};

/// Space that a throw-away committee leaves on the disk, MiB.
const RESERVE_MB: u64 = 256;
/// Members may lag behind the one that was followed, but not for longer.
const CATCH_UP_MAX: Duration = Duration::from_secs(15);
/// Ports between two members, as `testnet init` lays them out.
const PORTS_PER_MEMBER: u16 = 10;

/// Where the folders are and what becomes of them.
pub enum Folder {
    /// Removed at the end.
    Temporary(tempfile::TempDir),
    /// Kept.
    Kept(PathBuf),
}

impl Folder {
    /// A new folder: the one asked for, or a temporary one.
    pub fn new(home: Option<PathBuf>, keep: bool) -> Outcome<Self> {
        if let Some(path) = home {
            if path.exists() {
                let what = format!("{} exists already", path.display());
                return Err(Problem::preflight(what).next("choose another folder, or remove it"));
            }
            return Ok(Self::Kept(path));
        }
        let folder = tempfile::Builder::new()
            .prefix("fairlane-devnet-")
            .tempdir()?;
        Ok(if keep {
            Self::Kept(folder.keep())
        } else {
            Self::Temporary(folder)
        })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

/// What a chain is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Encryption scheme.
    pub scheme: Scheme,
    /// Order rule.
    pub rule: OrderRule,
    /// What breaks ties.
    pub tie: TieSource,
    /// Blocks between two commitments to the order state.
    pub snapshot_interval: u32,
    /// Who combines, if not what follows from the size.
    pub combining: Option<Combining>,
    /// A dealer makes the encryption key.
    pub dealer: bool,
}

/// How members run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In this process.
    InProcess,
    /// As child processes, of which the last ones lie about decryption shares.
    Children {
        /// Number of liars.
        liars: usize,
        /// How they lie; in all ways by turns if it is not said.
        lie: Option<Lie>,
    },
}

enum Members {
    Children(Children),
    InProcess(JoinSet<Result<Ended, Failure>>, Vec<NodeHandle>),
}

/// A running committee on this machine.
pub struct LocalNet {
    /// Clients of the public ports, in the order of members.
    pub committee: Committee,
    /// Clients of the ops ports.
    pub ops: Vec<Member>,
    /// Public addresses.
    pub addresses: Vec<SocketAddr>,
    /// Ops addresses.
    pub ops_addresses: Vec<SocketAddr>,
    /// The genesis file.
    pub genesis_path: PathBuf,
    homes: Vec<PathBuf>,
    members: Members,
    folder: Folder,
}

/// The same height's root at every member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Last common height.
    pub height: Height,
    /// Root there, of the first member.
    pub root: Root,
    /// Whether all have it.
    pub same: bool,
}

/// What the clearing houses made of the same height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutedAgreement {
    /// The height.
    pub height: Height,
    /// State root there, of the first member.
    pub state_root: Digest,
    /// Whether all have it, and the same receipts.
    pub same: bool,
    /// Fills at the first member.
    pub fills: u64,
    /// Open positions there.
    pub positions: u64,
}

impl LocalNet {
    /// Makes the folders, starts the members and waits until all are ready.
    /// With the genesis of a clearing house, members execute, and observe made-up prices.
    pub async fn start(
        members: u8,
        chain: Chain,
        folder: Folder,
        kind: Kind,
        execution: Option<ExecutionGenesis>,
    ) -> Outcome<Self> {
        let mut options = InitOptions::new(folder.path(), members.into());
        options.port = free_ports(members)?;
        options.reserve_mb = RESERVE_MB;
        options.scheme = chain.scheme;
        options.rule = chain.rule;
        options.tie = chain.tie;
        options.combining = chain.combining;
        options.dealer = chain.dealer;
        options.oracle = execution.as_ref().map(crate::dev_markets::prices);
        options.execution = execution;
        let net = tokio::task::spawn_blocking(move || {
            init(&options, |genesis| {
                genesis.order.snapshot_interval = chain.snapshot_interval
            })
        })
        .await
        .map_err(Problem::failed)?
        .map_err(Problem::preflight)?;
        let client = |address: SocketAddr| Member::new(&address.to_string());
        let addresses: Vec<_> = net.members.iter().map(|m| m.config.listen_api).collect();
        let ops_addresses: Vec<_> = net.members.iter().map(|m| m.config.listen_ops).collect();
        let apis = addresses.iter().copied().map(client);
        let ops = ops_addresses.iter().copied().map(client);
        let apis = apis.collect::<Result<Vec<_>, _>>()?;
        let ops = ops.collect::<Result<Vec<_>, _>>()?;
        let running = match kind {
            Kind::InProcess => start_here(&net, &ops).await?,
            Kind::Children { liars, lie } => {
                Members::Children(Children::start(places(&net, liars, lie)?).await?)
            }
        };
        // Ready members have their key.
        let first = apis.first().ok_or_else(|| Problem::usage("no members"))?;
        let pin = first.pin(net.genesis.clone()).await?;
        Ok(Self {
            committee: Committee::new(pin, apis),
            ops,
            addresses,
            ops_addresses,
            genesis_path: net.genesis_path,
            homes: net
                .members
                .iter()
                .map(|m| m.home.root().to_owned())
                .collect(),
            members: running,
            folder,
        })
    }

    /// Where the folders are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process ids of the members; empty when they run in this one.
    pub fn pids(&self) -> Vec<Option<u32>> {
        match &self.members {
            Members::Children(children) => children.pids(),
            Members::InProcess(..) => Vec::new(),
        }
    }

    /// Compares roots at the last common height, each through the member's own API, once
    /// all have come as far as `at_least`.
    pub async fn agreement(&self, at_least: Height) -> Outcome<Agreement> {
        let until = Instant::now() + CATCH_UP_MAX;
        let mut height = self.common_height().await?;
        while height < at_least && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
            height = self.common_height().await?;
        }
        let (mut root, mut same) = (None, height >= at_least);
        for member in self.committee.members() {
            let found = match height {
                Height(0) => Root::default(),
                height => member.block_at(height).await?.root,
            };
            same &= *root.get_or_insert(found) == found;
        }
        Ok(Agreement {
            height,
            root: root.unwrap_or_default(),
            same,
        })
    }

    /// Compares what the members' clearing houses made of a height.
    pub async fn executed(&self, height: Height) -> Outcome<ExecutedAgreement> {
        let until = Instant::now() + CATCH_UP_MAX;
        let mut first: Option<ExecutedBody> = None;
        let mut same = true;
        for member in self.committee.members() {
            let found = loop {
                match member.executed(height).await {
                    Ok(found) => break found,
                    Err(error) if Instant::now() >= until => return Err(error.into()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            };
            same &= *first.get_or_insert_with(|| found.clone()) == found;
        }
        let status = match self.ops.first() {
            Some(member) => member.status().await?.execution,
            None => None,
        };
        Ok(ExecutedAgreement {
            height,
            state_root: first.map(|body| body.state_root).unwrap_or_default(),
            same,
            fills: status.as_ref().map_or(0, |status| status.fills),
            positions: status.as_ref().map_or(0, |status| status.positions),
        })
    }

    /// Waits until every market of the first member has a fresh price.
    pub async fn priced(&self) -> Outcome {
        let until = Instant::now() + CATCH_UP_MAX;
        let Some(member) = self.committee.members().first() else {
            return Ok(());
        };
        loop {
            let markets = member.markets().await?;
            if markets.iter().all(|market| market.oracle == "fresh") {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Problem::failed("the markets have no prices"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn common_height(&self) -> Outcome<Height> {
        let mut height = Height(u64::MAX);
        for member in self.committee.members() {
            height = height.min(Height(member.info().await?.head.height));
        }
        Ok(height)
    }

    /// Stops every member, then compares roots once more in their own databases. The
    /// comparison is made even if a member did not stop in order; that is the second part.
    pub async fn stop(self) -> (Outcome<Agreement>, Outcome) {
        let stopped = match self.members {
            Members::Children(children) => children.stop().await,
            Members::InProcess(tasks, handles) => {
                handles.iter().for_each(NodeHandle::stop);
                drop(handles);
                all_ended(tasks).await
            }
        };
        let homes = self.homes;
        let read = tokio::task::spawn_blocking(move || agreement_on_disk(&homes));
        let agreement = read.await.map_err(Problem::failed);
        drop(self.folder);
        (agreement.and_then(|agreement| agreement), stopped)
    }
}

async fn all_ended(mut tasks: JoinSet<Result<Ended, Failure>>) -> Outcome {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Problem::failed)?.map_err(Problem::failed)?;
    }
    Ok(())
}

fn places(net: &Testnet, liars: usize, lie: Option<Lie>) -> Outcome<Vec<Place>> {
    let honest = net.members.len().saturating_sub(liars);
    let place = |(index, member): (usize, &testnet::Member)| {
        let program = if index < honest {
            Program::Node
        } else {
            Program::liar(lie)?
        };
        Ok(Place {
            home: member.home.root().to_owned(),
            ops: member.config.listen_ops.to_string(),
            program,
        })
    };
    net.members.iter().enumerate().map(place).collect()
}

async fn start_here(net: &Testnet, ops: &[Member]) -> Outcome<Members> {
    let (mut tasks, mut handles) = (JoinSet::new(), Vec::new());
    for member in &net.members {
        let mut options = NodeOptions::new(member.home.root());
        options.crypto_threads = Some(1);
        let node = Node::start(options).await.map_err(Problem::failed)?;
        handles.push(node.handle());
        tasks.spawn(node.run(std::future::pending()));
    }
    for member in ops {
        let ready = async {
            while !member.status().await.is_ok_and(|status| status.ready) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), ready)
            .await
            .is_err()
        {
            let what = format!("the member at {} is not ready", member.address());
            return Err(Problem::new(Exit::Unreachable, what));
        }
    }
    Ok(Members::InProcess(tasks, handles))
}

fn agreement_on_disk(homes: &[PathBuf]) -> Outcome<Agreement> {
    let mut stores = Vec::new();
    let mut height = Height(u64::MAX);
    for home in homes {
        let home = fairlane_node::home::Home::open(home).map_err(Problem::failed)?;
        let mut options = StoreOptions::new(home.data_path());
        options.reserve_bytes = RESERVE_MB << 20;
        let store = RocksStore::open(&options).map_err(Problem::failed)?;
        let range = store.reader().emitted_range().map_err(Problem::failed)?;
        height = height.min(range.map_or(Height(0), |(_, last)| last));
        stores.push(store);
    }
    let (mut root, mut same) = (None, true);
    for store in &stores {
        let block = store.reader().block(height).map_err(Problem::failed)?;
        let found = block.map_or_else(Root::default, |block| block.root);
        same &= *root.get_or_insert(found) == found;
    }
    Ok(Agreement {
        height,
        root: root.unwrap_or_default(),
        same,
    })
}

/// A first port such that every port of the committee is free now.
fn free_ports(members: u8) -> Outcome<u16> {
    let span = u16::from(members) * PORTS_PER_MEMBER;
    // Below the ports that systems give to outgoing connections.
    let first = (std::process::id() as u16 % 100) * 100;
    let candidates = (0..100_u16).map(|k| 21_000 + (first + k * 100) % 10_000);
    let free = |base: u16| {
        (0..u16::from(members)).all(|member| {
            let port = base + member * PORTS_PER_MEMBER;
            let tcp = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && tcp(port + 1) && tcp(port + 2)
        })
    };
    candidates
        .filter(|base| base.checked_add(span).is_some())
        .find(|base| free(*base))
        .ok_or_else(|| Problem::preflight("no free ports between 21000 and 32000"))
}

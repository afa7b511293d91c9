//! Links between members: QUIC with mutual TLS 1.3 on raw ed25519 identity keys (RFC
//! 7250), pinned to the committee.
//!
//! One connection per pair, dialled by the lower id; one unidirectional stream per
//! [`Class`] and direction, with the stream's priority by class. A stream begins with one
//! byte, the code of its class; frames follow: length (u32, little-endian), then bytes.
//! A link that breaks a rule is closed with a [`LinkFault`] and counted; the dialler tries
//! again for ever (A24, A29). Frames may be lost with a link; the core is told when a link
//! comes up and says again what the peer may have missed.

mod dial;
mod fault;
mod frame;
mod gate;
mod link;
mod queue;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fairlane_replica::Class;
use fairlane_types::{Committee, Digest, MemberId, SecretKey};
use quinn::{Connection, Endpoint, VarInt};
use tokio::sync::{Semaphore, watch};

pub use fault::{FaultCounts, LinkFault};
pub use frame::{FRAME_CHARGE_MIN, inbound_bytes_max};
pub use gate::{
    HANDSHAKES_OPEN_MAX, HANDSHAKES_OPEN_PER_ADDRESS_MAX, HANDSHAKES_PER_S_PER_ADDRESS_MAX,
};
pub use queue::{outgoing_bytes_max, outgoing_frames_max};
pub use tls::ALPN;

use crate::failure::lock;
use crate::inbox::Charge;
use gate::Gate;
use queue::{Outgoing, Pushed};

/// A handshake that takes longer is given up, on both sides.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// A link that is silent for so long is gone.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
/// A quiet link says so this often.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long closing waits for the peers to hear of it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Links of one authenticated member that wait for the one before to end.
const LINKS_WAITING_MAX: usize = 1;

/// What the network tells the node.
pub trait Inbound: Send + Sync + 'static {
    /// A link came up.
    fn connected(&self, peer: MemberId);
    /// A link went down.
    fn disconnected(&self, peer: MemberId);
    /// A frame arrived. The charge bounds what a member has unprocessed: it is to be kept
    /// until the frame is done with.
    ///
    /// # Errors
    /// [`LinkFault::Undecodable`] ends the link.
    fn frame(
        &self,
        from: MemberId,
        class: Class,
        bytes: Bytes,
        charge: Charge,
    ) -> Result<(), LinkFault>;
}

/// Who and where.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// This member.
    pub me: MemberId,
    /// The members and their keys.
    pub committee: Committee,
    /// Peers of another genesis are refused.
    pub genesis: Digest,
    /// Address to listen on, UDP.
    pub listen: SocketAddr,
    /// Host and port of the other members; names are looked up at every dial.
    pub peers: BTreeMap<MemberId, String>,
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The socket.
    #[error(
        "cannot listen on udp {address}: {source}; is another node running, or the address not \
         of this machine?"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// TLS refused the identity key.
    #[error("transport keys: {0}")]
    Tls(String),
}

/// What all tasks share.
struct Shared {
    me: MemberId,
    committee: Committee,
    server_name: String,
    tls: tls::Tls,
    peers: Vec<Option<Peer>>,
    addresses: BTreeMap<MemberId, String>,
    inbound: Arc<dyn Inbound>,
    gate: Arc<Gate>,
    faults: FaultCounts,
    stop: watch::Sender<bool>,
}

/// State of one other member, over all its links.
struct Peer {
    outgoing: Outgoing,
    /// Bytes that its frames may take up before the core is done with them, by class.
    budgets: [Arc<Semaphore>; Class::ALL.len()],
    /// The link that is up.
    link: Mutex<Option<Connection>>,
    /// Held by the link that is up.
    slot: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

impl Peer {
    fn new(member: MemberId) -> Self {
        let budget = |class: Class| Arc::new(Semaphore::new(inbound_bytes_max(class)));
        Self {
            outgoing: Outgoing::new(member),
            budgets: Class::ALL.map(budget),
            link: Mutex::new(None),
            slot: tokio::sync::Mutex::new(()),
            waiting: AtomicUsize::new(0),
        }
    }

    fn close(&self, fault: LinkFault) {
        if let Some(link) = lock(&self.link).as_ref() {
            close(link, fault);
        }
    }
}

impl Shared {
    fn peer(&self, member: MemberId) -> Option<&Peer> {
        self.peers.get(member.index()).and_then(Option::as_ref)
    }
}

fn close(connection: &Connection, fault: LinkFault) {
    connection.close(VarInt::from_u32(fault.code()), fault.name().as_bytes());
}

/// Sends to members; cheap to clone, never blocks.
#[derive(Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

impl Outbound {
    /// Queues a frame for one member. Without a link it is dropped.
    pub fn send(&self, to: MemberId, class: Class, frame: Bytes) {
        let Some(peer) = self.shared.peer(to) else {
            return; // this member itself, or nobody
        };
        if frame.is_empty() || frame.len() > class.frame_bytes_max() {
            // A bug of this node: its peers would close the link.
            tracing::error!(
                class = class.name(),
                bytes = frame.len(),
                "frame out of limits"
            );
            metrics::counter!("fairlane_net_unsendable_total", "class" => class.name())
                .increment(1);
            return;
        }
        if peer.outgoing.push(class, frame) == Pushed::Overflow {
            self.shared.faults.count(LinkFault::Overflow);
            tracing::warn!(peer = %to, class = class.name(), "peer is too slow: closing the link");
            peer.close(LinkFault::Overflow);
        }
    }

    /// Queues a frame for every other member; the bytes are shared.
    pub fn broadcast(&self, class: Class, frame: &Bytes) {
        for member in self.shared.committee.ids() {
            if member != self.shared.me {
                self.send(member, class, frame.clone());
            }
        }
    }

    /// Closes the link to a member for a fault; it may come back.
    pub fn disconnect(&self, member: MemberId, fault: LinkFault) {
        if let Some(peer) = self.shared.peer(member) {
            self.shared.faults.count(fault);
            peer.close(fault);
        }
    }
}

/// The running network.
pub struct Network {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    address: SocketAddr,
}

impl Network {
    /// Opens the socket, accepts links and dials the members with higher ids. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn start(
        config: &NetConfig,
        identity: &SecretKey,
        inbound: Arc<dyn Inbound>,
    ) -> Result<Self, NetError> {
        let tls = tls::Tls::new(config.me, &config.committee, identity)
            .map_err(|e| NetError::Tls(e.to_string()))?;
        let listen = |source| NetError::Listen {
            address: config.listen,
            source,
        };
        let socket = bind(config.listen).map_err(listen)?;
        let endpoint = tls.endpoint(socket).map_err(listen)?;
        let address = endpoint.local_addr().map_err(listen)?;

        let peers = config
            .committee
            .ids()
            .map(|id| (id != config.me).then(|| Peer::new(id)));
        let shared = Arc::new(Shared {
            me: config.me,
            committee: config.committee.clone(),
            server_name: server_name(&config.genesis),
            tls,
            peers: peers.collect(),
            addresses: config.peers.clone(),
            inbound,
            gate: Arc::new(Gate::default()),
            faults: FaultCounts::default(),
            stop: watch::Sender::new(false),
        });
        publish_members(&shared, true);
        tokio::spawn(link::accept(Arc::clone(&shared), endpoint.clone()));
        for member in config.committee.ids().filter(|id| *id > config.me) {
            tokio::spawn(dial::dial(Arc::clone(&shared), endpoint.clone(), member));
        }
        Ok(Self {
            shared,
            endpoint,
            address,
        })
    }

    /// The sending side.
    #[must_use]
    pub fn outbound(&self) -> Outbound {
        Outbound {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The address that is listened on, with its port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Faults since the start.
    #[must_use]
    pub fn faults(&self) -> &FaultCounts {
        &self.shared.faults
    }

    /// Closes all links and the socket.
    pub async fn stop(self) {
        self.shared.stop.send_replace(true);
        self.endpoint
            .close(VarInt::from_u32(LinkFault::Stopping.code()), b"stopping");
        // The peers learn of it sooner than by the idle timeout; no matter if they do not.
        if tokio::time::timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle())
            .await
            .is_err()
        {
            tracing::debug!("peers did not confirm the end of their links");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        publish_members(&self.shared, false);
        self.shared.stop.send_replace(true);
        self.endpoint
            .close(VarInt::from_u32(LinkFault::Stopping.code()), b"stopping");
    }
}

/// Says whose links there are to be. A series never goes away again: one of a member that
/// the next committee does not have is marked, so that nobody waits for its link.
fn publish_members(shared: &Shared, present: bool) {
    for member in shared.committee.ids().filter(|id| *id != shared.me) {
        let label = member.to_string();
        metrics::gauge!("fairlane_peer_member", "peer" => label.clone())
            .set(f64::from(u8::from(present)));
        metrics::gauge!("fairlane_peer_connected", "peer" => label).set(0.0);
    }
    let (n, quorum) = (shared.committee.n(), shared.committee.quorum());
    metrics::gauge!("fairlane_committee_members").set(n as f64);
    metrics::gauge!("fairlane_committee_quorum").set(quorum as f64);
}

/// Peers of another chain ask for another name and are told so.
fn server_name(genesis: &Digest) -> String {
    format!("{}.fairlane", hex::encode(&genesis.0[..16]))
}

/// Kernel buffers asked for; bursts of a whole committee must fit (`doctor` warns below
/// [`SOCKET_BUFFER_BYTES_MIN`]).
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Below this packets are lost under load.
pub const SOCKET_BUFFER_BYTES_MIN: usize = 2_500_000;

fn bind(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    use rustix::net::sockopt;
    let socket = std::net::UdpSocket::bind(address)?;
    // The system caps both silently; what was granted is what counts.
    let asked = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES)
        .and_then(|()| sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES));
    let granted = sockopt::socket_recv_buffer_size(&socket)?;
    metrics::gauge!("fairlane_net_socket_buffer_bytes").set(granted as f64);
    if asked.is_err() || granted < SOCKET_BUFFER_BYTES_MIN {
        tracing::warn!(
            granted,
            "small UDP receive buffer: packets are lost under load; \
             run: sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES}"
        );
    }
    Ok(socket)
}

/// Counts the links of a member that wait for their turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let guard = Self(count);
        // The guard takes its own count back when it is one too many.
        (count.fetch_add(1, Ordering::SeqCst) < LINKS_WAITING_MAX).then_some(guard)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

//! The life of one link: accepted or dialled, authenticated, then one writer and one
//! reader task per class until the first of them ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fairlane_replica::Class;
use fairlane_types::MemberId;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, Endpoint, Incoming};
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;

use super::frame::{ReadEnd, read_class, read_frame};
use super::gate::Pass;
use super::{HANDSHAKE_TIMEOUT, LinkFault, Shared, Waiting, close, tls};
use crate::failure::lock;

/// How often a link's round-trip time is published.
const RTT_INTERVAL: Duration = Duration::from_secs(1);

/// Accepts links until the endpoint closes.
pub(super) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        // The sender's address may be false; a retry packet costs no state (A29).
        if !incoming.remote_address_validated() {
            if incoming.retry().is_err() {
                tracing::debug!("retry refused"); // validated meanwhile: it comes again
            }
            continue;
        }
        let address = incoming.remote_address().ip();
        let Some(pass) = shared.gate.admit(address, Instant::now()) else {
            shared.faults.count(LinkFault::TooMany);
            incoming.ignore();
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Some((connection, peer)) = handshake(&shared, incoming, pass).await {
                run(&shared, peer, connection).await;
            }
        });
    }
}

/// Completes a handshake and says whose link it is; the pass is held no longer.
async fn handshake(
    shared: &Shared,
    incoming: Incoming,
    _pass: Pass,
) -> Option<(Connection, MemberId)> {
    let from = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return refused(shared, LinkFault::Handshake, from, &error),
    };
    let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => connection,
        // A stranger's key falls here, in TLS.
        Ok(Err(error)) => return refused(shared, LinkFault::Handshake, from, &error),
        Err(error) => return refused(shared, LinkFault::Slow, from, &error),
    };
    match member_of(shared, &connection) {
        Ok(member) => Some((connection, member)),
        Err(fault) => {
            close(&connection, fault);
            refused(shared, fault, from, &fault)
        }
    }
}

fn refused<T>(
    shared: &Shared,
    fault: LinkFault,
    from: std::net::SocketAddr,
    error: &dyn std::fmt::Display,
) -> Option<T> {
    shared.faults.count(fault);
    tracing::debug!(%from, fault = fault.name(), %error, "link refused");
    None
}

/// Who is at the other end of a link that was accepted.
fn member_of(shared: &Shared, connection: &Connection) -> Result<MemberId, LinkFault> {
    let name = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.server_name);
    if name.as_deref() != Some(shared.server_name.as_str()) {
        return Err(LinkFault::Genesis);
    }
    let member = identity(connection)
        .and_then(|key| shared.committee.member(&key))
        .ok_or(LinkFault::Stranger)?;
    if member < shared.me {
        Ok(member)
    } else {
        Err(LinkFault::Direction)
    }
}

fn identity(connection: &Connection) -> Option<fairlane_types::PublicKey> {
    let chain = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    chain.first().and_then(|spki| tls::key_of(spki))
}

/// Runs a link until it ends; returns how long it was up.
pub(super) async fn run(
    shared: &Arc<Shared>,
    member: MemberId,
    connection: Connection,
) -> Duration {
    let Some(peer) = shared.peer(member) else {
        return Duration::ZERO;
    };
    let _slot = {
        // The newer link is the live one: its member has shown its key again.
        let Some(_waiting) = Waiting::enter(&peer.waiting) else {
            shared.faults.count(LinkFault::TooMany);
            close(&connection, LinkFault::TooMany);
            return Duration::ZERO;
        };
        peer.close(LinkFault::Replaced);
        peer.slot.lock().await
    };
    if *shared.stop.borrow() {
        close(&connection, LinkFault::Stopping);
        return Duration::ZERO;
    }
    let start = Instant::now();
    *lock(&peer.link) = Some(connection.clone());
    peer.outgoing.open();
    let label = member.to_string();
    metrics::gauge!("fairlane_peer_connected", "peer" => label.clone()).set(1.0);
    tracing::info!(peer = %member, address = %connection.remote_address(), "link up");
    shared.inbound.connected(member);

    let end = drive(shared, member, &connection).await;

    if let Some(fault) = end {
        shared.faults.count(fault);
        close(&connection, fault);
    }
    *lock(&peer.link) = None;
    peer.outgoing.close();
    metrics::gauge!("fairlane_peer_connected", "peer" => label).set(0.0);
    let why = match (end, connection.close_reason()) {
        (Some(fault), _) => fault.to_string(),
        (None, Some(ConnectionError::ApplicationClosed(frame))) => {
            let fault = LinkFault::from_code(frame.error_code.into_inner());
            fault.map_or_else(
                || "closed by peer".to_owned(),
                |f| format!("peer says: {f}"),
            )
        }
        (None, Some(reason)) => reason.to_string(),
        (None, None) => "closed".to_owned(),
    };
    tracing::info!(peer = %member, %why, "link down");
    shared.inbound.disconnected(member);
    start.elapsed()
}

/// Starts the tasks of a link and waits for the first to end; a fault if the peer is to
/// blame.
async fn drive(
    shared: &Arc<Shared>,
    member: MemberId,
    connection: &Connection,
) -> Option<LinkFault> {
    let mut tasks = JoinSet::new();
    for class in Class::ALL {
        let (shared, connection) = (Arc::clone(shared), connection.clone());
        tasks.spawn(async move {
            write(&shared, member, class, &connection).await;
            None
        });
    }
    let publishing = connection.clone();
    tasks.spawn(async move { publish_rtt(member, &publishing).await });

    let seen = Arc::new(Seen::default());
    let end = loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Err(_) => break None,
                Ok(stream) => {
                    let (shared, seen) = (Arc::clone(shared), Arc::clone(&seen));
                    tasks.spawn(async move { read(&shared, member, stream, &seen).await });
                }
            },
            Some(ended) = tasks.join_next() => break ended.ok().flatten(),
        }
    };
    // No task of this link may meet the frames of the next one.
    tasks.shutdown().await;
    end
}

/// Which classes have a stream already. QUIC bounds the streams to their number.
#[derive(Default)]
struct Seen([AtomicBool; Class::ALL.len()]);

/// Writes the frames of one class until the link ends.
async fn write(shared: &Shared, member: MemberId, class: Class, connection: &Connection) {
    let Some(peer) = shared.peer(member) else {
        return;
    };
    let Ok(mut stream) = connection.open_uni().await else {
        return;
    };
    // Boundary rule 4: the priorities of the queues are those of the streams.
    let priority = Class::ALL.len() as i32 - i32::from(class.code());
    if stream.set_priority(priority).is_err() || stream.write_all(&[class.code()]).await.is_err() {
        return;
    }
    let labels = [
        ("peer", member.to_string()),
        ("class", class.name().to_owned()),
    ];
    let frames_sent = metrics::counter!("fairlane_net_frames_sent_total", &labels);
    let bytes_sent = metrics::counter!("fairlane_net_bytes_sent_total", &labels);
    let mut chunks = Vec::new();
    loop {
        chunks.clear();
        peer.outgoing.pop(class, &mut chunks).await;
        frames_sent.increment(chunks.len() as u64 / 2);
        bytes_sent.increment(chunks.iter().map(|chunk| chunk.len() as u64).sum());
        if stream.write_all_chunks(&mut chunks).await.is_err() {
            return;
        }
    }
}

/// Reads the frames of one stream until the link ends; a fault if the peer is to blame.
async fn read(
    shared: &Shared,
    member: MemberId,
    mut stream: quinn::RecvStream,
    seen: &Seen,
) -> Option<LinkFault> {
    let class = match read_class(&mut stream).await {
        Ok(class) => class,
        Err(ReadEnd::Fault(fault)) => return Some(fault),
        Err(ReadEnd::Connection) => return None,
    };
    let index = usize::from(class.code());
    if seen.0[index].swap(true, Ordering::SeqCst) {
        return Some(LinkFault::Duplicate);
    }
    let budget = &shared.peer(member)?.budgets[index];
    let labels = [
        ("peer", member.to_string()),
        ("class", class.name().to_owned()),
    ];
    let frames_received = metrics::counter!("fairlane_net_frames_received_total", &labels);
    let bytes_received = metrics::counter!("fairlane_net_bytes_received_total", &labels);
    loop {
        match read_frame(&mut stream, class, budget).await {
            Ok((bytes, charge)) => {
                frames_received.increment(1);
                bytes_received.increment(bytes.len() as u64);
                if let Err(fault) = shared.inbound.frame(member, class, bytes, charge) {
                    return Some(fault);
                }
            }
            Err(ReadEnd::Fault(fault)) => return Some(fault),
            Err(ReadEnd::Connection) => return None,
        }
    }
}

async fn publish_rtt(member: MemberId, connection: &Connection) -> Option<LinkFault> {
    let label = member.to_string();
    let rtt = metrics::gauge!("fairlane_peer_rtt_seconds", "peer" => label.clone());
    let lost = metrics::gauge!("fairlane_peer_lost_packets", "peer" => label);
    loop {
        tokio::time::sleep(RTT_INTERVAL).await;
        rtt.set(connection.rtt().as_secs_f64());
        lost.set(connection.stats().path.lost_packets as f64);
    }
}

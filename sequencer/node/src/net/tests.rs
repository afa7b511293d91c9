//! Links on the loopback: members, strangers, and members that break the rules.

use std::collections::VecDeque;

use fairlane_types::PublicKey;
use metrics_exporter_prometheus::PrometheusBuilder;
use quinn::SendStream;
use tokio::sync::Notify;

use super::*;

const WAIT: Duration = Duration::from_secs(30);
const GENESIS: Digest = Digest([9; 32]);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Up(MemberId),
    Down(MemberId),
    Frame(MemberId, Class, Bytes),
}

/// Keeps what the network tells; frames that begin with `!` do not decode.
#[derive(Default)]
struct Recorder {
    seen: Mutex<VecDeque<Seen>>,
    kept: Mutex<Vec<Charge>>,
    hold: std::sync::atomic::AtomicBool,
    told: Notify,
}

impl Recorder {
    fn tell(&self, seen: Seen) {
        lock(&self.seen).push_back(seen);
        self.told.notify_one();
    }

    /// Waits for the first thing that matches and takes it out.
    async fn wait(&self, matches: impl Fn(&Seen) -> bool) -> Seen {
        let find = async {
            loop {
                let told = self.told.notified();
                let found = {
                    let mut seen = lock(&self.seen);
                    let at = seen.iter().position(&matches);
                    at.and_then(|at| seen.remove(at))
                };
                if let Some(found) = found {
                    return found;
                }
                told.await;
            }
        };
        tokio::time::timeout(WAIT, find)
            .await
            .expect("nothing of the kind was told in time")
    }

    async fn up(&self, member: u8) {
        self.wait(|seen| *seen == Seen::Up(MemberId(member))).await;
    }

    async fn down(&self, member: u8) {
        self.wait(|seen| *seen == Seen::Down(MemberId(member)))
            .await;
    }

    async fn frame(&self, member: u8, class: Class) -> Bytes {
        let found = self
            .wait(|seen| matches!(seen, Seen::Frame(from, c, _) if from.0 == member && *c == class))
            .await;
        let Seen::Frame(_, _, bytes) = found else {
            panic!("not a frame")
        };
        bytes
    }
}

impl Inbound for Recorder {
    fn connected(&self, peer: MemberId) {
        self.tell(Seen::Up(peer));
    }
    fn disconnected(&self, peer: MemberId) {
        self.tell(Seen::Down(peer));
    }
    fn frame(
        &self,
        from: MemberId,
        class: Class,
        bytes: Bytes,
        charge: Charge,
    ) -> Result<(), LinkFault> {
        if bytes.starts_with(b"!") {
            return Err(LinkFault::Undecodable);
        }
        if self.hold.load(Ordering::SeqCst) {
            lock(&self.kept).push(charge);
        }
        self.tell(Seen::Frame(from, class, bytes));
        Ok(())
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n + 1; 32])
}

fn committee() -> Committee {
    Committee::new((0..4).map(|n| key(n).public()).collect()).unwrap()
}

/// Ports that were free a moment ago, one for each member.
fn free_addresses() -> Vec<SocketAddr> {
    let sockets: Vec<_> = (0..4)
        .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    sockets
        .iter()
        .map(|socket| socket.local_addr().unwrap())
        .collect()
}

fn config(me: u8, addresses: &[SocketAddr]) -> NetConfig {
    let peers = (0..4)
        .map(|n| (MemberId(n), addresses[usize::from(n)].to_string()))
        .collect();
    NetConfig {
        me: MemberId(me),
        committee: committee(),
        genesis: GENESIS,
        listen: addresses[usize::from(me)],
        peers,
    }
}

fn member(me: u8, addresses: &[SocketAddr]) -> (Network, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let config = config(me, addresses);
    let inbound = Arc::clone(&recorder) as Arc<dyn Inbound>;
    (
        Network::start(&config, &key(me), inbound).unwrap(),
        recorder,
    )
}

/// The same once its port is free again: the socket of an endpoint closes a moment after
/// its last handle.
async fn restart(me: u8, addresses: &[SocketAddr]) -> (Network, Arc<Recorder>) {
    let address = addresses[usize::from(me)];
    until("the port is free", || {
        std::net::UdpSocket::bind(address).is_ok()
    })
    .await;
    member(me, addresses)
}

#[tokio::test]
async fn links_that_the_next_committee_does_not_have_are_marked_in_the_metrics() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let start = |n: u8| {
        let config = NetConfig {
            me: MemberId(0),
            committee: Committee::new((0..n).map(|id| key(id).public()).collect()).unwrap(),
            genesis: GENESIS,
            listen: "127.0.0.1:0".parse().unwrap(),
            peers: BTreeMap::new(),
        };
        metrics::with_local_recorder(&recorder, || {
            Network::start(&config, &key(0), Arc::new(Recorder::default())).unwrap()
        })
    };
    let shows = |expected: &[(&str, Option<f64>)]| {
        let text = recorder.handle().render();
        for (series, value) in expected {
            let series = format!("fairlane_{series}");
            assert_eq!(
                crate::published::tests::value(&text, &series),
                *value,
                "{series}"
            );
        }
    };
    let seven = start(7);
    shows(&[
        ("committee_members", Some(7.0)),
        ("committee_quorum", Some(5.0)),
        ("peer_member{peer=\"0\"}", None),
        ("peer_member{peer=\"5\"}", Some(1.0)),
        ("peer_connected{peer=\"5\"}", Some(0.0)),
    ]);
    metrics::with_local_recorder(&recorder, || drop(seven));
    let _four = start(4);
    shows(&[
        ("committee_members", Some(4.0)),
        ("committee_quorum", Some(3.0)),
        ("peer_member{peer=\"3\"}", Some(1.0)),
        ("peer_member{peer=\"5\"}", Some(0.0)),
    ]);
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WAIT, poll)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// A member (or whoever has the key) that speaks QUIC by hand.
struct Raw {
    endpoint: Endpoint,
    connection: Connection,
}

async fn dial_raw(
    as_member: u8,
    secret: &SecretKey,
    to: u8,
    address: SocketAddr,
    name: &str,
) -> Result<Raw, quinn::ConnectionError> {
    let tls = tls::Tls::new(MemberId(as_member), &committee(), secret).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = tls.endpoint(socket).unwrap();
    let config = tls.client_config(&key(to).public()).unwrap();
    let connection = endpoint
        .connect_with(config, address, name)
        .unwrap()
        .await?;
    Ok(Raw {
        endpoint,
        connection,
    })
}

impl Raw {
    async fn stream(&self, code: u8) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        drop(stream.write_all(&[code]).await);
        stream
    }

    /// The fault that the other side closed the link with.
    async fn closed_with(&self) -> LinkFault {
        let closed = tokio::time::timeout(WAIT, self.connection.closed()).await;
        match closed.expect("the link is closed in time") {
            quinn::ConnectionError::ApplicationClosed(frame) => {
                LinkFault::from_code(frame.error_code.into_inner()).unwrap()
            }
            other => panic!("closed otherwise: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committee_exchanges_frames_of_every_class() {
    let addresses = free_addresses();
    let members: Vec<_> = (0..4).map(|n| member(n, &addresses)).collect();
    for (me, (_, recorder)) in members.iter().enumerate() {
        for other in (0..4).filter(|other| *other != me) {
            recorder.up(other as u8).await;
        }
    }
    for (me, (network, _)) in members.iter().enumerate() {
        for class in Class::ALL {
            let frame = Bytes::from(format!("{me} {}", class.name()));
            network.outbound().broadcast(class, &frame);
        }
    }
    for (me, (_, recorder)) in members.iter().enumerate() {
        for other in (0..4).filter(|other| *other != me) {
            for class in Class::ALL {
                let frame = recorder.frame(other as u8, class).await;
                assert_eq!(frame, format!("{other} {}", class.name()));
            }
        }
    }
    // Frames of the largest size, and order within a class.
    let (zero, _) = &members[0];
    for class in Class::ALL {
        let large = Bytes::from(vec![7; class.frame_bytes_max()]);
        zero.outbound().send(MemberId(3), class, large.clone());
        zero.outbound()
            .send(MemberId(3), class, Bytes::from_static(b"after"));
        assert_eq!(members[3].1.frame(0, class).await.len(), large.len());
        assert_eq!(members[3].1.frame(0, class).await, "after");
    }
    // All before the first one stops: the others may see its streams end.
    for (network, _) in &members {
        for fault in LinkFault::ALL {
            assert_eq!(network.faults().of(fault), 0, "{fault}");
        }
    }
    for (network, _) in members {
        network.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_fall_in_the_handshake_and_members_go_on() {
    let addresses = free_addresses();
    let (three, recorder) = member(3, &addresses);
    let name = server_name(&GENESIS);
    let stranger = SecretKey::from_seed([200; 32]);
    // TLS 1.3 lets the client finish first; the refusal comes right after.
    match dial_raw(0, &stranger, 3, addresses[3], &name).await {
        Err(_) => {}
        Ok(raw) => {
            let closed = tokio::time::timeout(WAIT, raw.connection.closed())
                .await
                .unwrap();
            assert!(
                matches!(closed, quinn::ConnectionError::ConnectionClosed(_)),
                "{closed}"
            );
        }
    }
    until("the stranger is counted", || {
        three.faults().of(LinkFault::Handshake) == 1
    })
    .await;

    // The key of another member than the one dialled is refused by the dialler.
    let tls = tls::Tls::new(MemberId(0), &committee(), &key(0)).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = tls.endpoint(socket).unwrap();
    let config = tls.client_config(&key(2).public()).unwrap();
    assert!(
        endpoint
            .connect_with(config, addresses[3], &name)
            .unwrap()
            .await
            .is_err()
    );

    // A member of another chain, and one that dials in the wrong direction.
    let other = dial_raw(0, &key(0), 3, addresses[3], &server_name(&Digest([1; 32])))
        .await
        .unwrap();
    assert_eq!(other.closed_with().await, LinkFault::Genesis);
    let (one, _) = member(1, &addresses);
    let higher = dial_raw(2, &key(2), 1, addresses[1], &name).await.unwrap();
    assert_eq!(higher.closed_with().await, LinkFault::Direction);
    assert_eq!(one.faults().of(LinkFault::Direction), 1);

    recorder.up(1).await;
    one.outbound()
        .send(MemberId(3), Class::Consensus, Bytes::from_static(b"hello"));
    assert_eq!(recorder.frame(1, Class::Consensus).await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_frames_are_counted_and_end_the_link() {
    let addresses = free_addresses();
    let (three, recorder) = member(3, &addresses);
    let name = server_name(&GENESIS);
    let consensus_max = Class::Consensus.frame_bytes_max() as u32;
    let frame = |length: u32| length.to_le_bytes().to_vec();
    type Streams<'a> = &'a [(u8, Vec<u8>)];
    let cases: [(LinkFault, Streams<'_>); 6] = [
        (LinkFault::Class, &[(17, vec![1])]),
        (LinkFault::Oversized, &[(0, frame(consensus_max + 1))]),
        (LinkFault::Oversized, &[(3, frame(u32::MAX))]),
        (LinkFault::Empty, &[(1, frame(0))]),
        (
            LinkFault::Undecodable,
            &[(2, [frame(3), b"!!!".to_vec()].concat())],
        ),
        (LinkFault::Duplicate, &[(2, frame(9)), (2, frame(9))]),
    ];
    for (fault, streams) in cases {
        let before = three.faults().of(fault);
        let raw = dial_raw(0, &key(0), 3, addresses[3], &name).await.unwrap();
        recorder.up(0).await;
        let mut open = Vec::new();
        for (code, bytes) in streams {
            let mut stream = raw.stream(*code).await;
            // The first byte may have closed the link already.
            drop(stream.write_all(bytes).await);
            open.push(stream);
        }
        assert_eq!(raw.closed_with().await, fault);
        recorder.down(0).await;
        assert_eq!(three.faults().of(fault), before + 1);
        raw.endpoint.close(0_u32.into(), b"");
    }
    // A stream that ends inside a frame.
    let raw = dial_raw(0, &key(0), 3, addresses[3], &name).await.unwrap();
    let mut stream = raw.stream(2).await;
    stream
        .write_all(&[frame(100), vec![1; 10]].concat())
        .await
        .unwrap();
    stream.finish().unwrap();
    assert_eq!(raw.closed_with().await, LinkFault::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_datagrams_are_survived() {
    let addresses = free_addresses();
    let (three, recorder) = member(3, &addresses);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 1_u32;
    for round in 0..3_000_usize {
        let mut bytes = vec![0_u8; 1 + round % 1_400];
        for byte in &mut bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        match round % 3 {
            0 => bytes[0] |= 0xC0, // a long header of QUIC
            1 => bytes[0] = 0x40 | (bytes[0] & 0x3F),
            _ => {}
        }
        if bytes.len() > 5 && round % 3 == 0 {
            bytes[1..5].copy_from_slice(&[0, 0, 0, 1]); // version 1
        }
        socket.send_to(&bytes, addresses[3]).unwrap();
    }
    let (zero, _) = member(0, &addresses);
    recorder.up(0).await;
    zero.outbound()
        .send(MemberId(3), Class::Sync, Bytes::from_static(b"still here"));
    assert_eq!(recorder.frame(0, Class::Sync).await, "still here");
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_come_back_after_a_restart_and_a_disconnect() {
    let addresses = free_addresses();
    let (zero, zero_seen) = member(0, &addresses);
    let (three, three_seen) = member(3, &addresses);
    zero_seen.up(3).await;
    three_seen.up(0).await;

    // The dialled side restarts in order.
    three.stop().await;
    zero_seen.down(3).await;
    zero.outbound().send(
        MemberId(3),
        Class::Lanes,
        Bytes::from_static(b"lost with the link"),
    );
    let (three, three_seen) = restart(3, &addresses).await;
    zero_seen.up(3).await;
    three_seen.up(0).await;
    zero.outbound()
        .send(MemberId(3), Class::Lanes, Bytes::from_static(b"new"));
    assert_eq!(three_seen.frame(0, Class::Lanes).await, "new");

    // The dialling side restarts.
    zero.stop().await;
    three_seen.down(0).await;
    let (zero, zero_seen) = restart(0, &addresses).await;
    three_seen.up(0).await;
    zero_seen.up(3).await;

    // A disconnect for a fault is a new link later.
    three
        .outbound()
        .disconnect(MemberId(0), LinkFault::Undecodable);
    zero_seen.down(3).await;
    zero_seen.up(3).await;
    zero.outbound()
        .send(MemberId(3), Class::Shares, Bytes::from_static(b"again"));
    assert_eq!(three_seen.frame(0, Class::Shares).await, "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_killed_and_started_again_replaces_its_old_link_at_once() {
    let addresses = free_addresses();
    let (three, recorder) = member(3, &addresses);
    let name = server_name(&GENESIS);
    let old = dial_raw(0, &key(0), 3, addresses[3], &name).await.unwrap();
    recorder.up(0).await;
    // No goodbye from the old one; the new one shows the same key.
    let new = dial_raw(0, &key(0), 3, addresses[3], &name).await.unwrap();
    recorder.down(0).await;
    recorder.up(0).await;
    assert_eq!(old.closed_with().await, LinkFault::Replaced);
    let mut stream = new.stream(0).await;
    stream.write_all(&[2, 0, 0, 0, 7, 7]).await.unwrap();
    assert_eq!(recorder.frame(0, Class::Consensus).await.len(), 2);
    drop(three);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_member_holds_back_only_itself() {
    let addresses = free_addresses();
    let (three, recorder) = member(3, &addresses);
    let name = server_name(&GENESIS);
    recorder.hold.store(true, Ordering::SeqCst);
    let flooder = dial_raw(0, &key(0), 3, addresses[3], &name).await.unwrap();
    recorder.up(0).await;
    let mut stream = flooder.stream(Class::Consensus.code()).await;
    // Tiny frames count as FRAME_CHARGE_MIN each.
    let fit = inbound_bytes_max(Class::Consensus) / FRAME_CHARGE_MIN;
    let frames = [1_u8, 0, 0, 0, 5].repeat(fit * 2);
    stream.write_all(&frames).await.unwrap();
    until("the budget is used up", || {
        lock(&recorder.kept).len() == fit
    })
    .await;

    let (one, _) = member(1, &addresses);
    recorder.up(1).await;
    one.outbound()
        .send(MemberId(3), Class::Consensus, Bytes::from_static(b"vote"));
    assert_eq!(recorder.frame(1, Class::Consensus).await, "vote");
    // The flooder's other classes have budgets of their own.
    let mut sync = flooder.stream(Class::Sync.code()).await;
    sync.write_all(&[1, 0, 0, 0, 6]).await.unwrap();
    assert_eq!(recorder.frame(0, Class::Sync).await.len(), 1);
    let consensus = |from: u8| {
        let frames = lock(&recorder.seen);
        let of = |seen: &&Seen| matches!(seen, Seen::Frame(m, Class::Consensus, _) if m.0 == from);
        frames.iter().filter(of).count()
    };
    assert_eq!(consensus(0), fit, "nothing beyond the budget is read");

    recorder.hold.store(false, Ordering::SeqCst);
    lock(&recorder.kept).clear();
    until("the rest arrives", || consensus(0) == fit * 2).await;
    drop(three);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_no_votes_is_disconnected() {
    let addresses = free_addresses();
    // By hand: reads nothing, so that flow control and then the queue fill up.
    let tls = tls::Tls::new(MemberId(3), &committee(), &key(3)).unwrap();
    let endpoint = tls
        .endpoint(std::net::UdpSocket::bind(addresses[3]).unwrap())
        .unwrap();
    let accepting = tokio::spawn(async move {
        let connection = endpoint
            .accept()
            .await
            .unwrap()
            .accept()
            .unwrap()
            .await
            .unwrap();
        (connection.closed().await, endpoint)
    });
    let (zero, seen) = member(0, &addresses);
    seen.up(3).await;
    let vote = Bytes::from(vec![1; 1 << 20]);
    let outbound = zero.outbound();
    until("the queue overflows", || {
        outbound.send(MemberId(3), Class::Consensus, vote.clone());
        zero.faults().of(LinkFault::Overflow) == 1
    })
    .await;
    seen.down(3).await;
    let (closed, _endpoint) = tokio::time::timeout(WAIT, accepting)
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(&closed, quinn::ConnectionError::ApplicationClosed(frame)
            if frame.error_code == VarInt::from_u32(LinkFault::Overflow.code())),
        "{closed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_handshakes_are_given_up() {
    let addresses = free_addresses();
    let (three, recorder) = member(3, &addresses);
    // A client whose address is proven by the retry packet, and that then hears nothing.
    let proxy = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let proxy_address = proxy.local_addr().unwrap();
    let server = addresses[3];
    let forwarding = tokio::spawn(async move {
        let (mut client, mut answers) = (None, 0);
        let mut packet = vec![0; 2_048];
        loop {
            let (length, from) = proxy.recv_from(&mut packet).await.unwrap();
            if from != server {
                client = Some(from);
                proxy.send_to(&packet[..length], server).await.unwrap();
            } else if let (Some(client), 0) = (client, answers) {
                answers += 1;
                proxy.send_to(&packet[..length], client).await.unwrap();
            }
        }
    });
    let name = server_name(&GENESIS);
    let dialling = tokio::spawn(async move {
        dial_raw(0, &key(0), 3, proxy_address, &name)
            .await
            .map(|_| ())
    });
    until("the handshake is given up", || {
        three.faults().of(LinkFault::Slow) == 1
    })
    .await;
    forwarding.abort();
    dialling.abort();
    let (zero, _) = member(0, &addresses);
    recorder.up(0).await;
    zero.stop().await;
}

#[test]
fn an_address_in_use_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let addresses = free_addresses();
        let _held = std::net::UdpSocket::bind(addresses[0]).unwrap();
        let recorder = Arc::new(Recorder::default());
        let error = Network::start(&config(0, &addresses), &key(0), recorder)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains(&addresses[0].to_string()),
            "{error}"
        );
    });
}

#[test]
fn keys_have_one_encoding() {
    let public = PublicKey([3; 32]);
    let spki = [
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..],
        &[3; 32],
    ]
    .concat();
    assert_eq!(tls::key_of(&spki), Some(public));
    assert_eq!(tls::key_of(&spki[..43]), None);
    assert_eq!(tls::key_of(&[&spki[..], &[0]].concat()), None);
}

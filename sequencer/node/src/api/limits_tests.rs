//! What one client can take of a port.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fairlane_client::wire::ErrorCode;
use fairlane_client::{ClientError, Member};
use fairlane_types::Height;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ApiLimits;
use super::testing::{Rig, envelope};

/// Longer than any limit below.
const fn patience() -> Duration {
    Duration::from_secs(20)
}

async fn rig(limits: ApiLimits) -> (Rig, SocketAddr) {
    let rig = tokio::task::spawn_blocking(Rig::new).await.unwrap();
    let address = rig.serve(limits).await;
    (rig, address)
}

/// Whether the port answers on a new connection, in time.
async fn answers(address: SocketAddr) -> bool {
    let start = Instant::now();
    while start.elapsed() < patience() {
        // A client of its own each time: no connection is used again.
        let member = Member::new(&address.to_string()).unwrap();
        match member.with_limit(Duration::from_secs(2)).info().await {
            Ok(_) => return true,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    false
}

/// A connection that has its place, over which some pages of blocks were asked for.
async fn asked(address: SocketAddr, pages: usize) -> TcpStream {
    let request = "GET /v1/blocks?from=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let start = Instant::now();
    while start.elapsed() < patience() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let sent = stream.write_all(request.repeat(pages).as_bytes()).await;
        // Without a place it is closed before any answer.
        if sent.is_ok() && stream.read_exact(&mut [0; 16]).await.is_ok() {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no place came free")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_its_answers_lying_is_cut_off() {
    let (rig, address) = rig(ApiLimits {
        connections_max: 1,
        write_time_max: Duration::from_millis(300),
        ..ApiLimits::default()
    })
    .await;
    let batch: Vec<_> = (0..200).map(envelope).collect();
    for _ in 0..40 {
        rig.emit(&batch);
    }
    // Far more than the buffers of two sockets hold.
    let _lazy = asked(address, 64).await;
    assert!(answers(address).await, "the one place is never given back");
    // One that takes a little now and then is no better.
    let mut trickle = asked(address, 64).await;
    let sipping = tokio::spawn(async move {
        let mut sip = [0; 512];
        while trickle.read_exact(&mut sip).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(answers(address).await, "sips keep a place for ever");
    sipping.abort();
    // One that is slow, and reads on, gets all that it asked for.
    let mut slow = asked(address, 1).await;
    let (mut all, mut part) = (0, vec![0; 256 << 10]);
    while all < 1 << 20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let n = slow.read(&mut part).await.unwrap();
        assert_ne!(n, 0, "cut off after {all} bytes");
        all += n;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_its_part_of_connections_and_streams() {
    let (rig, address) = rig(ApiLimits {
        connections_each_max: 3,
        streams_each_max: 1,
        heartbeat: Duration::from_millis(50),
        ..ApiLimits::default()
    })
    .await;
    rig.emit(&[]);
    let member = Member::new(&address.to_string()).unwrap();
    let stream = member.stream(Height(1)).await.unwrap();
    match member.stream(Height(1)).await {
        Err(ClientError::Api(error)) => assert_eq!(error.code, ErrorCode::TooManyStreams),
        other => panic!("{other:?}"),
    }
    // The stream, the client's other connection, and one more.
    let _third = TcpStream::connect(address).await.unwrap();
    let mut fourth = TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    let closed = tokio::time::timeout(patience(), fourth.read_to_end(&mut nothing)).await;
    // Closed or reset, and without an answer.
    let _ = closed.expect("it is closed at once");
    assert!(nothing.is_empty());
    drop((stream, member, _third));
    assert!(answers(address).await, "places come back");
}

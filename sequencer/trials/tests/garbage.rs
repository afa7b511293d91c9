//! Garbage on every port: refused, counted, and nobody falls (THREATS A29).

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Cluster, Load, complete, pause};
use fairlane_client::wire::ErrorCode;
use fairlane_client::{SealOptions, Sealer};
use fairlane_types::{Envelope, Millis, Scheme, SecretKey, SeededRng};
use rand_core::Rng;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_ports_is_refused_and_counted() {
    garbage_is_refused(Scheme::Tdh2, 400, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_ports_of_the_second_scheme_is_refused_and_counted() {
    garbage_is_refused(Scheme::BaekZheng, 60, 10).await;
}

/// Signed orders whose ciphertexts have a changed byte, in every part of them.
async fn altered_orders_are_refused(cluster: &Cluster) {
    let trader = SecretKey::from_seed([42; 32]);
    let sealer = Sealer::new(cluster.committee.pin(), trader.clone());
    let mut rng = SeededRng::new(&[4; 32], b"altered");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for nonce in 0..24_u64 {
        let options = SealOptions {
            nonce,
            expiry: Millis(since.as_millis() as u64 + 60_000),
            lane: None,
        };
        let sealed = sealer.seal_bytes(b"an order", options, &mut rng).unwrap();
        let mut bytes = sealed.ciphertext.clone();
        // Not the suite and the length, which are refused before.
        let at = 1 + (nonce as usize * 19) % 140;
        bytes[at] ^= 1;
        let altered = Envelope::sign(sealed.label, bytes, &trader);
        for member in cluster.committee.members() {
            let code = member.submit(&altered).await.unwrap_err().code();
            assert_eq!(code, Some(ErrorCode::BadProof), "byte {at}");
        }
    }
}

async fn garbage_is_refused(scheme: Scheme, orders: usize, rate: usize) {
    let cluster = Cluster::start_with(4, None, scheme).await;
    let load = Load::start(&cluster, orders, rate);
    altered_orders_are_refused(&cluster).await;
    let config = cluster.testnet.members[0].config.clone();
    let attack = std::thread::spawn(move || {
        let mut rng = SeededRng::new(&[3; 32], b"garbage");
        let mut bytes = vec![0; 1_200];
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2_000 {
            rng.fill_bytes(&mut bytes);
            socket.send_to(&bytes, config.listen_quic).unwrap();
        }
        // A QUIC long header of version 1 with garbage behind it.
        for _ in 0..200 {
            rng.fill_bytes(&mut bytes);
            bytes[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
            socket.send_to(&bytes, config.listen_quic).unwrap();
        }
        for address in [config.listen_api, config.listen_ops] {
            for round in 0..40 {
                let mut stream = TcpStream::connect(address).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                rng.fill_bytes(&mut bytes);
                let request: Vec<u8> = match round % 4 {
                    0 => bytes.clone(),
                    1 => b"GET /v1/orders/zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
                        .to_vec(),
                    2 => [
                        b"POST /v1/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".as_slice(),
                        b"content-type: application/octet-stream\r\ncontent-length: 700\r\n\r\n",
                        &bytes[..700],
                    ]
                    .concat(),
                    _ => b"POST /v1/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n"
                        .to_vec(),
                };
                // The other end may close before it has read everything.
                if stream.write_all(&request).is_ok() {
                    let mut answer = Vec::new();
                    let closed = stream.shutdown(std::net::Shutdown::Write);
                    if closed.is_ok() && stream.read_to_end(&mut answer).is_ok() {
                        let text = String::from_utf8_lossy(&answer);
                        assert!(!text.starts_with("HTTP/1.1 2"), "garbage was taken: {text}");
                    }
                }
            }
        }
    });
    attack.join().unwrap();

    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    assert_eq!(sent.acknowledged.len(), orders);
    let deadline = Instant::now() + common::PATIENCE;
    for (name, label) in [
        ("fairlane_api_refusals_total", "malformed"),
        ("fairlane_api_connection_errors_total", ""),
    ] {
        while cluster.metric(0, name, label).await == 0.0 {
            assert!(Instant::now() < deadline, "{name} does not count");
            pause().await;
        }
    }
    cluster.nobody_contradicts().await;
}

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use fairlane_client::wire::ApiError;
use fairlane_types::{
    BlockId, ChainId, Digest, EncryptionParams, Epoch, EpochStart, Height, KeyId, Label, Micros,
    Millis, Position, Receipt, Root, Scheme, SecretKey, Seq, Signature, decode, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn identity(id: u8) -> SecretKey {
    SecretKey::from_seed([id + 1; 32])
}

fn order(nonce: u64) -> Envelope {
    let trader = SecretKey::from_seed([99; 32]);
    let label = Label {
        suite: 1,
        chain: ChainId(1),
        key_id: KeyId(Digest([1; 32])),
        sender: trader.public(),
        nonce,
        expiry: Millis(seed::now_ms()),
        fee: 0,
        lane: 255,
        reserved: [0; 19],
    };
    Envelope::sign(label, vec![7; 300], &trader)
}

/// A member's word that it has an order.
fn receipt(order: &Envelope, lane: u8, key: &SecretKey) -> BatchResult {
    let receipt = Receipt {
        chain: ChainId(1),
        epoch: Epoch(1),
        ct_id: order.id(),
        lane: MemberId(lane),
        seq: Seq(1),
        entry: 0,
        stamp: Micros(0),
        signature: Signature([0; 64]),
    };
    Ok(receipt.signed(key))
}

fn refusal(code: ErrorCode) -> BatchResult {
    Err(ApiError::new(code, "so it is"))
}

fn genesis() -> Arc<Genesis> {
    Arc::new(Genesis {
        chain: ChainId(1),
        time: Millis(0),
        experiment: true,
        start: None,
        members: (0..4).map(|id| identity(id).public()).collect(),
        encryption: EncryptionParams::ceremony(Scheme::Tdh2, Vec::new()),
        certificates: None,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    })
}

fn taker(id: u8, listener: &TcpListener) -> Taker {
    let address = listener.local_addr().unwrap().to_string();
    Taker {
        id: MemberId(id),
        api: Member::new(&address).unwrap().with_limit(ANSWER_MAX),
        genesis: genesis(),
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

/// Reads one request and gives its envelopes.
async fn request(stream: &mut TcpStream) -> Vec<Envelope> {
    let mut bytes = Vec::new();
    loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        assert!(head.starts_with("post /v1/orders/batch"), "{head}");
        let length = head.split("content-length:").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        while bytes.len() < end + 4 + length {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        return decode(&bytes[end + 4..], 1 << 20).unwrap();
    }
}

/// A member that answers batches as it is told.
async fn member(listener: TcpListener, answer: impl Fn(&Envelope) -> BatchResult) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let orders = request(&mut stream).await;
        let body = encode(&orders.iter().map(&answer).collect::<Vec<_>>());
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
}

#[test]
fn only_a_receipt_of_its_own_or_a_lasting_refusal_settles_an_order() {
    let taker = Taker {
        id: MemberId(2),
        api: Member::new("127.0.0.1:1").unwrap(),
        genesis: genesis(),
    };
    let (first, other) = (order(1), order(2));
    assert!(taker.settles(&first, &receipt(&first, 2, &identity(2))));
    assert!(!taker.settles(&first, &receipt(&other, 2, &identity(2))));
    assert!(!taker.settles(&first, &receipt(&first, 1, &identity(1))));
    assert!(!taker.settles(&first, &receipt(&first, 2, &identity(3))));
    assert!(taker.settles(&first, &refusal(ErrorCode::AlreadySequenced)));
    assert!(taker.settles(&first, &refusal(ErrorCode::Expired)));
    assert!(!taker.settles(&first, &refusal(ErrorCode::OverCapacity)));
    assert!(!taker.settles(&first, &refusal(ErrorCode::Timeout)));
    // It may be in an epoch before, or the former key has little time left; another member
    // may say otherwise, and so may it.
    for code in [
        ErrorCode::UnknownKey,
        ErrorCode::OldKey,
        ErrorCode::ExpiryTooFar,
    ] {
        assert!(!taker.settles(&first, &refusal(code)));
    }
    let other_epoch = |epoch| {
        let word = receipt(&first, 2, &identity(2)).unwrap();
        let word = Receipt {
            epoch: Epoch(epoch),
            ..word
        };
        taker.settles(&first, &Ok(word.signed(&identity(2))))
    };
    assert!(other_epoch(2));
    let mut genesis = genesis().as_ref().clone();
    let none = Digest::default();
    genesis.start = Some(EpochStart {
        epoch: Epoch(2),
        origin: none,
        before: none,
        height: Height(9),
        block: BlockId::default(),
        root: Root::default(),
        position: Position(0),
        committee: none,
        memory: none,
        dealings: none,
    });
    let genesis = Arc::new(genesis);
    let later = Taker { genesis, ..taker };
    assert!(!later.settles(&first, &receipt(&first, 2, &identity(2))));
}

/// What is long past its time is offered to nobody any more.
#[tokio::test]
async fn what_is_long_over_ends_it() {
    let silent = listen().await;
    let mut over = order(1);
    over.label.expiry = Millis(seed::now_ms() - OVERDUE_MS - 1);
    hand_on(vec![over].into(), vec![taker(0, &silent)], 1).await;
}

/// One of four is not there, another answers nothing, and one has no room the first time: all
/// orders are handed on all the same, and it ends.
#[tokio::test]
async fn it_ends_when_enough_members_have_every_order() {
    let orders: Vec<Envelope> = (0..3 * BATCH as u64 + 5).map(order).collect();
    let gone = {
        let listener = listen().await;
        taker(0, &listener)
    };
    // Connections are taken by the system, and nobody reads them.
    let silent = listen().await;
    let (busy, good) = (listen().await, listen().await);
    let takers = vec![gone, taker(1, &silent), taker(2, &busy), taker(3, &good)];
    let seen = Mutex::new(BTreeSet::new());
    let refuse_first = |order: &Envelope| match seen.lock().unwrap().insert(order.id()) {
        true => refusal(ErrorCode::OverCapacity),
        false => receipt(order, 2, &identity(2)),
    };
    let take = |order: &Envelope| match order.label.nonce % 2 {
        0 => refusal(ErrorCode::AlreadySequenced),
        _ => receipt(order, 3, &identity(3)),
    };
    tokio::select! {
        () = hand_on(orders.clone().into(), takers, 2) => {}
        () = member(busy, refuse_first) => {}
        () = member(good, take) => {}
    }
    assert_eq!(seen.lock().unwrap().len(), orders.len());
}

/// One that says everything is in the sequence is not believed alone.
#[tokio::test]
async fn one_member_alone_does_not_end_it() {
    let (liar, silent) = (listen().await, listen().await);
    let takers = vec![taker(0, &liar), taker(1, &silent)];
    let told = tokio::sync::Notify::new();
    let lie = |_: &Envelope| {
        told.notify_one();
        refusal(ErrorCode::AlreadySequenced)
    };
    let ended = tokio::select! {
        () = hand_on(vec![order(1)].into(), takers, 2) => true,
        () = member(liar, lie) => true,
        () = async {
            told.notified().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        } => false,
    };
    assert!(!ended);
}

//! Stories over a real socket.

use std::time::Duration;

use fairlane_client::wire::{
    ApiError, EnvelopeBody, ErrorCode, Frame, OrderWord, WAIT_MS_DEFAULT, Wait,
};
use fairlane_client::{ClientError, Member, Pin, check_proof, check_receipt};
use fairlane_encryption::{
    Attestation, CERTIFICATE_BYTES, StateAttestation, StateRoots, ThresholdCertificate,
};
use fairlane_execution::AccountProof;
use fairlane_replica::{AdmissionError, Stage};
use fairlane_types::{
    ChainId, CtId, Digest, Envelope, EnvelopeError, Epoch, Height, KeyId, Millis, Order,
    OrderAction, Root,
};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::body::{self, Media};
use super::testing::{Rig, Verdict, envelope, genesis};
use super::{ApiLimits, fail, orders};
use crate::executor::tests::key;

fn quick() -> ApiLimits {
    ApiLimits {
        header_time_max: Duration::from_millis(400),
        body_time_max: Duration::from_millis(400),
        heartbeat: Duration::from_millis(50),
        stream_stall_max: Duration::from_millis(300),
        ..ApiLimits::default()
    }
}

pub(super) async fn rig() -> (Rig, Member, std::net::SocketAddr) {
    let rig = tokio::task::spawn_blocking(Rig::new).await.unwrap();
    let address = rig.serve(quick()).await;
    (rig, Member::new(&address.to_string()).unwrap(), address)
}

fn code<T>(result: Result<T, ClientError>) -> ErrorCode {
    match result {
        Ok(_) => panic!("expected a refusal"),
        Err(error) => error.code().unwrap_or_else(|| panic!("{error}")),
    }
}

/// Sends bytes, reads until the server closes (or a second of silence).
pub(super) async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(Ok(n)) =
        tokio::time::timeout(Duration::from_secs(1), stream.read(&mut chunk)).await
    {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A POST with an exact body; status and error code.
async fn post(
    address: std::net::SocketAddr,
    path: &str,
    media: &str,
    body: &[u8],
) -> (u16, Option<ErrorCode>) {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let answer = raw(address, &request).await;
    let status = answer[9..12].parse().unwrap();
    let json = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status, ApiError::from_json(json.as_bytes()).map(|e| e.code))
}

/// HTTP status and error code.
type Answer = (u16, Option<ErrorCode>);

const BINARY: &str = "application/octet-stream";

#[tokio::test(flavor = "multi_thread")]
async fn an_order_gets_its_receipt_in_both_encodings_and_the_same_again() {
    let (_rig, member, address) = rig().await;
    let pin = Pin::new(genesis()).unwrap();
    let order = envelope(1);
    let receipt = member.submit(&order).await.unwrap();
    check_receipt(&pin, order.id(), &receipt).unwrap();
    assert_eq!(member.submit(&order).await.unwrap(), receipt);
    // JSON in its two forms.
    let parts = serde_json::to_vec(&EnvelopeBody::from(&order)).unwrap();
    assert_eq!(
        post(address, "/v1/orders", "application/json", &parts).await,
        (202, None)
    );
    let whole = serde_json::json!({ "envelope": hex::encode(fairlane_types::encode(&order)) });
    let whole = whole.to_string().into_bytes();
    assert_eq!(
        post(address, "/v1/orders", "application/json", &whole).await,
        (202, None)
    );
    let accepted = member.submit_and_wait(&order, Wait::Accepted, Duration::from_secs(1));
    assert_eq!(accepted.await.unwrap().receipt.id, order.id());
    // What the client pins is what the member serves.
    assert_eq!(member.genesis().await.unwrap().hash(), pin.hash());
    assert_eq!(member.info().await.unwrap().genesis, pin.hash());
    assert_eq!(member.epoch().await.unwrap().members.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_are_met_or_time_out_and_leave_the_order_running() {
    let (rig, member, _) = rig().await;
    let order = envelope(1);
    let short = Duration::from_millis(80);
    assert_eq!(
        code(member.submit_and_wait(&order, Wait::Opened, short).await),
        ErrorCode::Timeout
    );
    assert_eq!(
        member.order(order.id()).await.unwrap().status,
        OrderWord::Laned
    );
    let last = Stage::Final { height: Height(1) };
    rig.core.lock().unwrap().stages.insert(order.id(), last);
    let long = Duration::from_secs(10);
    let met = member
        .submit_and_wait(&order, Wait::Final, long)
        .await
        .unwrap();
    assert_eq!(met.order.status, OrderWord::Final);
    assert_eq!(met.order.height, Some(1));
    let waiting = tokio::spawn({
        let (member, order) = (member.clone(), order.clone());
        async move { member.submit_and_wait(&order, Wait::Opened, long).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.emit(std::slice::from_ref(&order));
    let met = waiting.await.unwrap().unwrap();
    assert_eq!(met.order.status, OrderWord::Undecryptable);
    assert_eq!((met.order.height, met.order.position), (Some(1), Some(0)));
    // A core that does not answer is a timeout too, never silence.
    rig.verdict(Verdict::Silence);
    let late = member
        .submit_and_wait(&envelope(2), Wait::Final, short)
        .await;
    assert_eq!(code(late), ErrorCode::Timeout);
    const { assert!(WAIT_MS_DEFAULT > 1_000) };
}

#[test]
fn every_refusal_of_the_protocol_has_its_code() {
    let key = KeyId(Digest([1; 32]));
    let (got, want) = (ChainId(1), ChainId(2));
    let (expiry, time, latest) = (Millis(1), Millis(2), Millis(3));
    let all: [(AdmissionError, ErrorCode); 15] = [
        (EnvelopeError::Suite(9).into(), ErrorCode::UnknownSuite),
        (
            EnvelopeError::WrongChain { got, want }.into(),
            ErrorCode::WrongChain,
        ),
        (EnvelopeError::UnknownKey(key).into(), ErrorCode::UnknownKey),
        (EnvelopeError::Fee(1).into(), ErrorCode::BadLabel),
        (EnvelopeError::Lane(9).into(), ErrorCode::BadLabel),
        (EnvelopeError::Length(9).into(), ErrorCode::BadLength),
        (AdmissionError::BadSignature, ErrorCode::BadSignature),
        (AdmissionError::BadProof, ErrorCode::BadProof),
        (AdmissionError::Expired { expiry, time }, ErrorCode::Expired),
        (
            AdmissionError::ExpiryTooFar { expiry, latest },
            ErrorCode::ExpiryTooFar,
        ),
        (AdmissionError::NonceUsed(4), ErrorCode::NonceUsed),
        (
            AdmissionError::AlreadySequenced,
            ErrorCode::AlreadySequenced,
        ),
        (
            AdmissionError::OverQuota { retry_after_ms: 7 },
            ErrorCode::OverQuota,
        ),
        (
            AdmissionError::OverCapacity { retry_after_ms: 7 },
            ErrorCode::OverCapacity,
        ),
        (AdmissionError::Observer, ErrorCode::NotReady),
    ];
    for (error, code) in all {
        let api = fail::admission(&error);
        assert_eq!(api.code, code, "{error}");
        assert_eq!(api.message, error.to_string());
        let waits = matches!(code, ErrorCode::OverQuota | ErrorCode::OverCapacity);
        assert_eq!(api.retry_after_ms, waits.then_some(7));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_reach_the_client_with_their_code() {
    let (rig, member, _) = rig().await;
    rig.verdict(Verdict::Refuse(AdmissionError::NonceUsed(4)));
    assert_eq!(
        code(member.submit(&envelope(1)).await),
        ErrorCode::NonceUsed
    );
    let results = member
        .submit_batch(&[envelope(1), envelope(2)])
        .await
        .unwrap();
    assert!(
        results
            .iter()
            .all(|r| r.as_ref().unwrap_err().code == ErrorCode::NonceUsed)
    );
    rig.verdict(Verdict::Receipt);
    let results = member
        .submit_batch(&[envelope(1), envelope(2)])
        .await
        .unwrap();
    assert_eq!(results[1].as_ref().unwrap().ct_id, envelope(2).id());
    assert_eq!(member.submit_batch(&[]).await.unwrap().len(), 0);
    let many = vec![envelope(1); 257];
    assert_eq!(code(member.submit_batch(&many).await), ErrorCode::TooLarge);
    rig.handle.drain();
    assert_eq!(code(member.submit(&envelope(3)).await), ErrorCode::Draining);
}

/// THREATS A23: who is refused is told when to come back, in the body and in the header.
#[tokio::test(flavor = "multi_thread")]
async fn over_capacity_says_when_to_try_again() {
    let (rig, member, address) = rig().await;
    let retry_after_ms = 1_750;
    rig.verdict(Verdict::Refuse(AdmissionError::OverCapacity {
        retry_after_ms,
    }));
    let Err(ClientError::Api(error)) = member.submit(&envelope(1)).await else {
        panic!("not refused");
    };
    assert_eq!(error.code, ErrorCode::OverCapacity);
    assert_eq!(error.retry_after_ms.map(u64::from), Some(retry_after_ms));
    let results = member.submit_batch(&[envelope(1)]).await.unwrap();
    let hint = results[0].as_ref().unwrap_err().retry_after_ms;
    assert_eq!(hint.map(u64::from), Some(retry_after_ms));

    let body = fairlane_types::encode(&envelope(1));
    let head = format!(
        "POST /v1/orders HTTP/1.0\r\ncontent-type: {BINARY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = raw(address, &[head.into_bytes(), body].concat()).await;
    assert!(
        answer.to_lowercase().contains("retry-after: 2\r\n"),
        "{answer}"
    );
}

/// The shell's own refusal has the core's measure as well.
#[test]
fn a_full_queue_says_when_to_try_again() {
    let refused = crate::handle::RequestError::OverCapacity {
        retry_after_ms: 3_000,
    };
    let fail::Fail(error) = refused.into();
    assert_eq!(error.code, ErrorCode::OverCapacity);
    assert_eq!(error.retry_after_ms, Some(3_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_oversized_and_plaintext_have_their_own_codes() {
    let (_rig, member, address) = rig().await;
    let order = fairlane_types::encode(&envelope(1));
    let refused = |status, code| (status, Some(code));
    let path = "/v1/orders";
    let cases: [(&str, Vec<u8>, Answer); 9] = [
        (BINARY, vec![], refused(400, ErrorCode::Malformed)),
        (
            BINARY,
            order[..order.len() - 1].to_vec(),
            refused(400, ErrorCode::Malformed),
        ),
        (
            BINARY,
            [&order[..], &[0]].concat(),
            refused(400, ErrorCode::Malformed),
        ),
        (
            BINARY,
            vec![0; 8 * 1024 + 1],
            refused(413, ErrorCode::TooLarge),
        ),
        (
            "application/json",
            b"[]".to_vec(),
            refused(400, ErrorCode::Malformed),
        ),
        (
            "application/json",
            b"{\"label\":{}}".to_vec(),
            refused(400, ErrorCode::Malformed),
        ),
        (
            "application/json",
            b"{\"op\":\"cancel_all\"}".to_vec(),
            refused(400, ErrorCode::PlaintextRefused),
        ),
        (
            BINARY,
            Order::new(OrderAction::CancelAll { market: None }).to_bytes(),
            refused(400, ErrorCode::PlaintextRefused),
        ),
        (
            "text/plain",
            b"hello".to_vec(),
            refused(415, ErrorCode::UnsupportedMedia),
        ),
    ];
    for (media, body, want) in cases {
        assert_eq!(post(address, path, media, &body).await, want, "{media}");
    }
    // Queries and paths.
    let bad = post(address, "/v1/orders?wait=forever", BINARY, &order).await;
    assert_eq!(bad, refused(400, ErrorCode::Malformed));
    let bad = post(address, "/v1/orders?colour=red", BINARY, &order).await;
    assert_eq!(bad, refused(400, ErrorCode::Malformed));
    assert_eq!(
        post(address, "/v2/orders", BINARY, &order).await,
        refused(404, ErrorCode::NotFound)
    );
    assert_eq!(
        post(address, "/v1/info", BINARY, &order).await,
        refused(405, ErrorCode::MethodNotAllowed)
    );
    let unknown = CtId(Digest([9; 32]));
    assert_eq!(code(member.order(unknown).await), ErrorCode::NotFound);
    assert_eq!(
        code(member.block_at(Height(5)).await),
        ErrorCode::OutOfRange
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_slow_writers_are_refused_and_the_port_lives_on() {
    let (_rig, member, address) = rig().await;
    let answer = raw(
        address,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http\r\n\r\n",
    )
    .await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100_000));
    assert!(!raw(address, long.as_bytes()).await.contains(" 200 "));
    // Slowloris: a header that never ends, a body that never comes.
    let start = std::time::Instant::now();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /v1/info HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    let mut end = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut end))
        .await
        .unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    let head = "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
    assert!(raw(address, head.as_bytes()).await.contains("malformed"));
    member.info().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_block_did_and_an_account_with_its_proof_are_served() {
    let (rig, member, _) = rig().await;
    let (one, two) = (Height(1), Height(2));
    assert_eq!(code(member.executed(one).await), ErrorCode::OutOfRange);
    rig.emit(&[envelope(1), envelope(2)]);
    let executor = rig.handle.executor().unwrap().clone();
    let advanced = tokio::task::spawn_blocking(move || executor.advance(&|_| ()));
    assert_eq!(advanced.await.unwrap(), Ok(true));
    let done = member.executed(one).await.unwrap();
    let codes: Vec<u16> = done.receipts.iter().map(|receipt| receipt.code).collect();
    assert_eq!((done.height, codes), (1, vec![1, 1]));
    assert_eq!(code(member.executed(two).await), ErrorCode::OutOfRange);

    let account = member.account(&key(2)).await.unwrap();
    assert_eq!(
        (account.height, account.collateral.as_str()),
        (1, "1000000")
    );
    assert_eq!(account.state_root, done.state_root);
    let proof: AccountProof = fairlane_types::decode(&account.proof, account.proof.len()).unwrap();
    assert_eq!(proof.account.key, key(2));
    assert_eq!(proof.state_root(), Some(done.state_root));
    assert_eq!(code(member.account(&key(77)).await), ErrorCode::NotFound);

    let claim = member.state_claim(one).await.unwrap();
    assert_eq!(
        (claim.height, claim.member),
        (one, fairlane_types::MemberId(1))
    );
    assert_eq!(claim.state_root, done.state_root);
    assert_eq!(claim.receipts_root, done.receipts_root);
    let check = claim.signature_check(&super::testing::member_key(1).public());
    assert!(check.verify().is_ok());
    assert_eq!(code(member.state_claim(two).await), ErrorCode::OutOfRange);

    let markets = member.markets().await.unwrap();
    assert_eq!((markets.len(), markets[0].mark), (1, 1_000));
    assert_eq!((markets[0].oracle.as_str(), markets[0].price), ("fresh", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emitted_order_is_served_from_disk_with_a_proof() {
    let (rig, member, _) = rig().await;
    let envelopes: Vec<_> = (0..5).map(envelope).collect();
    let block = rig.emit(&envelopes);
    let pin = Pin::new(genesis()).unwrap();
    for (index, envelope) in envelopes.iter().enumerate() {
        let order = member.order(envelope.id()).await.unwrap();
        assert_eq!(order.position, Some(index as u64));
        let proof = member.proof(envelope.id()).await.unwrap();
        assert_eq!(proof.envelope, Some(EnvelopeBody::from(envelope)));
        let (item, root) = check_proof(&pin, envelope.id(), &proof).unwrap();
        assert_eq!((&item, root), (&block.items[index], block.root));
    }
    assert_eq!(member.block_at(Height(1)).await.unwrap(), block);
    // Known, but not emitted: retryable.
    let waiting = envelope(9);
    member.submit(&waiting).await.unwrap();
    let error = member.proof(waiting.id()).await.unwrap_err();
    assert!(error.is_retryable() && error.code() == Some(ErrorCode::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_attestation_above_a_height_is_served() {
    let (rig, member, _) = rig().await;
    assert_eq!(code(member.attestation(None).await), ErrorCode::NotFound);
    let made = |height: u64| Attestation {
        epoch: Epoch(0),
        height: Height(height),
        root: Root(Digest([height as u8; 32])),
        certificate: ThresholdCertificate([9; CERTIFICATE_BYTES]),
    };
    rig.attest(&made(4));
    rig.attest(&made(300));
    for (asked, found) in [(1, 4), (4, 4), (5, 300), (300, 300)] {
        let attestation = member.attestation(Some(Height(asked))).await.unwrap();
        assert_eq!(attestation, made(found));
    }
    assert_eq!(member.attestation(None).await.unwrap(), made(300));
    let beyond = member.attestation(Some(Height(301))).await;
    assert_eq!(code(beyond), ErrorCode::NotFound);
    // It is not signed: whoever trusts the key sees that.
    assert!(!made(4).verify(&[1; 48], ChainId(7)));
    // Pages of blocks read back.
    let blocks: Vec<_> = (1..=3).map(|nonce| rig.emit(&[envelope(nonce)])).collect();
    let page = member.blocks(Height(1), Height(3)).await.unwrap();
    assert_eq!(page, blocks[..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_attested_state_above_a_height_is_served() {
    let (rig, member, _) = rig().await;
    assert_eq!(code(member.state(None).await), ErrorCode::NotFound);
    let made = |height: u64| StateAttestation {
        epoch: Epoch(0),
        height: Height(height),
        roots: StateRoots {
            genesis: Digest([1; 32]),
            state_root: Digest([height as u8; 32]),
            receipts_root: Digest([2; 32]),
        },
        certificate: ThresholdCertificate([9; CERTIFICATE_BYTES]),
    };
    rig.attest_state(&made(8));
    rig.attest_state(&made(304));
    for (asked, found) in [(1, 8), (8, 8), (9, 304), (304, 304)] {
        assert_eq!(
            member.state(Some(Height(asked))).await.unwrap(),
            made(found)
        );
    }
    assert_eq!(member.state(None).await.unwrap(), made(304));
    let beyond = member.state(Some(Height(305))).await;
    assert_eq!(code(beyond), ErrorCode::NotFound);
    // This chain signs nothing: nobody is left waiting.
    let account = member.attested_account(&key(2)).await;
    assert_eq!(code(account), ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_replays_then_tails_and_says_when_it_is_quiet() {
    let (rig, member, _) = rig().await;
    let blocks: Vec<_> = (0..100).map(|i| rig.emit(&[envelope(i)])).collect();
    let mut stream = member.stream(Height(3)).await.unwrap();
    assert_eq!(
        stream.next().await.unwrap(),
        Frame::Heartbeat { head: Height(100) }
    );
    for block in &blocks[2..] {
        assert_eq!(stream.next().await.unwrap(), Frame::Block(block.clone()));
    }
    assert!(matches!(
        stream.next().await.unwrap(),
        Frame::Heartbeat { .. }
    ));
    let tail = rig.emit(&[]);
    loop {
        match stream.next().await.unwrap() {
            Frame::Heartbeat { .. } => {}
            frame => break assert_eq!(frame, Frame::Block(tail)),
        }
    }
    // Below what is kept: typed, with the first height there is; never "start at head".
    rig.prune(Height(50));
    let error = member.stream(Height(49)).await.unwrap_err();
    let ClientError::Api(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.code, ErrorCode::OutOfRange);
    assert_eq!(error.details["first_available"], "50");
    member.stream(Height(50)).await.unwrap();
    // The end is said.
    rig.handle.stop();
    loop {
        match stream.next().await.unwrap() {
            Frame::Heartbeat { .. } => {}
            frame => {
                let (reason, next) = ("draining".into(), Height(102));
                break assert_eq!(frame, Frame::Eof { reason, next });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_resume_after_the_last_id() {
    let (rig, _, address) = rig().await;
    for i in 0..6 {
        rig.emit(&[envelope(i)]);
    }
    let get = |extra: &str| {
        format!(
            "GET /v1/stream?from=2 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{extra}\r\n"
        )
    };
    let ids = |answer: &str| -> Vec<u64> {
        let lines = answer.lines().filter_map(|line| line.strip_prefix("id: "));
        lines.map(|id| id.parse().unwrap()).collect()
    };
    let read = |request: String| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut chunk) = (String::new(), [0; 65536]);
        while !answer.contains("id: 6\n") {
            let n = stream.read(&mut chunk).await.unwrap();
            answer.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
        answer
    };
    let first = read(get("")).await;
    assert_eq!(ids(&first), [2, 3, 4, 5, 6]);
    assert!(first.contains("event: heartbeat") && first.contains("\"height\":\"2\""));
    let resumed = read(get("Last-Event-ID: 4\r\n")).await;
    assert_eq!(ids(&resumed), [5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_is_closed_and_streams_are_bounded() {
    let (rig, _, _) = rig().await;
    let limits = ApiLimits {
        streams_max: 1,
        ..quick()
    };
    let address = rig.serve(limits).await;
    let member = Member::new(&address.to_string()).unwrap();
    // Enough to fill the socket buffers many times over.
    let batch: Vec<_> = (0..200).map(envelope).collect();
    for _ in 0..150 {
        rig.emit(&batch);
    }
    let request = "GET /v1/stream?from=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stalled = TcpStream::connect(address).await.unwrap();
    stalled.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        code(member.stream(Height(1)).await),
        ErrorCode::TooManyStreams
    );
    // It reads nothing; within its stall limit and last words the server lets go.
    let start = std::time::Instant::now();
    let mut freed = false;
    while start.elapsed() < Duration::from_secs(10) && !freed {
        tokio::time::sleep(Duration::from_millis(100)).await;
        freed = member.stream(Height(100)).await.is_ok();
    }
    assert!(freed, "the stalled reader keeps its place");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stalled.read_to_end(&mut rest));
    let _ = read.await.expect("the connection is closed");
}

fn decodes_to_something_typed(media: Media, bytes: &[u8]) {
    if let Err(fail) = body::envelope(media, bytes) {
        assert!(matches!(
            fail.0.code,
            ErrorCode::Malformed | ErrorCode::PlaintextRefused
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_never_panic_the_decoders(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        decodes_to_something_typed(Media::Binary, &bytes);
        decodes_to_something_typed(Media::Json, &bytes);
        let _ = orders::decode_batch(&bytes);
    }

    #[test]
    fn mutated_envelopes_decode_or_are_malformed(
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        end in any::<proptest::sample::Index>(),
    ) {
        let order = envelope(1);
        let json = serde_json::to_vec(&EnvelopeBody::from(&order)).unwrap();
        let batch = fairlane_types::encode(&vec![order.clone(); 3]);
        for (media, valid) in [(Media::Binary, fairlane_types::encode(&order)), (Media::Json, json)] {
            let mut bytes = valid.clone();
            for (at, value) in &cuts {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            decodes_to_something_typed(media, &bytes);
            bytes.truncate(end.index(bytes.len()));
            decodes_to_something_typed(media, &bytes);
        }
        let mut bytes = batch;
        for (at, value) in &cuts {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let _ = orders::decode_batch(&bytes);
        // What does decode is what was sent: no second encoding of an envelope.
        let bytes = fairlane_types::encode(&order);
        let back: Envelope = body::envelope(Media::Binary, &bytes).unwrap();
        prop_assert_eq!(fairlane_types::encode(&back), bytes);
    }
}

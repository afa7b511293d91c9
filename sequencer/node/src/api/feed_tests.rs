//! The client's feeds over members that are honest, fail, lie or keep something back.

use std::collections::BTreeSet;
use std::time::Duration;

use fairlane_client::wire::ErrorCode;
use fairlane_client::{
    AttestedEvent, AttestedFeed, ClientError, Cursor, Feed, FeedEvent, Member, Pin, Start,
};
use fairlane_types::{ChainId, Height, SequencedBlock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ApiLimits;
use super::testing::{Rig, Signers, envelope, genesis};

/// Longer than any member is waited for.
const fn patience() -> Duration {
    Duration::from_secs(60)
}

async fn rig() -> (Rig, Member) {
    let rig = tokio::task::spawn_blocking(Rig::new).await.unwrap();
    let limits = ApiLimits {
        heartbeat: Duration::from_millis(50),
        ..ApiLimits::default()
    };
    let address = rig.serve(limits).await;
    (rig, Member::new(&address.to_string()).unwrap())
}

/// Blocks with one order each, the last one attested.
fn emit(rig: &Rig, signers: &Signers, nonces: std::ops::Range<u64>) -> Vec<SequencedBlock> {
    let blocks: Vec<_> = nonces.map(|nonce| rig.emit(&[envelope(nonce)])).collect();
    rig.attest(&signers.attest(blocks.last().unwrap()));
    blocks
}

/// Reads so many blocks; gives them, and the members that were left with the reasons.
async fn read(feed: &mut Feed, count: usize) -> (Vec<SequencedBlock>, Vec<(String, ClientError)>) {
    let (mut blocks, mut left) = (Vec::new(), Vec::new());
    while blocks.len() < count {
        let event = tokio::time::timeout(patience(), feed.next()).await;
        match event.expect("the feed goes on").unwrap() {
            FeedEvent::Block(block) => blocks.push(block),
            FeedEvent::Moved { from, error } => left.push((from, error)),
            FeedEvent::Attested(_) | FeedEvent::Heartbeat(_) => {}
        }
    }
    (blocks, left)
}

async fn error(feed: &mut Feed) -> ClientError {
    let block = tokio::time::timeout(patience(), feed.next_block()).await;
    block.expect("it ends").unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invented_chain_comes_to_nothing_and_no_honest_member_is_blamed() {
    let signers = Signers::new();
    let pin = Pin::new(signers.genesis()).unwrap();
    let ((liar, false_member), (honest, true_member)) = (rig().await, rig().await);
    for _ in 0..9 {
        liar.emit(&[]);
    }
    let blocks = emit(&honest, &signers, 0..6);
    // Without any attestation: held back until another member shows that there is one.
    let members = vec![false_member.clone(), true_member.clone()];
    let mut feed = Feed::new(pin.clone(), members.clone(), Cursor::start(&pin)).unwrap();
    let (got, left) = read(&mut feed, 6).await;
    assert_eq!(got, blocks);
    let [(from, ClientError::Withheld { height, .. })] = &left[..] else {
        panic!("{left:?}");
    };
    assert_eq!(
        (from.as_str(), *height),
        (false_member.address(), Height(6))
    );
    // With the committee's own attestation: a lie that is seen at once.
    liar.attest(&signers.attest(&blocks[5]));
    let mut feed = Feed::new(pin.clone(), members, Cursor::start(&pin)).unwrap();
    let (got, left) = read(&mut feed, 6).await;
    assert_eq!(got, blocks);
    assert!(
        matches!(&left[..], [(from, ClientError::False { .. })] if from == false_member.address()),
        "{left:?}"
    );
    // With one that the committee has not signed.
    let mut forged = signers.attest(&blocks[5]);
    forged.root = liar.handle.reader().block(Height(6)).unwrap().unwrap().root;
    liar.attest(&forged);
    let mut feed = Feed::new(pin.clone(), vec![false_member.clone()], Start::First).unwrap();
    let error = error(&mut feed).await;
    assert!(matches!(error, ClientError::False { .. }), "{error}");
    assert_eq!(feed.height(), Height(0));
    assert!(feed.cursor().is_none());
    // The honest one is still there for whoever comes by.
    let more = emit(&honest, &signers, 6..8);
    let mut feed = Feed::new(pin.clone(), vec![true_member], Start::At(Height(7))).unwrap();
    assert_eq!(read(&mut feed, 2).await.0, more);
    assert_eq!(
        feed.cursor().unwrap().next_position(),
        more[1].next_position()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_an_invented_chain_is_named_and_nobody_else() {
    let signers = Signers::new();
    let pin = Pin::new(signers.genesis()).unwrap();
    let ((liar, false_member), (honest, true_member)) = (rig().await, rig().await);
    liar.emit(&[]);
    emit(&honest, &signers, 0..3);
    // On members' words an invented block passes.
    let members = vec![false_member, true_member.clone()];
    let start = Cursor::start(&pin);
    let mut feed = Feed::unattested(pin.clone(), members, start);
    read(&mut feed, 1).await;
    let cursor = feed.cursor().unwrap().clone();
    // Then the two contradict each other: nobody knows who is right.
    liar.handle.stop();
    let contradiction = error(&mut feed).await;
    assert!(
        matches!(contradiction, ClientError::Contradiction { .. }),
        "{contradiction}"
    );
    assert_eq!(feed.cursor(), Some(&cursor), "nothing moved");
    // The committee's word tells that it is the cursor which is wrong.
    let mut feed = Feed::new(pin.clone(), vec![true_member], cursor).unwrap();
    let error = error(&mut feed).await;
    assert!(matches!(error, ClientError::Place(_)), "{error}");
    // A chain that signs nothing has no such feed.
    let silent = Pin::new(genesis()).unwrap();
    let start = Cursor::start(&silent);
    assert!(matches!(
        Feed::new(silent, Vec::new(), start),
        Err(ClientError::NoAttestations)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_goes_on_over_other_members_and_a_restart() {
    let signers = Signers::new();
    let pin = Pin::new(signers.genesis()).unwrap();
    let ((one, first), (two, second)) = (rig().await, rig().await);
    emit(&one, &signers, 0..20);
    let mut blocks = emit(&two, &signers, 0..20);
    let members = vec![first.clone(), second];
    let mut feed = Feed::new(pin.clone(), members.clone(), Cursor::start(&pin)).unwrap();
    assert_eq!(read(&mut feed, 20).await.0, blocks);
    // What is not attested yet does not come out; what covers it is told.
    blocks.extend((20..23).map(|nonce| two.emit(&[envelope(nonce)])));
    one.handle.stop();
    let attestation = signers.attest(&blocks[21]);
    let mut told = BTreeSet::new();
    let mut attested = None;
    while attested.is_none() {
        match feed.next().await.unwrap() {
            FeedEvent::Attested(found) => {
                if found.height > Height(20) {
                    attested = Some(found);
                }
            }
            FeedEvent::Block(block) => assert!(told.insert(block.height)),
            FeedEvent::Moved { from, .. } => assert_eq!(from, first.address()),
            FeedEvent::Heartbeat(head) => {
                // It is there, and waits.
                assert!(told.is_empty() || !told.contains(&Height(23)));
                if head == Height(23) {
                    two.attest(&attestation);
                }
            }
        }
    }
    assert_eq!(attested, Some(attestation));
    assert_eq!(told, BTreeSet::from([Height(21), Height(22)]));
    // Another process goes on where this one was.
    let cursor = feed.cursor().unwrap().clone();
    drop(feed);
    two.attest(&signers.attest(&blocks[22]));
    let mut feed = Feed::new(pin, members, cursor).unwrap();
    assert_eq!(read(&mut feed, 1).await.0, blocks[22..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_keeps_something_back_is_left() {
    let signers = Signers::new();
    let pin = Pin::new(signers.genesis()).unwrap();
    let ((slow, behind), (quick, ahead)) = (rig().await, rig().await);
    emit(&slow, &signers, 0..2);
    let blocks = emit(&quick, &signers, 0..5);
    let members = vec![behind.clone(), ahead.clone()];
    let expected = |left: Vec<(String, ClientError)>| {
        assert!(
            matches!(&left[..], [(from, ClientError::Withheld { .. })] if from == behind.address()),
            "{left:?}"
        );
    };
    let mut feed = Feed::new(pin.clone(), members.clone(), Cursor::start(&pin)).unwrap();
    let (got, left) = read(&mut feed, 5).await;
    assert_eq!(got, blocks);
    expected(left);
    let mut feed = Feed::unattested(pin.clone(), members.clone(), Cursor::start(&pin));
    let (got, left) = read(&mut feed, 5).await;
    assert_eq!(got, blocks);
    expected(left);
    // With the key alone.
    let key = *pin.certificate_key().unwrap();
    let mut feed = AttestedFeed::new(members, key, ChainId(7), Some(Height(1)));
    let (mut got, mut left) = (Vec::new(), Vec::new());
    while got.len() < 5 {
        let event = tokio::time::timeout(patience(), feed.next()).await;
        match event.expect("the feed goes on").unwrap() {
            AttestedEvent::Blocks { blocks, .. } => got.extend(blocks),
            AttestedEvent::Moved { from, error } => left.push((from, error)),
            AttestedEvent::Heartbeat(_) => {}
        }
    }
    assert_eq!(got, blocks);
    expected(left);
    // One that says that it is ahead, and has nothing to show for it, is not followed.
    let mut word = signers.attest(&blocks[4]);
    word.height = Height(9);
    slow.attest(&word);
    let members = vec![ahead, behind];
    let mut feed = Feed::new(pin.clone(), members, Cursor::start(&pin)).unwrap();
    read(&mut feed, 5).await;
    // Longer than it takes to ask, and to leave.
    let quiet = tokio::time::sleep(Duration::from_secs(9));
    tokio::pin!(quiet);
    loop {
        tokio::select! {
            () = &mut quiet => break,
            event = feed.next() => assert!(
                matches!(event, Ok(FeedEvent::Heartbeat(_) | FeedEvent::Attested(_))),
                "{event:?}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heights_that_are_kept_nowhere_end_a_feed_and_say_what_is_kept() {
    let signers = Signers::new();
    let pin = Pin::new(signers.genesis()).unwrap();
    let ((one, first), (two, second)) = (rig().await, rig().await);
    emit(&one, &signers, 0..9);
    let blocks = emit(&two, &signers, 0..9);
    one.prune(Height(6));
    two.prune(Height(4));
    let nobody = Member::new("127.0.0.1:1").unwrap();
    let key = *pin.certificate_key().unwrap();
    let pruned = |error: ClientError| {
        assert_eq!(error.code(), Some(ErrorCode::OutOfRange), "{error}");
        let ClientError::Api(error) = error else {
            panic!("{error}")
        };
        assert_eq!(error.first_available(), Some(4));
    };
    for members in [
        vec![first.clone(), second.clone()],
        vec![nobody, first.clone(), second.clone()],
    ] {
        let start = Cursor::start(&pin);
        let mut feed = Feed::new(pin.clone(), members.clone(), start.clone()).unwrap();
        pruned(error(&mut feed).await);
        let mut feed = Feed::unattested(pin.clone(), members.clone(), start);
        pruned(error(&mut feed).await);
        let mut feed = AttestedFeed::new(members, key, ChainId(7), Some(Height(1)));
        let end = loop {
            if let Err(error) = tokio::time::timeout(patience(), feed.next()).await.unwrap() {
                break error;
            }
        };
        pruned(end);
    }
    // One of them has it.
    let members = vec![first.clone(), second];
    let mut feed = Feed::new(pin.clone(), members, Start::At(Height(4))).unwrap();
    assert_eq!(read(&mut feed, 6).await.0, blocks[3..]);
    // Or begin where the first of them does.
    let mut feed = Feed::new(pin, vec![first], Start::First).unwrap();
    assert_eq!(read(&mut feed, 4).await.0, blocks[5..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_come_in_a_stream_that_asks_for_them() {
    let signers = Signers::new();
    let (rig, member) = rig().await;
    let blocks = emit(&rig, &signers, 0..3);
    rig.attest(&signers.attest(&blocks[1]));
    let address = member.address().trim_start_matches("http://").to_owned();
    for (query, want) in [
        (
            "from=1&attestations=true",
            vec!["block", "block", "block", "attestation", "heartbeat"],
        ),
        (
            "from=3&attestations=true",
            vec!["block", "attestation", "heartbeat"],
        ),
        ("from=1", vec!["block", "block", "block", "heartbeat"]),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET /v1/stream?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut text, mut chunk) = (String::new(), [0; 4096]);
        // The head is told first, and again when there is nothing else.
        while text.matches("event: heartbeat").count() < 2 {
            let read = tokio::time::timeout(patience(), stream.read(&mut chunk)).await;
            let n = read.unwrap().unwrap();
            assert_ne!(n, 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
        let events: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("event: "))
            .skip(1)
            .take(want.len())
            .collect();
        assert_eq!(events, want, "{query}");
    }
}

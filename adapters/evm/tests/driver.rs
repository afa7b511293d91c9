//! The driver against an execution client on loopback.

#![allow(clippy::unwrap_used, clippy::panic)]

mod mock;

use fairlane_evm::{
    BATCH_BYTES_MAX, Driver, Engine, EngineError, Fork, JwtSecret, Pushed, Rules, SLOT_SECONDS_MAX,
    Slots, TRANSACTION_BYTES_MAX,
};
use fairlane_types::{
    ChainId, Digest, Height, Item, Label, Micros, Millis, Outcome, Position, PublicKey, Root,
    SequencedBlock,
};
use mock::{Break, Manner, Mock, SECRET};

const START: Root = Root(Digest([7; 32]));

fn rules() -> Rules {
    Rules {
        slot_seconds: 2,
        gas_limit: 30_000_000,
        fee_recipient: [0xfe; 20],
        fork: Fork::Prague,
    }
}

/// Heights at these times with these payloads, chained.
fn sequence(heights: &[(u64, Vec<Vec<u8>>)]) -> Vec<SequencedBlock> {
    let mut parent = START;
    let mut all = Vec::new();
    for (at, (time, payloads)) in heights.iter().enumerate() {
        let item = |(n, payload): (usize, &Vec<u8>)| Item {
            position: Position(n as u64),
            label: Label {
                suite: 1,
                chain: ChainId(1),
                key_id: Default::default(),
                sender: PublicKey([1; 32]),
                nonce: n as u64,
                expiry: Default::default(),
                fee: 0,
                lane: 255,
                reserved: [0; 19],
            },
            ct_id: Default::default(),
            stamp: Micros(0),
            outcome: Outcome::Opened {
                payload: payload.clone(),
                opening: [0; 32],
            },
        };
        let block = SequencedBlock {
            chain: ChainId(1),
            epoch: Default::default(),
            height: Height(at as u64 + 1),
            block: Default::default(),
            time: Millis(*time),
            parent_root: parent,
            first_position: Position(0),
            items: payloads.iter().enumerate().map(item).collect(),
            state: None,
            root: Root::default(),
        }
        .sealed();
        parent = block.root;
        all.push(block);
    }
    all
}

/// Seven heights in four slots: two with transactions, of which some are invalid, one empty,
/// and one that stays open.
fn story() -> Vec<SequencedBlock> {
    let tx = |sender, nonce| vec![2, sender, nonce];
    sequence(&[
        (10_100, vec![tx(1, 0), tx(2, 0)]),
        (10_900, vec![tx(1, 1), tx(1, 1), vec![0x7e, 1, 2], tx(3, 5)]),
        (11_999, vec![tx(2, 1), b"\x01".to_vec()]),
        (12_000, vec![]),
        (
            14_500,
            vec![tx(9, 9), tx(2, 1), tx(2, 2), tx(1, 2), tx(4, 4)],
        ),
        (15_000, vec![tx(4, 0)]),
        (16_000, vec![tx(5, 0)]),
    ])
}

async fn connect(mock: &Mock) -> Result<Driver, EngineError> {
    connect_as(mock, rules()).await
}

async fn connect_as(mock: &Mock, rules: Rules) -> Result<Driver, EngineError> {
    let address = mock.serve().await;
    let secret = JwtSecret::from_hex(&hex::encode(SECRET)).unwrap();
    let engine = Engine::new(&format!("http://{address}"), secret)?;
    Driver::connect(engine, rules, START).await
}

/// One process's life: up to the end of the blocks or the first error.
async fn life(mock: &Mock, blocks: &[SequencedBlock]) -> Result<(), EngineError> {
    let mut driver = connect(mock).await?;
    for block in blocks {
        driver.push(block)?;
        while driver.advance().await?.is_some() {}
    }
    Ok(())
}

#[tokio::test]
async fn slots_become_blocks_by_four_calls_in_this_order() {
    let mock = Mock::new(Manner::LeavesOut);
    let blocks = story();
    let mut driver = connect(&mock).await.unwrap();
    assert_eq!(mock.take_calls(), ["eth_getBlockByNumber"]);
    for block in &blocks[..3] {
        assert_eq!(driver.push(block).unwrap(), Pushed::Taken);
        assert!(!driver.is_due() && driver.advance().await.unwrap().is_none());
    }
    assert!(mock.take_calls().is_empty());
    driver.push(&blocks[3]).unwrap();
    let batch = driver.advance().await.unwrap().unwrap();
    assert_eq!((batch.timestamp, batch.height), (10, Height(3)));
    assert_eq!(
        mock.take_calls(),
        [
            "engine_forkchoiceUpdatedV3+",
            "engine_getPayloadV4",
            "engine_newPayloadV4",
            "engine_forkchoiceUpdatedV3",
        ]
    );
    for block in &blocks[4..] {
        driver.push(block).unwrap();
        while driver.advance().await.unwrap().is_some() {}
    }
    let chain = mock.chain();
    let times: Vec<_> = chain
        .iter()
        .map(|block| (block.number, block.timestamp))
        .collect();
    assert_eq!(times, [(0, 1), (1, 10), (2, 12), (3, 14)]);
    // Deposits and one byte are no transactions; a nonce that is not the next is invalid.
    let ids = |at: usize| -> Vec<(u8, u8)> {
        chain[at]
            .transactions
            .iter()
            .map(|tx| (tx[1], tx[2]))
            .collect()
    };
    assert_eq!(ids(1), [(1, 0), (2, 0), (1, 1), (2, 1)]);
    assert_eq!(ids(2), []);
    assert_eq!(ids(3), [(2, 2), (1, 2), (4, 0)]);
    assert_eq!(driver.left_out(), 5);
    // Each block names the sequence that it was made from.
    for (at, height) in [(1, 2), (2, 3), (3, 5)] {
        let root = format!("0x{}", hex::encode(blocks[height].root.0.0));
        assert_eq!(chain[at].beacon_root, root);
    }
    assert_eq!(driver.sealed(), blocks[5].root);
}

/// V3 throughout: the parent beacon root and no blobs go with each payload, and the same
/// sequence gives the same blocks as on Prague.
#[tokio::test]
async fn on_cancun_payloads_are_v3_and_the_wrong_fork_is_said() {
    let (mock, prague) = (Mock::new(Manner::LeavesOut), Mock::new(Manner::LeavesOut));
    mock.state().cancun = true;
    let cancun = Rules {
        fork: Fork::Cancun,
        ..rules()
    };
    let mut driver = connect_as(&mock, cancun).await.unwrap();
    mock.take_calls();
    for block in &story() {
        driver.push(block).unwrap();
        while driver.advance().await.unwrap().is_some() {}
    }
    let calls = mock.take_calls();
    let slot = [
        "engine_forkchoiceUpdatedV3+",
        "engine_getPayloadV3",
        "engine_newPayloadV3",
        "engine_forkchoiceUpdatedV3",
    ];
    assert_eq!(calls.len(), 3 * slot.len());
    assert!(calls.chunks(slot.len()).all(|made| made == slot));
    life(&prague, &story()).await.unwrap();
    assert_eq!(mock.chain(), prague.chain());
    // Told another fork than the client is on, it stops and makes nothing.
    let other = Mock::new(Manner::LeavesOut);
    other.state().cancun = true;
    let error = life(&other, &story()).await.unwrap_err();
    assert!(
        matches!(error, EngineError::Refused { code: -38005, .. }) && !error.is_retryable(),
        "{error}"
    );
    assert_eq!(other.chain().len(), 1);
}

#[tokio::test]
async fn both_kinds_of_client_build_the_same_blocks() {
    let (one, other) = (Mock::new(Manner::LeavesOut), Mock::new(Manner::Refuses));
    life(&one, &story()).await.unwrap();
    life(&other, &story()).await.unwrap();
    assert_eq!(one.chain(), other.chain());
    // Halving asks more often, but not for each transaction.
    let asked = |mock: &Mock| {
        mock.take_calls()
            .iter()
            .filter(|call| call.ends_with('+'))
            .count()
    };
    assert_eq!(asked(&one), 3);
    assert!((4..=20).contains(&asked(&other)));
}

#[tokio::test]
async fn a_kill_at_any_call_changes_nothing() {
    for manner in [Manner::LeavesOut, Manner::Refuses] {
        let blocks = story();
        let whole = Mock::new(manner);
        life(&whole, &blocks).await.unwrap();
        let calls = whole.take_calls().len() as u64;
        for at in 1..=calls {
            for breaks in [Break::Before(at), Break::After(at)] {
                let mock = Mock::new(manner);
                mock.state().breaks = breaks;
                // The first process dies of the broken call, the second starts anew.
                let first = life(&mock, &blocks).await.unwrap_err();
                assert!(first.is_retryable(), "{first}");
                life(&mock, &blocks).await.unwrap();
                assert_eq!(mock.chain(), whole.chain(), "call {at}");
            }
        }
    }
}

#[tokio::test]
async fn a_broken_call_is_tried_again_by_the_same_process() {
    let whole = Mock::new(Manner::LeavesOut);
    life(&whole, &story()).await.unwrap();
    let calls = whole.take_calls().len() as u64;
    for at in 2..=calls {
        let mock = Mock::new(Manner::LeavesOut);
        let mut driver = connect(&mock).await.unwrap();
        mock.state().breaks = Break::After(at);
        mock.state().syncing = 2;
        let mut failed = 0;
        for block in &story() {
            driver.push(block).unwrap();
            while driver.is_due() {
                match driver.advance().await {
                    Ok(_) => {}
                    Err(error) if error.is_retryable() && failed < 10 => failed += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        // The client was syncing twice; the last calls are not reached by that number.
        assert!((2..=3).contains(&failed), "{failed}");
        assert_eq!(mock.chain(), whole.chain());
    }
}

#[tokio::test]
async fn heights_that_come_again_are_known_and_gaps_are_forks() {
    let mock = Mock::new(Manner::LeavesOut);
    let blocks = story();
    let mut driver = connect(&mock).await.unwrap();
    for block in &blocks[..5] {
        assert_eq!(driver.push(block).unwrap(), Pushed::Taken);
        assert_eq!(driver.push(block).unwrap(), Pushed::Known);
        assert_eq!(driver.push(&blocks[0]).unwrap(), Pushed::Known);
    }
    assert!(matches!(
        driver.push(&blocks[6]),
        Err(EngineError::Fork { got: Height(7), .. })
    ));
    assert_eq!(driver.push(&blocks[5]).unwrap(), Pushed::Taken);
    while driver.advance().await.unwrap().is_some() {}
    // A new process may be fed from the start, or from the height of the head on.
    for from in [0, 2, 3] {
        let mut again = connect(&mock).await.unwrap();
        let pushed: Vec<_> = blocks[from..4]
            .iter()
            .map(|b| again.push(b).unwrap())
            .collect();
        let taken = pushed.iter().filter(|p| **p == Pushed::Taken).count();
        assert_eq!((taken, again.is_following()), (0, true), "{from}");
        assert_eq!(again.push(&blocks[4]).unwrap(), Pushed::Taken);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_said() {
    let mock = Mock::new(Manner::LeavesOut);
    let address = mock.serve().await;
    let secret = JwtSecret::from_hex(&"00".repeat(32)).unwrap();
    let engine = Engine::new(&format!("http://{address}"), secret).unwrap();
    let error = Driver::connect(engine, rules(), START).await.err().unwrap();
    assert!(matches!(error, EngineError::Unauthorized), "{error}");
    assert!(mock.take_calls().is_empty());
}

#[tokio::test]
async fn what_was_not_asked_for_does_not_become_the_head() {
    type Forge = fn(&str, &mut serde_json::Value);
    let forgeries: [(&str, Forge); 8] = [
        ("parentHash", |m, v| {
            set(m, v, "parentHash", format!("0x{}", "11".repeat(32)))
        }),
        ("blockNumber", |m, v| set(m, v, "blockNumber", "0x5".into())),
        ("timestamp", |m, v| set(m, v, "timestamp", "0xb".into())),
        ("prevRandao", |m, v| {
            set(m, v, "prevRandao", format!("0x{}", "00".repeat(32)))
        }),
        ("feeRecipient", |m, v| {
            set(m, v, "feeRecipient", format!("0x{}", "ee".repeat(20)))
        }),
        ("gasLimit", |m, v| set(m, v, "gasLimit", "0x1".into())),
        ("transactions", |m, v| {
            if m == "engine_getPayloadV4" {
                v["executionPayload"]["transactions"] = serde_json::json!(["0x020900", "0x020100"]);
            }
        }),
        ("transactions", |m, v| {
            if m == "engine_getPayloadV4" {
                v["executionPayload"]["transactions"] = serde_json::json!(["0x020200", "0x020100"]);
            }
        }),
    ];
    for (field, forge) in forgeries {
        let mock = Mock::new(Manner::LeavesOut);
        mock.state().forge = Some(forge);
        match life(&mock, &story()).await {
            Err(EngineError::Answer { reason, .. }) => assert!(reason.contains(field), "{reason}"),
            other => panic!("{field}: {other:?}"),
        }
        assert_eq!(mock.chain().len(), 1);
    }
    // An engine that contradicts itself, or says nothing.
    let lies: [Forge; 4] = [
        |m, v| {
            if m == "engine_newPayloadV4" {
                *v = serde_json::json!({"status": "INVALID", "validationError": "bad root"});
            }
        },
        |m, v| {
            if m == "engine_newPayloadV4" {
                *v = serde_json::json!({});
            }
        },
        |m, v| {
            if m == "engine_forkchoiceUpdatedV3" {
                v["payloadId"] = serde_json::Value::Null;
            }
        },
        |_, v| *v = serde_json::json!([1, "0x"]),
    ];
    for lie in lies {
        let mock = Mock::new(Manner::LeavesOut);
        mock.state().forge = Some(lie);
        let error = life(&mock, &story()).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(mock.chain().len(), 1);
    }
}

fn set(method: &str, answer: &mut serde_json::Value, field: &str, value: String) {
    if method == "engine_getPayloadV4" {
        answer["executionPayload"][field] = serde_json::Value::String(value);
    }
}

#[test]
fn a_full_slot_leaves_out_what_does_not_fit_and_the_next_one_goes_on() {
    let large = |kind| {
        let mut raw = vec![kind; TRANSACTION_BYTES_MAX];
        raw[0] = 2;
        raw
    };
    let fit = BATCH_BYTES_MAX / TRANSACTION_BYTES_MAX;
    let blocks = sequence(&[
        (10_000, vec![large(1); fit - 1]),
        // Room for a small one, not for another large one; then for none.
        (
            10_100,
            vec![
                vec![2, 7],
                large(2),
                vec![2; TRANSACTION_BYTES_MAX - 2],
                vec![2, 8],
            ],
        ),
        (10_200, vec![vec![2, 9]]),
        (11_000, vec![large(3)]),
        (12_000, vec![]),
    ]);
    let mut slots = Slots::new(1);
    let batches: Vec<_> = blocks
        .iter()
        .filter_map(|block| slots.push(block))
        .collect();
    let [full, next] = &batches[..] else {
        panic!("{} batches", batches.len())
    };
    assert_eq!((full.height, full.root), (Height(3), blocks[2].root));
    assert_eq!(full.transactions.len(), fit + 1);
    assert_eq!(
        full.transactions.iter().map(Vec::len).sum::<usize>(),
        BATCH_BYTES_MAX
    );
    assert_eq!(full.transactions[fit - 1], [2, 7]);
    assert_eq!(full.surplus, 3);
    assert_eq!((&next.transactions, next.surplus), (&vec![large(3)], 0));
    // Whoever begins again at the slot makes the same one.
    let mut again = Slots::new(1);
    let first = blocks.iter().find_map(|block| again.push(block)).unwrap();
    assert_eq!(&first, full);
    // A slot ends, whatever is asked for.
    let mut long = Slots::new(u64::MAX);
    let times = [0, 1_000 * SLOT_SECONDS_MAX].map(|time| (time, vec![]));
    let closed = sequence(&times)
        .iter()
        .filter_map(|block| long.push(block))
        .count();
    assert_eq!(closed, 1);
}

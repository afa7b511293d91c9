//! `fairlane exec diff` on the real binary: two folders that are the same, that part in one
//! receipt or in their sequence, that are missing, and that are damaged.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fairlane_execution::Tx;
use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
use fairlane_node::executor::{Executor, write_genesis};
use fairlane_node::home::Home;
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_replica::{Store, Table, Write, height_key};
use fairlane_types::{
    ChainId, Height, Item, Label, Micros, Millis, OrderAction, Outcome, Position, PublicKey, Root,
    SequencedBlock, Side, TimeInForce, encode,
};

const BLOCKS: u64 = 12;
const ITEMS: u64 = 4;

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

/// The last of four traders has as much as is said.
fn genesis(last: u64) -> ExecutionGenesis {
    let market = MarketParams::plain(1_000, MatchingRule::PriceTime);
    let mut accounts: Vec<_> = (0..4).map(|n| (key(n), 1_000_000)).collect();
    accounts[3].1 = last;
    ExecutionGenesis::plain(vec![market], accounts)
}

/// Trader 3 buys one lot at height 9, and nothing else.
fn order(height: u64, n: u64) -> (u8, OrderAction) {
    let who = if (height, n) == (9, 1) {
        3
    } else {
        (n % 3) as u8
    };
    let order = OrderAction::Place {
        market: 0,
        side: if n.is_multiple_of(2) {
            Side::Sell
        } else {
            Side::Buy
        },
        price_ticks: 1_000,
        lots: 1 + height % 2,
        tif: TimeInForce::Gtc,
        reduce_only: false,
        cloid: height * ITEMS + n,
    };
    (who, order)
}

fn chain() -> Vec<SequencedBlock> {
    let mut parent_root = Root::default();
    let block = |height: u64| {
        let item = |n: u64| {
            let (who, order) = order(height, n);
            Item {
                position: Position((height - 1) * ITEMS + n),
                label: Label {
                    suite: 1,
                    chain: ChainId(1),
                    key_id: Default::default(),
                    sender: key(who),
                    nonce: height * ITEMS + n,
                    expiry: Default::default(),
                    fee: 0,
                    lane: 255,
                    reserved: [0; 19],
                },
                ct_id: Default::default(),
                stamp: Micros(0),
                outcome: Outcome::Opened {
                    payload: Tx::Order(order).to_bytes(),
                    opening: [0; 32],
                },
            }
        };
        let block = SequencedBlock {
            chain: ChainId(1),
            epoch: Default::default(),
            height: Height(height),
            block: Default::default(),
            time: Millis(height * 100),
            parent_root,
            first_position: Position((height - 1) * ITEMS),
            items: (0..ITEMS).map(item).collect(),
            state: None,
            root: Root::default(),
        }
        .sealed();
        parent_root = block.root;
        block
    };
    (1..=BLOCKS).map(block).collect()
}

fn store(home: &Home) -> RocksStore {
    let mut options = StoreOptions::new(home.data_path());
    options.reserve_bytes = 0;
    RocksStore::open(&options).unwrap()
}

fn emit(store: &mut RocksStore, block: &SequencedBlock) {
    let write = Write::put(Table::Sequence, height_key(block.height), encode(block));
    store.commit(&[write], true).unwrap();
}

/// A stopped member's folder, with a snapshot of its last height.
fn folder(path: PathBuf, genesis: &ExecutionGenesis, blocks: &[SequencedBlock]) -> Home {
    let home = Home::create(path).unwrap();
    write_genesis(&home, genesis).unwrap();
    let mut store = store(&home);
    blocks.iter().for_each(|block| emit(&mut store, block));
    let executor = Executor::open(&home, store.reader()).unwrap().unwrap();
    while executor.advance(&|_| ()).unwrap() {}
    assert_eq!(executor.status().height, Height(blocks.len() as u64));
    executor.save().unwrap();
    home
}

fn diff(a: &Path, b: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlane"));
    command.args(["--json", "exec", "diff"]).arg(a).arg(b);
    command.env_clear().output().unwrap()
}

/// Its exit code and what it found.
fn found(a: &Home, b: &Home) -> (i32, serde_json::Value) {
    let output = diff(a.root(), b.root());
    // What was found, and behind it the error, if the two differ.
    let lines = serde_json::Deserializer::from_slice(&output.stdout);
    let mut value: serde_json::Value = lines.into_iter().next().unwrap().unwrap();
    (output.status.code().unwrap(), value["diff"].take())
}

/// Fails with this code, and says this.
fn refused(a: &Path, b: &Path, code: i32, says: &str) {
    for (a, b) in [(a, b), (b, a)] {
        let output = diff(a, b);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn equal_folders_are_the_same() {
    let (folders, blocks) = (tempfile::tempdir().unwrap(), chain());
    let at = |name: &str| folders.path().join(name);
    let one = folder(at("one"), &genesis(1_000_000), &blocks);
    let other = folder(at("other"), &genesis(1_000_000), &blocks);
    let (code, value) = found(&one, &other);
    assert_eq!(code, 0, "{value}");
    assert_eq!(value["same"], true);
    assert_eq!(
        (&value["height"], &value["kind"]),
        (&BLOCKS.into(), &"none".into())
    );
    assert_eq!(value["snapshots"], serde_json::json!([true, true]));
    // One that is behind is compared as far as it goes.
    let behind = folder(at("behind"), &genesis(1_000_000), &blocks[..5]);
    let (code, value) = found(&one, &behind);
    assert_eq!((code, &value["height"]), (0, &5.into()));
    assert_eq!(value["snapshots"], serde_json::json!([null, true]));
}

#[test]
fn the_first_receipt_that_differs_is_named() {
    let (folders, blocks) = (tempfile::tempdir().unwrap(), chain());
    let at = |name: &str| folders.path().join(name);
    let one = folder(at("one"), &genesis(1_000_000), &blocks);
    // Margin for no lot at all: only what trader 3 does at height 9 is another thing.
    let poor = folder(at("poor"), &genesis(9), &blocks);
    let (code, value) = found(&one, &poor);
    assert_eq!(code, 5, "{value}");
    assert_eq!(
        (&value["same"], &value["genesis_same"]),
        (&false.into(), &false.into())
    );
    assert_eq!(
        (&value["kind"], &value["first"]),
        (&"receipt".into(), &9.into())
    );
    let side = |n: usize| value["sides"][n].as_str().unwrap().to_owned();
    let position = 8 * ITEMS + 1;
    for (n, code) in [(0, 0), (1, 12)] {
        let want = format!("position: Position({position}), code: {code},");
        assert!(side(n).contains(&want), "{}", side(n));
    }
    // People are told the same.
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlane"));
    command
        .args(["exec", "diff"])
        .args([one.root(), poor.root()]);
    let output = command.env_clear().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("first receipt that differs, at height 9:"),
        "{text}"
    );
    assert!(
        text.contains("the two have different execution.toml"),
        "{text}"
    );
}

#[test]
fn another_sequence_and_a_snapshot_of_another_state_are_named() {
    let (folders, blocks) = (tempfile::tempdir().unwrap(), chain());
    let at = |name: &str| folders.path().join(name);
    let one = folder(at("one"), &genesis(1_000_000), &blocks);
    let mut fork = blocks.clone();
    fork.truncate(6);
    fork[5].items.pop();
    fork[5] = fork[5].clone().sealed();
    let other = folder(at("other"), &genesis(1_000_000), &fork);
    let (code, value) = found(&one, &other);
    assert_eq!(
        (code, &value["kind"], &value["first"]),
        (5, &"block".into(), &6.into())
    );
    // The other's sequence is put right, and its snapshot is still of the fork.
    emit(&mut store(&other), &blocks[5]);
    let (code, value) = found(&one, &other);
    assert_eq!((code, &value["kind"]), (5, &"none".into()), "{value}");
    assert_eq!(value["snapshots"], serde_json::json!([null, false]));
}

#[test]
fn what_is_missing_or_damaged_is_said() {
    let (folders, blocks) = (tempfile::tempdir().unwrap(), chain());
    let at = |name: &str| folders.path().join(name);
    let one = folder(at("one"), &genesis(1_000_000), &blocks);
    refused(one.root(), &at("nowhere"), 3, "nowhere");
    assert!(!at("nowhere").exists());
    // A folder without a sequence is not the same as anything, and stays as it is.
    let empty = Home::create(at("empty")).unwrap();
    write_genesis(&empty, &genesis(1_000_000)).unwrap();
    refused(one.root(), empty.root(), 3, "no data");
    assert!(!empty.data_path().exists());
    let idle = folder(at("idle"), &genesis(1_000_000), &blocks);
    fs::remove_file(idle.root().join("execution.toml")).unwrap();
    refused(one.root(), idle.root(), 1, "it does not execute");

    let cut = folder(at("cut"), &genesis(1_000_000), &blocks);
    let path = cut.root().join("execution.snapshot");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    refused(one.root(), cut.root(), 1, "snapshot");
    let mut bent = whole.clone();
    *bent.last_mut().unwrap() ^= 1;
    fs::write(&path, &bent).unwrap();
    refused(one.root(), cut.root(), 1, "snapshot");
    fs::write(&path, &whole).unwrap();
    assert_eq!(found(&one, &cut).0, 0);

    // A block that does not parse.
    let key = height_key(Height(4));
    let damage = Write::put(Table::Sequence, key, encode(&blocks[3])[1..].to_vec());
    store(&cut).commit(&[damage], true).unwrap();
    refused(one.root(), cut.root(), 1, "");
    // A database that does not open.
    fs::write(cut.data_path().join("CURRENT"), "nothing\n").unwrap();
    refused(one.root(), cut.root(), 3, "");
}

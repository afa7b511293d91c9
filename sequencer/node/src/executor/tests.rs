//! Kills, damage, forks, and two folders held against each other.

#![allow(clippy::unwrap_used)]

use fairlane_execution::Tx;
use fairlane_execution::params::{Deleveraging, MarketParams, MatchingRule};
use fairlane_replica::{Store, Table, Write, height_key};
use fairlane_types::{
    ChainId, Item, Label, Micros, OrderAction, Outcome, Position, SequencedBlock, Side,
    TimeInForce, encode,
};

use super::*;
use crate::store::{RocksStore, StoreOptions};

pub(crate) fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

pub(crate) fn genesis() -> ExecutionGenesis {
    ExecutionGenesis {
        markets: vec![MarketParams {
            mark_ticks: 1_000,
            rule: MatchingRule::PriceTime,
            initial_ppm: 100_000,
            maintenance_ppm: 50_000,
            step_ppm: 10_000,
            band_ppm: 200_000,
            taker_fee_ppm: 500,
            maker_fee_ppm: 100,
            tiers: Vec::new(),
            liquidation_fee_ppm: 500,
            liquidation_block_ppm: 1_000_000,
            funding_heights: 0,
            funding_cap_ppm: 0,
            breaker: None,
            predictive: None,
            interest_max: 0,
            large: None,
        }],
        accounts: (0..4).map(|n| (key(n), 1_000_000)).collect(),
        oracles: Vec::new(),
        oracle: Default::default(),
        bridge: None,
        insurance: 7,
        deleveraging: Deleveraging::ProRata,
        withdraw_hour_ppm: 1_000_000,
        withdraw_day_ppm: 1_000_000,
    }
}

/// A chain in which everybody trades with everybody.
fn chain(blocks: u64) -> Vec<SequencedBlock> {
    let (mut parent_root, mut position) = (Root::default(), 0);
    let block = |height: u64| {
        let item = |n: u64| {
            let nonce = height * 5 + n;
            let order = OrderAction::Place {
                market: 0,
                side: if nonce.is_multiple_of(2) {
                    Side::Buy
                } else {
                    Side::Sell
                },
                price_ticks: 995 + nonce * 7 % 11,
                lots: 1 + nonce % 5,
                tif: TimeInForce::Gtc,
                reduce_only: false,
                cloid: nonce,
            };
            Item {
                position: Position(position + n),
                label: Label {
                    suite: 1,
                    chain: ChainId(1),
                    key_id: Default::default(),
                    sender: key((nonce % 4) as u8),
                    nonce,
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
        let items: Vec<Item> = (0..5).map(item).collect();
        let block = SequencedBlock {
            chain: ChainId(1),
            epoch: Default::default(),
            height: Height(height),
            block: Default::default(),
            time: fairlane_types::Millis(height * 100),
            parent_root,
            first_position: Position(position),
            items,
            state: None,
            root: Root::default(),
        }
        .sealed();
        parent_root = block.root;
        position += 5;
        block
    };
    (1..=blocks).map(block).collect()
}

struct Rig {
    home: Home,
    store: RocksStore,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::create(folder.path().join("member")).unwrap();
    let mut options = StoreOptions::new(folder.path().join("db"));
    options.reserve_bytes = 0;
    let store = RocksStore::open(&options).unwrap();
    write_genesis(&home, &genesis()).unwrap();
    Rig {
        home,
        store,
        _folder: folder,
    }
}

impl Rig {
    fn emit(&mut self, block: &SequencedBlock) {
        let write = Write::put(Table::Sequence, height_key(block.height), encode(block));
        self.store.commit(&[write], false).unwrap();
    }

    fn executor(&self) -> Executor {
        Executor::open(&self.home, self.store.reader())
            .unwrap()
            .unwrap()
    }
}

fn drain(executor: &Executor) -> Digest {
    while executor.advance().unwrap() {}
    executor.status().state_root
}

#[test]
fn a_kill_at_any_height_goes_on_to_the_same_root() {
    let (blocks, mut rig) = (chain(40), rig());
    let mut straight = Clearing::new(&genesis(), Root::default()).unwrap();
    let mut executor = rig.executor();
    for (n, block) in blocks.iter().enumerate() {
        rig.emit(block);
        let want = straight.apply(block).unwrap();
        assert_eq!(drain(&executor), want.state_root);
        assert_eq!(executor.executed(block.height).unwrap(), want);
        if n % 3 == 0 {
            executor.save().unwrap();
        }
        if n % 5 == 0 {
            // Half a snapshot that was being written.
            let new = rig.home.root().join("execution.new");
            fs::write(new, b"half").unwrap();
        }
        // Killed: the next one starts from the last snapshot and the disk.
        executor = rig.executor();
        assert!(executor.status().height.0 <= n as u64 + 1);
        assert!(n < 3 || executor.status().height > Height(0));
        assert_eq!(drain(&executor), want.state_root);
    }
    assert!(executor.holdings().fills > 20 && executor.holdings().positions > 1);
    let proof = executor.prove(&key(2)).unwrap();
    assert_eq!(proof.state_root(), Some(executor.status().state_root));
}

#[test]
fn a_snapshot_that_is_damaged_or_of_another_chain_is_not_used() {
    let (blocks, mut rig) = (chain(6), rig());
    for block in &blocks {
        rig.emit(block);
    }
    let executor = rig.executor();
    let want = drain(&executor);
    executor.save().unwrap();
    let path = rig.home.root().join("execution.snapshot");
    let good = fs::read(&path).unwrap();
    assert_eq!(rig.executor().status().height, Height(6));
    for at in [3, 40, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let executor = rig.executor();
        assert_eq!(executor.status().height, Height(0));
        assert_eq!(drain(&executor), want);
    }
    fs::write(&path, &good).unwrap();
    // The same height with another root on disk.
    let mut other = blocks[5].clone();
    other.items.pop();
    rig.emit(&other.sealed());
    assert_eq!(rig.executor().status().height, Height(0));
}

#[test]
fn a_hole_or_a_fork_stops_it_with_a_reason() {
    let (blocks, mut rig) = (chain(4), rig());
    rig.emit(&blocks[0]);
    rig.emit(&blocks[2]);
    let executor = rig.executor();
    let reason = executor.advance().unwrap_err();
    assert!(reason.contains("goes on at 3"), "{reason}");
    assert_eq!(executor.status().height, Height(1));
    // A block that names another parent.
    let mut fork = blocks[1].clone();
    fork.parent_root = Root(Digest([9; 32]));
    rig.emit(&fork.sealed());
    let reason = executor.advance().unwrap_err();
    assert!(reason.contains("does not follow"), "{reason}");
    assert_eq!(executor.status().height, Height(1));
    // What is saved is what is not needed again.
    assert_eq!(executor.saved(), Height(0));
    executor.save().unwrap();
    assert_eq!(executor.saved(), Height(1));
    assert_eq!(rig.executor().saved(), Height(1));
}

#[test]
fn the_file_reads_back_and_a_bad_one_is_refused() {
    let rig = rig();
    let path = genesis_path(&rig.home);
    assert_eq!(read_genesis(&path).unwrap(), Some(genesis()));
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("mark_ticks = 1000", "mark_ticks = 0"),
        ("insurance = 7", "insurance = 7\nunknown = 1"),
        ("step_ppm = 10000", "step_ppm = 90000"),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text);
        fs::write(&path, bad).unwrap();
        assert!(Executor::open(&rig.home, rig.store.reader()).is_err());
    }
    fs::remove_file(&path).unwrap();
    assert!(
        Executor::open(&rig.home, rig.store.reader())
            .unwrap()
            .is_none()
    );
}

#[test]
fn two_folders_are_compared_to_the_first_receipt_that_differs() {
    use crate::exec_diff::{Difference, diff};

    let (blocks, mut one, mut other) = (chain(30), rig(), rig());
    for block in &blocks {
        one.emit(block);
        other.emit(block);
    }
    let compare = |one: &Rig, other: &Rig| {
        diff(
            (&one.home, one.store.reader()),
            (&other.home, other.store.reader()),
        )
        .unwrap()
    };
    drain(&one.executor());
    one.executor().save().unwrap();
    let executor = one.executor();
    drain(&executor);
    executor.save().unwrap();
    let same = compare(&one, &other);
    assert!(same.same(), "{same:?}");
    assert_eq!(
        (same.height, same.snapshots),
        (Height(30), [Some(true), None])
    );

    // Another file: the first fill whose margin it changes is named.
    let poor = rig();
    fs::remove_file(genesis_path(&poor.home)).unwrap();
    let mut genesis = genesis();
    genesis.accounts[3].1 = 300;
    write_genesis(&poor.home, &genesis).unwrap();
    let mut poor = poor;
    blocks.iter().for_each(|block| poor.emit(block));
    let compared = compare(&one, &poor);
    assert!(!compared.same() && !compared.genesis_same);
    assert_eq!(compared.state, Some(Height(0)));
    let Some(Difference::Receipt(height, [Some(a), Some(b)])) = compared.first else {
        unreachable!("{compared:?}")
    };
    let item = &blocks[height.0 as usize - 1].items[(a.position.0 % 5) as usize];
    assert_eq!((item.label.sender, a.code, b.code), (key(3), 0, 12));

    // Another sequence.
    let mut fork = blocks[20].clone();
    fork.items.pop();
    let fork = fork.sealed();
    other.emit(&fork);
    let roots = [blocks[20].root, fork.root];
    let first = compare(&one, &other).first;
    assert_eq!(first, Some(Difference::Block(Height(21), roots)));
}

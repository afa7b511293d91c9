//! Kills, damage, forks, and two folders held against each other.

#![allow(clippy::unwrap_used)]

use fairlane_execution::Tx;
use fairlane_execution::params::{MarketParams, MatchingRule};
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
        insurance: 7,
        withdraw_hour_ppm: 1_000_000,
        withdraw_day_ppm: 1_000_000,
        ..ExecutionGenesis::plain(
            vec![MarketParams {
                initial_ppm: 100_000,
                maintenance_ppm: 50_000,
                band_ppm: 200_000,
                liquidation_fee_ppm: 500,
                liquidation_block_ppm: 1_000_000,
                funding_heights: 0,
                funding_cap_ppm: 0,
                ..MarketParams::plain(1_000, MatchingRule::PriceTime)
            }],
            (0..4).map(|n| (key(n), 1_000_000)).collect(),
        )
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
    while executor.advance(&|_| ()).unwrap() {}
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
    let reason = executor.advance(&|_| ()).unwrap_err();
    assert!(reason.contains("goes on at 3"), "{reason}");
    assert_eq!(executor.status().height, Height(1));
    // A block that names another parent.
    let mut fork = blocks[1].clone();
    fork.parent_root = Root(Digest([9; 32]));
    rig.emit(&fork.sealed());
    let reason = executor.advance(&|_| ()).unwrap_err();
    assert!(reason.contains("does not follow"), "{reason}");
    assert_eq!(executor.status().height, Height(1));
    // What is saved is what is not needed again.
    assert_eq!(executor.saved(), Height(0));
    executor.save().unwrap();
    assert_eq!(executor.saved(), Height(1));
    assert_eq!(rig.executor().saved(), Height(1));
}

/// What the committee signed for a height, as the replica stores it.
fn sign(rig: &mut Rig, height: u64, roots: StateRoots) {
    let attested = fairlane_encryption::StateAttestation {
        epoch: Default::default(),
        height: Height(height),
        roots,
        certificate: fairlane_encryption::ThresholdCertificate([1; 96]),
    };
    let key = height_key(Height(height));
    let write = Write::put(Table::StateAttestations, key, encode(&attested));
    rig.store.commit(&[write], false).unwrap();
}

#[test]
fn another_state_than_the_committees_stops_it_and_the_same_one_does_not() {
    let (blocks, mut rig) = (chain(3 * STATE_HEIGHTS), rig());
    blocks.iter().for_each(|block| rig.emit(block));
    let told = std::cell::RefCell::new(Vec::new());
    let tell = |event| match event {
        Event::StateReached { height, roots } => told.borrow_mut().push((height.0, roots)),
        other => unreachable!("{other:?}"),
    };
    let executor = rig.executor();
    while executor.advance(&tell).unwrap() {}
    let told = told.into_inner();
    let heights: Vec<u64> = told.iter().map(|(height, _)| *height).collect();
    assert_eq!(heights, [1, 2, 3].map(|k| k * STATE_HEIGHTS));
    for (height, roots) in &told {
        let done = executor.executed(Height(*height)).unwrap();
        assert_eq!(
            (done.state_root, done.receipts_root),
            (roots.state_root, roots.receipts_root)
        );
        assert_eq!(roots.genesis, executor.genesis());
    }
    sign(&mut rig, STATE_HEIGHTS, told[0].1);
    // One that this member has not come to yet is no contradiction.
    sign(&mut rig, 9 * STATE_HEIGHTS, told[0].1);
    assert_eq!(executor.advance(&|_| ()), Ok(false));
    let mut wrong = told[2].1;
    wrong.state_root = Digest([9; 32]);
    let last = 3 * STATE_HEIGHTS;
    sign(&mut rig, last, wrong);
    let reason = executor.advance(&|_| ()).unwrap_err();
    let named = format!("for height {last}");
    assert!(reason.contains(&named), "{reason}");
    // Known from the disk after a restart, whatever the snapshot is.
    let again = rig.executor();
    let mut ended = Ok(true);
    while ended == Ok(true) {
        ended = again.advance(&|_| ());
    }
    assert!(ended.unwrap_err().contains(&named));
}

#[test]
fn a_proof_is_kept_for_who_waits_and_given_once_its_height_is_signed() {
    let (blocks, mut rig) = (chain(40), rig());
    let executor = rig.executor();
    let waiting = executor.states().wait_for(key(2)).unwrap();
    let second = executor.states().wait_for(key(2)).unwrap();
    blocks[..20].iter().for_each(|block| rig.emit(block));
    drain(&executor);
    assert_eq!(
        waiting.proven(&rig.store.reader()).unwrap(),
        None,
        "nothing is signed"
    );
    let done = executor.executed(Height(STATE_HEIGHTS)).unwrap();
    let roots = StateRoots {
        genesis: executor.genesis(),
        state_root: done.state_root,
        receipts_root: done.receipts_root,
    };
    sign(&mut rig, STATE_HEIGHTS, roots);
    let (proof, attested) = waiting.proven(&rig.store.reader()).unwrap().unwrap();
    assert_eq!(
        (proof.head.0, proof.account.key),
        (Height(STATE_HEIGHTS), key(2))
    );
    assert_eq!(proof.state_root(), Some(attested.roots.state_root));
    // Nobody waits any more: no proofs are made.
    drop((waiting, second));
    blocks[20..].iter().for_each(|block| rig.emit(block));
    drain(&executor);
    let late = executor.states().wait_for(key(3)).unwrap();
    assert_eq!(late.proven(&rig.store.reader()).unwrap(), None);
    // Many keys are not waited for at a time.
    let many: Vec<_> = (0..2_000_u32)
        .map_while(|n| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            executor.states().wait_for(PublicKey(key))
        })
        .collect();
    assert_eq!(many.len(), 1_023);
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

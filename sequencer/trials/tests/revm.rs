//! The sequence of a live committee in revm: signed EVM transactions are sealed, ordered and
//! opened by four real members, and executed from their attested feed. Balances, nonces, a slot
//! and each receipt are what a plain computation over the sequence says, to the wei; two
//! instances come to the same roots, one of them restarted from its file again and again.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use common::{Cluster, PATIENCE};
use fairlane_client::{Cursor, Feed, FeedEvent, Kept, SealOptions, Sealer, dev};
use fairlane_evm::{Evm, EvmGenesis, INVALID, MALFORMED, REVERTED};
use fairlane_execution::{Execution, Reject};
use fairlane_types::{CtId, Digest, Height, Item, Millis, Outcome, SeededRng, SequencedBlock};
use k256::ecdsa::SigningKey;

const CHAIN: u64 = 77;
const BASE_FEE: u128 = 5;
const TIP: u128 = 1;
const GAS_LIMIT: u64 = 100_000;
const WEALTH: u128 = 1_000_000_000_000;
const TRADERS: usize = 4;
const ROUNDS: u64 = 4;
/// Heights between two saves.
const SAVE_EVERY: u64 = 4;
/// Who gets the tips.
const MINER: [u8; 20] = [0xfe; 20];
/// slot 0 = 2 · slot 0 + the first word of the input: the order of calls matters.
const FOLDS: &[u8] = &[
    0x60, 0, 0x54, 0x60, 2, 0x02, 0x60, 0, 0x35, 0x01, 0x60, 0, 0x55, 0,
];
const REVERTS: &[u8] = &[0x60, 0, 0x60, 0, 0xfd];

fn key(trader: usize) -> SigningKey {
    SigningKey::from_slice(&[trader as u8 + 1; 32]).unwrap()
}

fn address(trader: usize) -> [u8; 20] {
    Address::from_public_key(key(trader).verifying_key()).0.0
}

fn contract(n: u8) -> [u8; 20] {
    Address::with_last_byte(0xc0 + n).0.0
}

fn genesis() -> EvmGenesis {
    let codes = [(1, FOLDS), (2, REVERTS)];
    let codes = codes.map(|(n, code)| (contract(n), 0, code.to_vec()));
    let traders = (0..TRADERS).map(|n| (address(n), WEALTH, Vec::new()));
    EvmGenesis {
        chain_id: CHAIN,
        gas_limit: 30_000_000,
        base_fee: BASE_FEE as u64,
        beneficiary: MINER,
        accounts: codes.into_iter().chain(traders).collect(),
    }
}

/// What a transaction does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Pays { to: usize, wei: u128 },
    Folds(u64),
    Reverts,
}

/// A transaction, and who signed it.
#[derive(Clone, Copy, Debug)]
struct Planned {
    trader: usize,
    nonce: u64,
    does: Does,
}

impl Planned {
    /// Signed as a wallet would.
    fn raw(&self) -> Vec<u8> {
        let (to, wei, input) = match self.does {
            Does::Pays { to, wei } => (address(to), wei, None),
            Does::Folds(word) => (contract(1), 0, Some(word)),
            Does::Reverts => (contract(2), 0, None),
        };
        let input = input.map_or(Vec::new(), |word| U256::from(word).to_be_bytes_vec());
        let tx = TxEip1559 {
            chain_id: CHAIN,
            nonce: self.nonce,
            gas_limit: GAS_LIMIT,
            max_fee_per_gas: 2 * (BASE_FEE + TIP),
            max_priority_fee_per_gas: TIP,
            to: TxKind::Call(to.into()),
            value: U256::from(wei),
            input: Bytes::from(input),
            ..TxEip1559::default()
        };
        let hash = tx.signature_hash();
        let signed = key(self.trader).sign_prehash_recoverable(hash.as_slice());
        let signature = Signature::from(signed.unwrap());
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
    }
}

/// What the sequence comes to, by plain arithmetic.
struct Expected {
    wei: [u128; TRADERS],
    nonces: [u64; TRADERS],
    folded: u128,
    tips: u128,
}

impl Expected {
    fn new() -> Self {
        Self {
            wei: [WEALTH; TRADERS],
            nonces: [0; TRADERS],
            folded: 0,
            tips: 0,
        }
    }

    /// Takes a sequence; gives the codes of its receipts.
    fn of(blocks: &[SequencedBlock], plans: &Plans) -> (Self, Vec<u16>) {
        let mut expected = Self::new();
        let items = blocks.iter().flat_map(|block| &block.items);
        let codes = items.map(|item| expected.take(item, plans)).collect();
        (expected, codes)
    }

    fn take(&mut self, item: &Item, plans: &Plans) -> u16 {
        let Outcome::Opened { payload, .. } = &item.outcome else {
            return Reject::NotOpened.code();
        };
        let Some(plan) = plans.get(payload) else {
            return MALFORMED;
        };
        let wei = match plan.does {
            Does::Pays { wei, .. } => wei,
            _ => 0,
        };
        let most = u128::from(GAS_LIMIT) * 2 * (BASE_FEE + TIP) + wei;
        if plan.nonce != self.nonces[plan.trader] || most > self.wei[plan.trader] {
            return INVALID;
        }
        let (code, gas) = match plan.does {
            Does::Pays { to, wei } => {
                self.wei[plan.trader] -= wei;
                self.wei[to] += wei;
                (0, 21_000)
            }
            Does::Folds(word) => {
                // A cold load, a store into what was zero or was not, and the words between; a
                // token for each zero byte of the input, four for each other.
                let store = if self.folded == 0 { 20_000 } else { 2_900 };
                let zeros = word.to_be_bytes().iter().filter(|byte| **byte == 0).count() as u128;
                let tokens = 24 + zeros + 4 * (8 - zeros);
                self.folded = 2 * self.folded + u128::from(word);
                (0, 21_000 + 4 * tokens + 2_123 + store)
            }
            Does::Reverts => (REVERTED, 21_006),
        };
        self.nonces[plan.trader] += 1;
        self.wei[plan.trader] -= gas * (BASE_FEE + TIP);
        self.tips += gas * TIP;
        code
    }
}

/// What a trader sends in a round: valid ones in the order of their nonces, and one each that is
/// late, has a nonce too high, or spends what its sender does not have.
fn plan(trader: usize, first: u64, round: u64) -> Vec<Planned> {
    let planned = |nonce, does| Planned {
        trader,
        nonce,
        does,
    };
    let to = (trader + 1) % TRADERS;
    let word = 1 + 1_000 * round + 7 * trader as u64;
    vec![
        planned(first, Does::Folds(word)),
        planned(
            first + 1,
            Does::Pays {
                to,
                wei: 10_u128.pow(13),
            },
        ),
        planned(
            first + 1,
            Does::Pays {
                to,
                wei: 1_000_000 + u128::from(word),
            },
        ),
        planned(first, Does::Folds(word + 1)),
        planned(first + 2, Does::Reverts),
        planned(first + 90, Does::Folds(1)),
        planned(first + 3, Does::Folds(word + 2)),
    ]
}

/// Seals a round of all traders and sends it, each trader's through a member of its own; waits
/// until all of it is in the sequence.
async fn send(cluster: &Cluster, nonces: [u64; TRADERS], round: u64, plans: &mut Plans) {
    let pin = cluster.committee.pin();
    let mut rng = SeededRng::new(&[9; 32], &round.to_le_bytes());
    let mut ids: BTreeSet<CtId> = BTreeSet::new();
    let all = (0..TRADERS).map(|trader| plan(trader, nonces[trader], round));
    let all: Vec<_> = all.collect();
    for turn in 0..all[0].len() {
        for (trader, planned) in all.iter().enumerate() {
            let raw = planned[turn].raw();
            plans.insert(raw.clone(), planned[turn]);
            let mut payloads = vec![raw.clone()];
            if turn == 0 && trader == 0 {
                // The same transaction again in another envelope, and what is none at all.
                payloads.extend([raw.clone(), raw[..raw.len() - 1].to_vec()]);
            }
            for (n, payload) in payloads.iter().enumerate() {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                let options = SealOptions {
                    nonce: 1_000 * round + 10 * turn as u64 + n as u64,
                    expiry: Millis(now.as_millis() as u64 + 60_000),
                    lane: None,
                };
                let sealer = Sealer::new(pin, dev::trader_key(&format!("evm {trader}")));
                let envelope = sealer.seal_bytes(payload, options, &mut rng).unwrap();
                let sent = cluster.committee.submit_to_any(&envelope, trader).await;
                sent.unwrap();
                ids.insert(envelope.id());
            }
        }
        // A trader's own ones are in the order that it sent them in.
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    cluster.settled(&ids).await;
}

type Plans = BTreeMap<Vec<u8>, Planned>;
type Roots = BTreeMap<Height, Digest>;

/// One life over the file: goes on after its last save until a height, and ends without saving,
/// as a kill would. Gives where it began.
async fn live(cluster: &Cluster, path: &Path, until: Height, roots: &mut Roots) -> Height {
    let (pin, members) = (cluster.committee.pin(), cluster.committee.members());
    let fresh = Evm::new(&genesis(), Cursor::start(pin).root());
    let mut kept = Kept::open(path, pin, fresh.head().1, fresh).unwrap();
    let began = kept.cursor().height();
    let mut feed = Feed::new(pin.clone(), members.to_vec(), kept.cursor().clone()).unwrap();
    while kept.cursor().height() < until {
        let event = tokio::time::timeout(PATIENCE, feed.next()).await;
        match event.expect("the feed goes on").unwrap() {
            FeedEvent::Block(block) => {
                let done = kept.apply(&block).unwrap();
                let before = roots.insert(done.height, done.state_root);
                assert!(before.is_none_or(|root| root == done.state_root));
                if done.height.0.is_multiple_of(SAVE_EVERY) {
                    kept.save().unwrap();
                }
            }
            FeedEvent::Attested(attestation) => kept.finalize(attestation.height),
            FeedEvent::Heartbeat(_) | FeedEvent::Moved { .. } => {}
        }
    }
    began
}

fn straight(cluster: &Cluster) -> Evm {
    Evm::new(&genesis(), Cursor::start(cluster.committee.pin()).root())
}

/// Applies all; gives the codes of the receipts.
fn run(evm: &mut Evm, blocks: &[SequencedBlock], roots: &Roots) -> Vec<u16> {
    let mut codes = Vec::new();
    for block in blocks {
        let done = evm.apply(block).unwrap();
        assert_eq!(roots[&block.height], done.state_root, "{}", block.height);
        codes.extend(done.receipts.iter().map(|receipt| receipt.code));
    }
    codes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_committees_sequence_comes_to_the_state_it_says() {
    let mut cluster = Cluster::start(4, None).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evm.state");
    let (mut plans, mut roots) = (Plans::new(), Roots::new());
    let mut nonces = [0; TRADERS];
    let mut began = Vec::new();
    for round in 0..ROUNDS {
        send(&cluster, nonces, round, &mut plans).await;
        if round == 1 {
            // The member that feeds it first.
            cluster.kill(0);
        }
        let head = cluster.head(1).await.unwrap();
        // Whatever order they came in, the next ones are valid again.
        nonces = Expected::of(&cluster.blocks(1, head).await, &plans)
            .0
            .nonces;
        // Not to the end: the next life has something to do again.
        let until = if round + 1 == ROUNDS {
            head
        } else {
            head.prev()
        };
        began.push(live(&cluster, &path, until, &mut roots).await);
        if round == 1 {
            cluster.spawn(0);
            cluster.ready(0).await;
        }
    }
    assert_eq!(began[0], Height(0));
    assert!(began.is_sorted_by(|a, b| a < b), "{began:?}");

    let blocks = cluster.blocks(1, Height(roots.len() as u64)).await;
    let mut evm = straight(&cluster);
    let codes = run(&mut evm, &blocks, &roots);
    let (expected, wanted) = Expected::of(&blocks, &plans);
    assert_eq!(codes, wanted);
    let wei = |address| {
        let (nonce, wei) = evm.account(address).unwrap();
        (nonce, U256::from_be_bytes(wei))
    };
    for trader in 0..TRADERS {
        let is = (expected.nonces[trader], U256::from(expected.wei[trader]));
        assert_eq!(wei(address(trader)), is, "trader {trader}");
    }
    assert_eq!(wei(MINER).1, U256::from(expected.tips));
    let slot = evm.slot(contract(1), [0; 32]);
    assert_eq!(U256::from_be_bytes(slot), U256::from(expected.folded));
    // Each kind of end was met; with fewer valid ones it would have tried little.
    let count = |code| codes.iter().filter(|found| **found == code).count();
    let rounds = ROUNDS as usize;
    assert!(count(0) >= TRADERS * rounds, "{codes:?}");
    assert!(count(INVALID) >= TRADERS * rounds && count(REVERTED) > 0);
    assert_eq!(count(MALFORMED), rounds);

    // From a snapshot in the middle, by way of another instance.
    let (before, after) = blocks.split_at(blocks.len() / 2);
    let mut half = straight(&cluster);
    run(&mut half, before, &roots);
    let mut restored = straight(&cluster);
    assert_eq!(restored.restore(&half.snapshot()).unwrap(), half.head().1);
    run(&mut restored, after, &roots);
    assert_eq!(restored.head(), evm.head());
    assert_eq!(restored.snapshot(), evm.snapshot());
    cluster.nobody_contradicts().await;
}

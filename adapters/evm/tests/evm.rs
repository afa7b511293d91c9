//! The sequence in revm. Transactions have made-up signatures: each recovers to some address,
//! which the genesis then gives money.

#![cfg(feature = "evm")]
#![allow(clippy::unwrap_used)]

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use fairlane_evm::{BLOCK_GAS, Evm, EvmGenesis, HALTED, INVALID, MALFORMED, REVERTED};
use fairlane_execution::{Execution, ExecutionError, Reject};
use fairlane_types::{
    ChainId, Height, Item, Label, Micros, Millis, Outcome, Position, PublicKey, Root,
    SequencedBlock,
};
use proptest::prelude::*;
use revm::primitives::alloy_primitives::Signature;
use revm::primitives::{Address, Bytes, TxKind, U256};

const START: Root = Root(fairlane_types::Digest([7; 32]));
/// slot 0 = 2 · slot 0 + the first word of the input: the order of calls matters.
const FOLDS: &[u8] = &[
    0x60, 0, 0x54, 0x60, 2, 0x02, 0x60, 0, 0x35, 0x01, 0x60, 0, 0x55, 0,
];
const REVERTS: &[u8] = &[0x60, 0, 0x60, 0, 0xfd];
const HALTS: &[u8] = &[0xfe];
/// slot 0 = hash of the block before; slot 1 = randomness.
const LOOKS: &[u8] = &[
    0x60, 1, 0x43, 0x03, 0x40, 0x60, 0, 0x55, 0x44, 0x60, 1, 0x55, 0,
];

fn contract(n: u8) -> Address {
    Address::with_last_byte(n)
}

/// A raw call and the address that its signature recovers to.
fn call(seed: u64, to: Address, value: u64, input: u64, gas_limit: u64) -> (Vec<u8>, Address) {
    let tx = TxEip1559 {
        chain_id: 77,
        nonce: 0,
        gas_limit,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(to),
        value: U256::from(value),
        input: Bytes::from(U256::from(input).to_be_bytes_vec()),
        ..TxEip1559::default()
    };
    // Not every number is the x of a point; the next one may be.
    for n in 1.. {
        let signature = Signature::new(U256::from(seed * 1_000 + n), U256::from(n), false);
        let tx = TxEnvelope::from(tx.clone().into_signed(signature));
        if let Ok(sender) = tx.recover_signer() {
            return (tx.encoded_2718(), sender);
        }
    }
    unreachable!()
}

fn genesis(senders: &[Address]) -> EvmGenesis {
    let codes = [(1, FOLDS), (2, REVERTS), (3, HALTS), (4, LOOKS)];
    let mut accounts: Vec<_> = codes
        .iter()
        .map(|(n, code)| (contract(0xc0 + n).0.0, 0, code.to_vec()))
        .collect();
    accounts.extend(
        senders
            .iter()
            .map(|sender| (sender.0.0, 10_000_000, Vec::new())),
    );
    EvmGenesis {
        chain_id: 77,
        gas_limit: 1_000_000,
        base_fee: 5,
        beneficiary: [0xfe; 20],
        accounts,
    }
}

fn block(evm: &Evm, parent: Root, payloads: &[Option<Vec<u8>>]) -> SequencedBlock {
    let item = |(n, payload): (usize, &Option<Vec<u8>>)| Item {
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
        outcome: match payload {
            Some(payload) => Outcome::Opened {
                payload: payload.clone(),
                opening: [0; 32],
            },
            None => Outcome::Undecryptable,
        },
    };
    SequencedBlock {
        chain: ChainId(1),
        epoch: Default::default(),
        height: evm.head().0.next(),
        block: Default::default(),
        time: Millis(5_000),
        parent_root: parent,
        first_position: Position(0),
        items: payloads.iter().enumerate().map(item).collect(),
        state: None,
        root: Root::default(),
    }
    .sealed()
}

fn word(n: u64) -> [u8; 32] {
    U256::from(n).to_be_bytes()
}

#[test]
fn every_item_gets_a_receipt_and_the_order_decides() {
    let calls = [
        call(1, contract(0xc1), 0, 3, 100_000),
        call(2, contract(0xc1), 0, 5, 100_000),
        call(3, contract(0xc2), 0, 0, 100_000),
        call(4, contract(0xc3), 0, 0, 100_000),
        call(5, Address::with_last_byte(0x99), 1_234, 0, 30_000),
        call(6, contract(0xc1), 0, 1, 900_000),
    ];
    let senders: Vec<_> = calls.iter().map(|(_, sender)| *sender).collect();
    let (poor, _) = call(7, contract(0xc1), 0, 9, 100_000);
    let raw = |n: usize| Some(calls[n].0.clone());
    let mut changed = calls[0].0.clone();
    *changed.last_mut().unwrap() ^= 1;
    let payloads = [
        raw(0),
        raw(1),
        raw(2),
        raw(3),
        raw(4),
        raw(5),
        raw(0),
        Some(poor),
        Some(changed),
        Some(vec![0x7e, 1, 2]),
        Some(Vec::new()),
        None,
    ];
    let mut evm = Evm::new(&genesis(&senders), START);
    let first = block(&evm, START, &payloads);
    let done = evm.apply(&first).unwrap();
    let codes: Vec<u16> = done.receipts.iter().map(|receipt| receipt.code).collect();
    let unopened = Reject::NotOpened.code();
    // The changed one recovers to somebody without money, or to nobody.
    assert!(matches!(codes[8], INVALID | MALFORMED));
    assert_eq!(
        codes[..8],
        [0, 0, REVERTED, HALTED, 0, BLOCK_GAS, INVALID, INVALID]
    );
    assert_eq!(codes[9..], [MALFORMED, MALFORMED, unopened]);
    assert_eq!(evm.slot(contract(0xc1).0.0, word(0)), word(2 * 3 + 5));
    assert_eq!(
        evm.account(Address::with_last_byte(0x99).0.0),
        Some((0, word(1_234)))
    );
    // A transfer is 21,000 gas and ten for each zero byte of its input (EIP-7623), at 5 burnt
    // and 1 for the fees' recipient, who got one wei for each unit of gas that anyone used.
    let (nonce, left) = evm.account(senders[4].0.0).unwrap();
    let spent = U256::from(10_000_000 - 1_234) - U256::from_be_bytes(left);
    assert_eq!((nonce, spent), (1, U256::from((21_000 + 32 * 10) * 6)));
    let (_, tips) = evm.account([0xfe; 20]).unwrap();
    assert!(U256::from_be_bytes(tips) > U256::from(100_000 + 21_000));

    // The other way round, the same transactions leave something else.
    let mut other = Evm::new(&genesis(&senders), START);
    let swapped = block(&other, START, &[raw(1), raw(0)]);
    other.apply(&swapped).unwrap();
    assert_eq!(other.slot(contract(0xc1).0.0, word(0)), word(2 * 5 + 3));
    assert_ne!(other.head().1, evm.head().1);
}

#[test]
fn contracts_see_the_sequence() {
    let (look, sender) = call(8, contract(0xc4), 0, 0, 200_000);
    let mut evm = Evm::new(&genesis(&[sender]), START);
    let first = block(&evm, START, &[]);
    evm.apply(&first).unwrap();
    let second = block(&evm, first.root, &[Some(look)]);
    assert_eq!(evm.apply(&second).unwrap().receipts[0].code, 0);
    assert_eq!(evm.slot(contract(0xc4).0.0, word(0)), first.root.0.0);
    assert_ne!(evm.slot(contract(0xc4).0.0, word(1)), [0; 32]);
}

#[test]
fn heights_are_idempotent_forks_are_refused_and_snapshots_go_on_to_the_same_root() {
    let calls: Vec<_> = (0..9)
        .map(|n| call(20 + n, contract(0xc1), 0, n, 100_000))
        .collect();
    let senders: Vec<_> = calls.iter().map(|(_, sender)| *sender).collect();
    let mut evm = Evm::new(&genesis(&senders), START);
    let mut parent = START;
    let mut blocks = Vec::new();
    for raws in calls.chunks(3) {
        let payloads: Vec<_> = raws.iter().map(|(raw, _)| Some(raw.clone())).collect();
        let next = block(&evm, parent, &payloads);
        evm.apply(&next).unwrap();
        parent = next.root;
        blocks.push(next);
    }
    let root = evm.head().1;
    let again = evm.apply(&blocks[0]).unwrap();
    assert_eq!((again.height, evm.head().1), (Height(1), root));
    let stranger = block(&evm, START, &[]);
    assert!(matches!(
        evm.apply(&stranger),
        Err(ExecutionError::Fork { .. })
    ));
    let mut forged = block(&evm, parent, &[None]);
    forged.items.clear();
    assert!(matches!(evm.apply(&forged), Err(ExecutionError::Root(_))));
    assert_eq!(evm.head().1, root);

    let mut half = Evm::new(&genesis(&senders), START);
    half.apply(&blocks[0]).unwrap();
    let snapshot = half.snapshot();
    let mut restored = Evm::new(&genesis(&[]), START);
    assert_eq!(restored.restore(&snapshot).unwrap(), half.head().1);
    for next in &blocks[1..] {
        restored.apply(next).unwrap();
    }
    assert_eq!(restored.head(), evm.head());
    assert_eq!(restored.snapshot(), evm.snapshot());
    // A snapshot with any byte changed is refused and changes nothing.
    for at in (0..snapshot.len()).step_by(7) {
        let mut bad = snapshot.clone();
        bad[at] ^= 0x10;
        assert!(restored.restore(&bad).is_err(), "byte {at}");
    }
    assert_eq!(restored.head(), evm.head());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_payload_gives_a_receipt(
        noise: Vec<u8>, at in 0usize..200, byte: u8, cut in 0usize..200,
    ) {
        let (raw, sender) = call(3, contract(0xc1), 0, 3, 100_000);
        let mut changed = raw.clone();
        let at = at % raw.len();
        changed[at] = byte;
        let shorter = raw[..cut % raw.len()].to_vec();
        let mut evm = Evm::new(&genesis(&[sender]), START);
        let payloads = [Some(noise), Some(changed), Some(shorter), Some(raw)];
        let next = block(&evm, START, &payloads);
        let done = evm.apply(&next).unwrap();
        prop_assert_eq!(done.receipts.len(), 4);
    }
}

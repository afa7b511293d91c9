//! The sequence in revm, behind the interface of an execution.
//!
//! Each height is a block: its number is the height, its hash the sequence root, its time the
//! finalized time in whole seconds. Every item gives a receipt; an invalid transaction changes
//! nothing. Receipts say what became of a transaction, not what it returned or logged: a rollup
//! that needs its clients' whole API is driven over the Engine API instead.

use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_consensus::TxEnvelope;
use alloy_consensus::transaction::SignerRecoverable;
use alloy_eips::Typed2718;
use alloy_eips::eip2718::Decodable2718;
use fairlane_execution::{
    AccountProof, Executed, Execution, ExecutionError, Receipt, Reject, Results, SNAPSHOT_BYTES_MAX,
};
use fairlane_types::{Digest, Height, Outcome, PublicKey, Root, SequencedBlock, decode, encode};
use revm::context::result::{EVMError, ExecutionResult};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::either::Either;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, B256, U256};
use revm::{ExecuteEvm, MainBuilder, MainContext};

use crate::driver::randao;
use crate::is_transaction;
use crate::world::{Parts, World};

/// Receipt code of a transaction that was reverted; its fee is paid.
pub const REVERTED: u16 = 1_001;
/// Receipt code of a transaction that ran out of gas or did what it must not; its gas is gone.
pub const HALTED: u16 = 1_002;
/// Receipt code of a transaction that is invalid where it stands: nonce, balance, chain.
pub const INVALID: u16 = 1_003;
/// Receipt code of a payload that is no transaction, or has no valid signature.
pub const MALFORMED: u16 = 1_004;
/// Receipt code of a transaction that the block's gas does not suffice for.
pub const BLOCK_GAS: u16 = 1_005;

/// What a chain starts from, the same at all who run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmGenesis {
    /// Chain id that transactions name.
    pub chain_id: u64,
    /// Gas of a block.
    pub gas_limit: u64,
    /// Least fee for gas, in wei; it is burnt.
    pub base_fee: u64,
    /// Who gets what is paid above it.
    pub beneficiary: [u8; 20],
    /// Address, balance in wei, code.
    pub accounts: Vec<([u8; 20], u128, Vec<u8>)>,
}

/// The sequence in revm.
pub struct Evm {
    world: World,
    chain_id: u64,
    gas_limit: u64,
    base_fee: u64,
    beneficiary: Address,
    height: Height,
    sequence: Root,
    root: Digest,
    finalized: Height,
    results: Results,
}

impl Evm {
    /// At height 0, before the first block of the sequence that starts from `sequence`.
    #[must_use]
    pub fn new(genesis: &EvmGenesis, sequence: Root) -> Self {
        let mut world = World::default();
        for (address, balance, code) in &genesis.accounts {
            let code = code.clone().into();
            world.set(address.into(), 0, U256::from(*balance), code);
        }
        let mut evm = Self {
            world,
            chain_id: genesis.chain_id,
            gas_limit: genesis.gas_limit,
            base_fee: genesis.base_fee,
            beneficiary: genesis.beneficiary.into(),
            height: Height(0),
            sequence,
            root: Digest::default(),
            finalized: Height(0),
            results: Results::default(),
        };
        evm.root = evm.commit();
        evm
    }

    /// Nonce and balance of an address; big-endian wei.
    #[must_use]
    pub fn account(&self, address: [u8; 20]) -> Option<(u64, [u8; 32])> {
        let (nonce, balance) = self.world.account(&address.into())?;
        Some((nonce, balance.to_be_bytes()))
    }

    /// A storage slot.
    #[must_use]
    pub fn slot(&self, address: [u8; 20], key: [u8; 32]) -> [u8; 32] {
        let key = U256::from_be_bytes(key);
        self.world.slot(&address.into(), key).to_be_bytes()
    }

    fn commit(&mut self) -> Digest {
        root_of(self.height, self.sequence, self.world.commit())
    }

    fn environment(&self, block: &SequencedBlock) -> BlockEnv {
        BlockEnv {
            number: U256::from(block.height.0),
            beneficiary: self.beneficiary,
            timestamp: U256::from(block.time.0 / 1_000),
            gas_limit: self.gas_limit,
            basefee: self.base_fee,
            prevrandao: Some(B256::from(randao(&block.root))),
            ..BlockEnv::default()
        }
    }

    /// Runs one payload; gives its code and the gas it used.
    fn run(&mut self, environment: &BlockEnv, payload: &[u8], gas_left: u64) -> (u16, u64) {
        let Some(tx) = transaction(payload) else {
            return (MALFORMED, 0);
        };
        if tx.gas_limit > gas_left {
            return (BLOCK_GAS, 0);
        }
        let mut config = CfgEnv::new_with_spec(SpecId::PRAGUE);
        config.chain_id = self.chain_id;
        let context = Context::mainnet()
            .with_db(&mut self.world)
            .with_block(environment.clone())
            .with_cfg(config);
        let outcome = context.build_mainnet().transact(tx);
        match outcome {
            Ok(done) => {
                self.world.take(done.state);
                let code = match &done.result {
                    ExecutionResult::Success { .. } => 0,
                    ExecutionResult::Revert { .. } => REVERTED,
                    ExecutionResult::Halt { .. } => HALTED,
                };
                (code, done.result.tx_gas_used())
            }
            Err(EVMError::Database(never)) => match never {},
            Err(_) => (INVALID, 0),
        }
    }
}

fn root_of(height: Height, sequence: Root, world: (u64, Digest, Digest)) -> Digest {
    let bytes = encode(&("state", height, sequence, world));
    Digest(blake3::derive_key("FAIRLANE V1 evm state", &bytes))
}

/// A payload as revm takes it, with its sender.
fn transaction(payload: &[u8]) -> Option<TxEnv> {
    if !is_transaction(payload) {
        return None;
    }
    let tx = TxEnvelope::decode_2718_exact(payload).ok()?;
    let caller = tx.recover_signer().ok()?;
    let signed = tx.authorization_list().unwrap_or_default();
    Some(TxEnv {
        tx_type: tx.ty(),
        caller,
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        authorization_list: signed.iter().cloned().map(Either::Left).collect(),
        ..TxEnv::default()
    })
}

impl Execution for Evm {
    fn head(&self) -> (Height, Digest) {
        (self.height, self.root)
    }

    fn apply(&mut self, block: &SequencedBlock) -> Result<Arc<Executed>, ExecutionError> {
        if let Some(stored) = self.results.of(block, self.height, self.sequence)? {
            return Ok(stored);
        }
        let got = block.height;
        let environment = self.environment(block);
        let mut gas_left = self.gas_limit;
        let mut receipts = Vec::with_capacity(block.items.len());
        for item in &block.items {
            let (code, used) = match &item.outcome {
                Outcome::Opened { payload, .. } => self.run(&environment, payload, gas_left),
                _ => (Reject::NotOpened.code(), 0),
            };
            gas_left = gas_left.saturating_sub(used);
            receipts.push(Receipt {
                position: item.position,
                code,
                fills: Vec::new(),
            });
        }
        self.world.note(got.0, block.root);
        (self.height, self.sequence) = (got, block.root);
        self.root = self.commit();
        let executed = Executed {
            height: got,
            state_root: self.root,
            receipts_root: Executed::receipts_root(&receipts, &[]),
            receipts,
            events: Vec::new(),
        };
        Ok(self.results.keep(executed))
    }

    fn finalize(&mut self, height: Height) {
        self.finalized = self.finalized.max(height.min(self.height));
    }

    fn finalized(&self) -> Height {
        self.finalized
    }

    /// There is none: accounts here are addresses, not keys of the sequence.
    fn prove(&self, key: &PublicKey, _: Height) -> Result<AccountProof, ExecutionError> {
        Err(ExecutionError::NoProof(*key))
    }

    fn snapshot(&self) -> Vec<u8> {
        encode(&((self.height, self.sequence, self.root), self.world.parts()))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<Digest, ExecutionError> {
        let bad = |why: &str| ExecutionError::Snapshot(why.into());
        let (head, parts): ((Height, Root, Digest), Parts) =
            decode(bytes, SNAPSHOT_BYTES_MAX).map_err(|error| bad(&error.to_string()))?;
        let mut world = World::of(parts, head.0.0).map_err(bad)?;
        if root_of(head.0, head.1, world.commit()) != head.2 {
            return Err(bad("its root does not fit its content"));
        }
        self.world = world;
        (self.height, self.sequence, self.root) = head;
        self.finalized = self.finalized.min(self.height);
        self.results.clear();
        Ok(self.root)
    }
}

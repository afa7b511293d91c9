//! The accounts of an EVM, committed by the same dense tree as the clearing house's: numbers
//! are given in order, and a changed account costs its path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_execution::merkle::{DenseTree, leaf};
use fairlane_types::{Digest, Root, encode};
use revm::Database;
use revm::primitives::{Address, B256, Bytes, KECCAK_EMPTY, U256, keccak256};
use revm::state::{AccountInfo, Bytecode, EvmState};

/// Block hashes that contracts can ask for.
pub(crate) const HASHES_KEPT: usize = 256;

/// An account as hashed and snapshotted. Numbers are big-endian.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct AccountLeaf {
    pub(crate) address: [u8; 20],
    pub(crate) nonce: u64,
    pub(crate) balance: [u8; 32],
    pub(crate) code: [u8; 32],
    /// Slots that are not zero, ascending.
    pub(crate) storage: Vec<([u8; 32], [u8; 32])>,
}

#[derive(Clone, Debug)]
struct Entry {
    index: usize,
    nonce: u64,
    balance: U256,
    code: B256,
    storage: BTreeMap<U256, U256>,
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    accounts: BTreeMap<Address, Entry>,
    /// By number.
    addresses: Vec<Address>,
    codes: BTreeMap<B256, Bytes>,
    /// Roots of the last heights, oldest first, and the height of the newest.
    hashes: VecDeque<Root>,
    newest: u64,
    tree: DenseTree,
    dirty: Vec<Address>,
}

impl World {
    /// Adds or replaces an account's nonce, balance and code.
    pub(crate) fn set(&mut self, address: Address, nonce: u64, balance: U256, code: Bytes) {
        let hash = self.keep(code);
        let entry = self.entry(address);
        (entry.nonce, entry.balance, entry.code) = (nonce, balance, hash);
    }

    fn keep(&mut self, code: Bytes) -> B256 {
        if code.is_empty() {
            return KECCAK_EMPTY;
        }
        let hash = keccak256(&code);
        self.codes.entry(hash).or_insert(code);
        hash
    }

    fn entry(&mut self, address: Address) -> &mut Entry {
        self.dirty.push(address);
        self.accounts.entry(address).or_insert_with(|| {
            self.addresses.push(address);
            Entry {
                index: self.addresses.len() - 1,
                nonce: 0,
                balance: U256::ZERO,
                code: KECCAK_EMPTY,
                storage: BTreeMap::new(),
            }
        })
    }

    /// Takes over what a transaction changed. Numbers of new accounts must not depend on the
    /// order of a hash map.
    pub(crate) fn take(&mut self, changes: EvmState) {
        let mut changes: Vec<_> = changes
            .into_iter()
            .filter(|(_, a)| a.is_touched())
            .collect();
        changes.sort_unstable_by_key(|(address, _)| *address);
        for (address, account) in changes {
            let gone = account.is_selfdestructed() || account.info.is_empty();
            if gone && !self.accounts.contains_key(&address) {
                continue;
            }
            let code = account.info.code.as_ref().map(Bytecode::original_bytes);
            let code = match code {
                Some(code) if !gone => self.keep(code),
                _ if gone => KECCAK_EMPTY,
                _ => account.info.code_hash,
            };
            let created = account.is_created();
            let entry = self.entry(address);
            if gone || created {
                entry.storage.clear();
            }
            if gone {
                (entry.nonce, entry.balance, entry.code) = (0, U256::ZERO, KECCAK_EMPTY);
                continue;
            }
            (entry.nonce, entry.balance) = (account.info.nonce, account.info.balance);
            entry.code = code;
            let mut slots: Vec<_> = account.storage.into_iter().collect();
            slots.sort_unstable_by_key(|(key, _)| *key);
            for (key, slot) in slots {
                if slot.present_value.is_zero() {
                    entry.storage.remove(&key);
                } else {
                    entry.storage.insert(key, slot.present_value);
                }
            }
        }
    }

    /// Notes the root of a height: what `BLOCKHASH` gives.
    pub(crate) fn note(&mut self, height: u64, root: Root) {
        if self.hashes.len() == HASHES_KEPT {
            self.hashes.pop_front();
        }
        self.hashes.push_back(root);
        self.newest = height;
    }

    fn leaf(&self, address: &Address) -> AccountLeaf {
        let entry = &self.accounts[address];
        let slot = |(key, value): (&U256, &U256)| (key.to_be_bytes(), value.to_be_bytes());
        AccountLeaf {
            address: ***address,
            nonce: entry.nonce,
            balance: entry.balance.to_be_bytes(),
            code: *entry.code,
            storage: entry.storage.iter().map(slot).collect(),
        }
    }

    /// Number of accounts and root over them and over what `BLOCKHASH` gives.
    pub(crate) fn commit(&mut self) -> (u64, Digest, Digest) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        let change = |address: &Address| {
            let index = self.accounts[address].index;
            (index, leaf(&encode(&self.leaf(address))))
        };
        let mut changes: Vec<_> = dirty.iter().map(change).collect();
        changes.sort_unstable_by_key(|(index, _)| *index);
        self.tree.update(&changes);
        let hashes: Vec<Root> = self.hashes.iter().copied().collect();
        let count = self.addresses.len() as u64;
        (count, self.tree.root(), leaf(&encode(&hashes)))
    }

    /// All of it, canonically: accounts by number, codes by hash, roots.
    pub(crate) fn parts(&self) -> Parts {
        // Code that no account has any more does not count.
        let used: BTreeSet<B256> = self.accounts.values().map(|entry| entry.code).collect();
        let code = |hash| self.codes.get(hash).map(|code| code.to_vec());
        Parts {
            accounts: self.addresses.iter().map(|a| self.leaf(a)).collect(),
            codes: used.iter().filter_map(code).collect(),
            hashes: self.hashes.iter().copied().collect(),
        }
    }

    /// The inverse, at a height.
    ///
    /// # Errors
    /// What does not hold together.
    pub(crate) fn of(parts: Parts, height: u64) -> Result<Self, &'static str> {
        let mut world = Self::default();
        let mut last = B256::ZERO;
        for code in parts.codes {
            let hash = world.keep(code.into());
            if hash <= last || hash == KECCAK_EMPTY {
                return Err("codes out of order");
            }
            last = hash;
        }
        let mut used = BTreeSet::new();
        for account in parts.accounts {
            let address = Address::from(account.address);
            let code = B256::from(account.code);
            if world.accounts.contains_key(&address) {
                return Err("an address comes twice");
            }
            if code != KECCAK_EMPTY && !world.codes.contains_key(&code) {
                return Err("a code is missing");
            }
            if account
                .storage
                .windows(2)
                .any(|pair| pair[0].0 >= pair[1].0)
                || account.storage.iter().any(|(_, value)| *value == [0; 32])
            {
                return Err("slots out of order");
            }
            used.insert(code);
            let entry = world.entry(address);
            let number = |bytes: [u8; 32]| U256::from_be_bytes(bytes);
            (entry.nonce, entry.balance) = (account.nonce, number(account.balance));
            entry.code = code;
            let slot = |(key, value)| (number(key), number(value));
            entry.storage = account.storage.into_iter().map(slot).collect();
        }
        used.remove(&KECCAK_EMPTY);
        if used.len() != world.codes.len() {
            return Err("a code that nobody has");
        }
        if parts.hashes.len() > HASHES_KEPT {
            return Err("too many roots");
        }
        (world.hashes, world.newest) = (parts.hashes.into(), height);
        Ok(world)
    }

    pub(crate) fn account(&self, address: &Address) -> Option<(u64, U256)> {
        let entry = self.accounts.get(address)?;
        Some((entry.nonce, entry.balance))
    }

    pub(crate) fn slot(&self, address: &Address, key: U256) -> U256 {
        let entry = self.accounts.get(address);
        let value = entry.and_then(|entry| entry.storage.get(&key));
        value.copied().unwrap_or_default()
    }
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Parts {
    accounts: Vec<AccountLeaf>,
    codes: Vec<Vec<u8>>,
    hashes: Vec<Root>,
}

impl Database for World {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        let entry = self.accounts.get(&address);
        // An account with nothing in it is none (EIP-161).
        let entry = entry.filter(|entry| {
            entry.nonce > 0 || !entry.balance.is_zero() || entry.code != KECCAK_EMPTY
        });
        Ok(entry.map(|entry| AccountInfo {
            balance: entry.balance,
            nonce: entry.nonce,
            code_hash: entry.code,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        let code = self.codes.get(&hash).cloned().unwrap_or_default();
        // A delegation (EIP-7702) that is malformed cannot have got here; it runs as nothing.
        Ok(Bytecode::new_raw_checked(code).unwrap_or_default())
    }

    fn storage(&mut self, address: Address, key: U256) -> Result<U256, Infallible> {
        Ok(self.slot(&address, key))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        let back = self.newest.checked_sub(number);
        let at = back.and_then(|back| self.hashes.len().checked_sub(back as usize + 1));
        let root = at.and_then(|at| self.hashes.get(at));
        Ok(root.map_or(B256::ZERO, |root| B256::from(root.0.0)))
    }
}

//! The core in a deterministic network: virtual time, a seeded generator, a disk that
//! loses what was not synced, Byzantine members, and an oracle that restates the rules.

mod byzantine;
mod codec;
mod mutants;
mod net;
mod oracle;
mod rules;
mod running;
mod solo;
mod stories;
mod swarm;
mod syncing;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    ChainId, Committee, Domain, Epoch, Height, MemberId, Micros, Millis, PublicKey, SigCheck,
    Signature,
};

use crate::{Config, FinalBlock, Params, Payload, genesis};

pub(crate) const CHAIN: ChainId = ChainId(7);
pub(crate) const EPOCH: Epoch = Epoch(3);

/// What test blocks carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Cut {
    /// Makes payloads of twins differ.
    pub(crate) nonce: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Payload for Cut {}

/// xorshift64*, for tests only.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }
    pub(crate) fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

pub(crate) fn key(member: MemberId) -> PublicKey {
    PublicKey([member.0 + 1; 32])
}

pub(crate) fn committee(n: u8) -> Committee {
    Committee::new((0..n).map(|m| key(MemberId(m))).collect()).unwrap()
}

/// Ideal signatures: a hash that only the harness computes.
pub(crate) fn ideal(check: &SigCheck) -> Signature {
    let mut bytes = check.key.0.to_vec();
    bytes.extend_from_slice(&check.message);
    let half = Domain::DevKey.hash(&bytes).0;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&half);
    signature[32..].copy_from_slice(&half);
    Signature(signature)
}

pub(crate) fn bad_ones(sigs: &[SigCheck]) -> Vec<usize> {
    let bad = |(i, s): (usize, &SigCheck)| (ideal(s) != s.signature).then_some(i);
    sigs.iter().enumerate().filter_map(bad).collect()
}

pub(crate) fn config(n: u8, me: Option<u8>, voting: bool) -> Config {
    Config {
        chain: CHAIN,
        epoch: EPOCH,
        committee: committee(n),
        me: me.map(MemberId),
        voting,
        params: Params {
            min_interval: Micros(5_000),
            max_interval: Micros(500_000),
            delay_min: Micros(10_000),
            delay_max: Micros(2_000_000),
        },
        clean_votes: false,
        planted: fairlane_types::Planted::NONE,
    }
}

pub(crate) fn origin() -> FinalBlock<Cut> {
    let parent = fairlane_types::BlockId::default();
    genesis(CHAIN, EPOCH, Height(0), parent, Millis(0), Cut::default())
}

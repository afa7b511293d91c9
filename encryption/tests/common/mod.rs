//! Fixtures, and the scheme of ENCRYPTION.md restated from the document: slow, plain, and
//! sharing no code with the crate, so that it can judge it and craft what the crate refuses
//! to make.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod ceremonies;
pub mod rig;

#[path = "../../examples/common/finalized.rs"]
mod finalized;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as G;
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};
use fairlane_encryption::{
    EncryptionKey, KeyShare, ParsedCiphertext, ShareBatch, Shares, Tdh2, ThresholdScheme,
    deal_insecure,
};
use fairlane_types::{BlockId, Digest, Epoch, MemberId};
use proptest::test_runner::Config as ProptestConfig;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha2::{Digest as _, Sha512};

pub use finalized::finalized;

pub const SENDER: [u8; 32] = [9; 32];
pub const ENTROPY: [u8; 32] = [0xe7; 32];

/// Failures print their input; they are not written into the tree.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub fn block(id: u8) -> BlockId {
    BlockId(Digest([id; 32]))
}

/// A label of 117 bytes, different for each number.
pub fn label(number: u64) -> Vec<u8> {
    let mut label = vec![1; 117];
    label[41..49].copy_from_slice(&number.to_le_bytes());
    label
}

/// A key with all its shares, and a list of valid orders with their payloads.
pub struct World {
    pub key: EncryptionKey,
    pub secrets: Vec<KeyShare>,
    pub list: Vec<ParsedCiphertext>,
    pub bytes: Vec<Vec<u8>>,
    pub payloads: Vec<Vec<u8>>,
    pub block: BlockId,
    pub rng: ChaCha20Rng,
}

impl World {
    pub fn new(n: usize, orders: usize) -> Self {
        let mut rng = rng(1000 + n as u64);
        let (key, secrets) = deal_insecure(Epoch(3), n, &mut rng).unwrap();
        let mut world = Self {
            key,
            secrets,
            list: Vec::new(),
            bytes: Vec::new(),
            payloads: Vec::new(),
            block: block(0xb1),
            rng,
        };
        for number in 0..orders as u64 {
            let payload = format!("order {number}")
                .repeat(number as usize % 70)
                .into_bytes();
            let bytes = world.encrypt(number, &payload);
            world.push(number, bytes, payload);
        }
        world
    }

    pub fn encrypt(&mut self, number: u64, payload: &[u8]) -> Vec<u8> {
        Tdh2::encrypt(&self.key, &label(number), payload, &SENDER, &mut self.rng).unwrap()
    }

    pub fn push(&mut self, number: u64, bytes: Vec<u8>, payload: Vec<u8>) {
        self.list
            .push(Tdh2::check(&self.key, &label(number), &bytes).unwrap());
        self.bytes.push(bytes);
        self.payloads.push(payload);
    }

    pub fn shares(&mut self, member: usize) -> Shares {
        let secret = &self.secrets[member];
        let sealed = Tdh2::shares(secret, self.block, &self.list, &mut self.rng);
        sealed.take(&finalized(self.block)).unwrap()
    }

    pub fn all_shares(&mut self) -> Vec<Shares> {
        (0..self.secrets.len())
            .map(|member| self.shares(member))
            .collect()
    }

    pub fn accept(&self, batch: ShareBatch) -> Shares {
        Tdh2::accept(&self.key, self.block, self.list.len(), batch.member, batch).unwrap()
    }
}

/// All subsets of `size` members out of `n`.
pub fn quorums(n: usize, size: usize) -> Vec<Vec<usize>> {
    (0_u32..1 << n)
        .filter(|mask| mask.count_ones() as usize == size)
        .map(|mask| (0..n).filter(|member| mask >> member & 1 == 1).collect())
        .collect()
}

pub fn ids(members: &[usize]) -> Vec<MemberId> {
    members
        .iter()
        .map(|member| MemberId(*member as u8))
        .collect()
}

// --- The scheme restated (ENCRYPTION 6.1–6.4) ---------------------------------------

pub fn sha(tag: &str, parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update(tag);
    hash.update([0]);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

pub fn hs(tag: &str, parts: &[&[u8]]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&sha(tag, parts))
}

pub fn lp(part: &[u8]) -> Vec<u8> {
    [&(part.len() as u64).to_le_bytes(), part].concat()
}

pub fn enc(point: RistrettoPoint) -> [u8; 32] {
    point.compress().to_bytes()
}

pub fn dec(bytes: &[u8]) -> RistrettoPoint {
    CompressedRistretto::from_slice(bytes)
        .unwrap()
        .decompress()
        .unwrap()
}

pub fn hbar() -> RistrettoPoint {
    let hex = "d811b37ef479973743511544958509c7a0923d5c0838a23230fe32f4f8a03345";
    dec(&hex::decode(hex).unwrap())
}

pub fn pad(payload: &[u8]) -> Vec<u8> {
    let class = [256, 512, 1024, 4096]
        .into_iter()
        .find(|class| payload.len() < *class)
        .unwrap();
    let mut padded = [payload, &[0x80]].concat();
    padded.resize(class, 0);
    padded
}

/// Everything that goes into a ciphertext; change a field before `build` to misbehave.
#[derive(Clone)]
pub struct Recipe {
    pub key_id: [u8; 32],
    pub label: Vec<u8>,
    /// The exponent behind U.
    pub r: Scalar,
    pub s: Scalar,
    /// The point the body key is derived from; rY if honest.
    pub w: RistrettoPoint,
    /// σ ‖ padded payload.
    pub inner: Vec<u8>,
}

impl Recipe {
    pub fn honest(
        key: &EncryptionKey,
        label: &[u8],
        payload: &[u8],
        sigma: [u8; 32],
        s: Scalar,
    ) -> Self {
        let key_id = *key.id().as_bytes();
        let r = hs("FAIRLANE-V1-R", &[&key_id, &lp(label), &sigma]);
        let inner = [&sigma[..], &pad(payload)].concat();
        Self {
            key_id,
            label: label.to_vec(),
            r,
            s,
            w: dec(key.y()) * r,
            inner,
        }
    }

    pub fn ke(&self) -> [u8; 32] {
        let parts: [&[u8]; 3] = [&self.key_id, &enc(G * self.r), &enc(self.w)];
        sha("FAIRLANE-V1-TDH2-KDF", &parts)[..32]
            .try_into()
            .unwrap()
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = self.inner.clone();
        let cipher = ChaCha20Poly1305::new(&self.ke().into());
        let tag = cipher
            .encrypt_inout_detached(&Nonce::default(), &self.label, body.as_mut_slice().into())
            .unwrap();
        body.extend_from_slice(&tag);
        body
    }

    pub fn points(&self) -> [[u8; 32]; 4] {
        [
            enc(G * self.r),
            enc(hbar() * self.r),
            enc(G * self.s),
            enc(hbar() * self.s),
        ]
    }

    pub fn challenge(&self) -> Scalar {
        let [u, ub, r, rb] = self.points();
        let (label, body) = (lp(&self.label), lp(&self.body()));
        hs(
            "FAIRLANE-V1-TDH2-POK",
            &[&self.key_id, &label, &u, &ub, &r, &rb, &body],
        )
    }

    pub fn z(&self) -> Scalar {
        self.s + self.challenge() * self.r
    }

    pub fn build(&self) -> Vec<u8> {
        let body = self.body();
        let len = (body.len() as u16).to_le_bytes();
        [
            &[1],
            &self.points().concat()[..],
            self.z().as_bytes(),
            &len,
            &body,
        ]
        .concat()
    }
}

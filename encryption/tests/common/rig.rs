//! What a test needs of a scheme beyond the seam: keys with all their secrets, lies, and
//! ciphertexts made by a dishonest sender.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as G;
use fairlane_encryption::{
    BaekZheng, BaekZhengBatch, BaekZhengKey, BaekZhengPoints, BaekZhengShare, BaekZhengShares,
    EncryptionKey, KeyPoints, KeyShare, ShareBatch, Shares, Tdh2, ThresholdScheme, deal_insecure,
    deal_pairing_insecure,
};
use fairlane_types::{BlockId, Epoch, MemberId};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};
use threshold_crypto::ff::{Field, PrimeField};
use threshold_crypto::group::{CurveAffine, CurveProjective, EncodedPoint};
use threshold_crypto::{Ciphertext, DecryptionShare, Fr, G1, G1Affine, IntoFr, PublicKeySet};

use super::{ENTROPY, Recipe, SENDER, block, dec, enc, finalized, label, lp, pad, rng, sha};

/// A scheme that can be tested.
pub trait Rig: ThresholdScheme + Sized {
    /// Kinds of lies.
    const LIES: u8;

    fn deal(n: usize, seed: u64) -> (Self::Key, Vec<Self::Secret>);
    fn batch(shares: &Self::Shares) -> (&Self::ShareBatch, MemberId);
    fn renamed(shares: &Self::Shares, member: MemberId) -> Self::ShareBatch;
    /// A well-formed but false batch.
    fn lie(shares: &Self::Shares, kind: u8) -> Self::ShareBatch;
    /// A valid ciphertext whose body is sealed under the wrong point, off by G.
    fn two_faced(key: &Self::Key, label: &[u8], payload: &[u8]) -> Vec<u8>;
    /// The batch whose share `k` makes `quorum` combine to that wrong point.
    fn tune(shares: &Self::Shares, k: usize, n: usize, quorum: &[usize]) -> Self::ShareBatch;
    /// Whether the body of order `k` decrypts under the combined points, unchecked.
    fn decrypts(
        key: &Self::Key,
        label: &[u8],
        bytes: &[u8],
        points: &Self::KeyPoints,
        k: usize,
    ) -> bool;
    /// The share of the first order.
    fn first_share(batch: &Self::ShareBatch) -> Vec<u8>;
    /// What the first order opens with.
    fn first_point(points: &Self::KeyPoints) -> Vec<u8>;
}

/// A key with all shares and a list of valid orders.
pub struct Stage<T: Rig> {
    pub key: T::Key,
    pub secrets: Vec<T::Secret>,
    pub list: Vec<T::Parsed>,
    pub bytes: Vec<Vec<u8>>,
    pub payloads: Vec<Vec<u8>>,
    pub block: BlockId,
    pub rng: ChaCha20Rng,
}

impl<T: Rig> Stage<T> {
    pub fn new(n: usize, orders: u64) -> Self {
        let (key, secrets) = T::deal(n, 500 + n as u64);
        let mut stage = Self {
            key,
            secrets,
            list: Vec::new(),
            bytes: Vec::new(),
            payloads: Vec::new(),
            block: block(0xb1),
            rng: rng(n as u64),
        };
        for number in 0..orders {
            let payload = format!("order {number}").into_bytes();
            let bytes = stage.encrypt(number, &payload);
            stage.push(number, bytes, payload);
        }
        stage
    }

    pub fn encrypt(&mut self, number: u64, payload: &[u8]) -> Vec<u8> {
        T::encrypt(&self.key, &label(number), payload, &SENDER, &mut self.rng).unwrap()
    }

    pub fn push(&mut self, number: u64, bytes: Vec<u8>, payload: Vec<u8>) {
        let parsed = T::check_batch(&self.key, &[(label(number), bytes.clone())], &ENTROPY);
        self.list.extend(parsed.into_iter().map(Result::unwrap));
        self.bytes.push(bytes);
        self.payloads.push(payload);
    }

    pub fn all_shares(&mut self) -> Vec<T::Shares> {
        let (list, block, rng) = (&self.list, self.block, &mut self.rng);
        self.secrets
            .iter()
            .map(|secret| {
                let sealed = T::shares(secret, block, list, rng);
                sealed.take(&finalized(block)).unwrap()
            })
            .collect()
    }
}

impl Rig for Tdh2 {
    const LIES: u8 = 3;

    fn deal(n: usize, seed: u64) -> (EncryptionKey, Vec<KeyShare>) {
        deal_insecure(Epoch(3), n, &mut rng(seed)).unwrap()
    }

    fn batch(shares: &Shares) -> (&ShareBatch, MemberId) {
        (shares.batch(), shares.member())
    }

    fn renamed(shares: &Shares, member: MemberId) -> ShareBatch {
        let mut batch = shares.batch().clone();
        batch.member = member;
        batch
    }

    fn lie(shares: &Shares, kind: u8) -> ShareBatch {
        let mut batch = shares.batch().clone();
        match kind {
            0 => batch.shares.fill(enc(G)),
            1 => batch.shares.rotate_left(1),
            _ => batch.shares[0] = enc(dec(&batch.shares[0]) + G),
        }
        batch
    }

    fn two_faced(key: &EncryptionKey, label: &[u8], payload: &[u8]) -> Vec<u8> {
        let honest = Recipe::honest(key, label, payload, [0x5a; 32], Scalar::from(99_u8));
        Recipe {
            w: honest.w + G,
            ..honest
        }
        .build()
    }

    fn tune(shares: &Shares, k: usize, n: usize, quorum: &[usize]) -> ShareBatch {
        let liar = Scalar::from(shares.member().0);
        let c: Scalar = (0..n)
            .filter(|j| !quorum.contains(j))
            .map(|j| liar - Scalar::from(j as u64))
            .product();
        let mut batch = shares.batch().clone();
        batch.shares[k] = enc(dec(&batch.shares[k]) + G * (c + c).invert());
        batch
    }

    fn decrypts(
        key: &EncryptionKey,
        label: &[u8],
        bytes: &[u8],
        points: &KeyPoints,
        k: usize,
    ) -> bool {
        let id = key.id();
        let parts: [&[u8]; 3] = [id.as_bytes(), &bytes[1..33], &points.encoded()[k]];
        let ke = sha("FAIRLANE-V1-TDH2-KDF", &parts)[..32].try_into();
        unseals(ke.unwrap(), label, &bytes[163..])
    }

    fn first_share(batch: &ShareBatch) -> Vec<u8> {
        batch.shares[0].to_vec()
    }

    fn first_point(points: &KeyPoints) -> Vec<u8> {
        points.encoded()[0].to_vec()
    }
}

/// Whether the AEAD alone accepts.
fn unseals(ke: [u8; 32], label: &[u8], body: &[u8]) -> bool {
    let (sealed, tag) = body.split_last_chunk::<16>().unwrap();
    let mut buffer = sealed.to_vec();
    ChaCha20Poly1305::new(&ke.into())
        .decrypt_inout_detached(
            &Nonce::default(),
            label,
            buffer.as_mut_slice().into(),
            &(*tag).into(),
        )
        .is_ok()
}

// --- Suite 0x02 restated from its documentation --------------------------------------

fn values(bytes: &[u8]) -> Value {
    bytes.iter().copied().map(Value::from).collect()
}

fn g1(bytes: &[u8]) -> G1 {
    let mut encoded = <G1Affine as CurveAffine>::Compressed::empty();
    encoded.as_mut().copy_from_slice(bytes);
    encoded.into_affine().unwrap().into_projective()
}

fn g1_bytes(point: &G1) -> [u8; 48] {
    let encoded = point.into_affine().into_compressed();
    encoded.as_ref().try_into().unwrap()
}

/// G of the crate, 32 bytes: a key set of one member decrypts V = 0 with that "share".
fn pad_of(point: &G1) -> [u8; 32] {
    let set: PublicKeySet =
        serde_json::from_value(json!({ "commit": { "coeff": [values(&g1_bytes(point))] } }))
            .unwrap();
    let share: DecryptionShare = serde_json::from_value(values(&g1_bytes(point))).unwrap();
    let blank = set.public_key().encrypt_with_rng(&mut Ones, []);
    let mut blank = serde_json::to_value(&blank).unwrap();
    blank[1] = values(&[0; 32]);
    let blank: Ciphertext = serde_json::from_value(blank).unwrap();
    let pad = set.decrypt([(0_usize, &share)], &blank).unwrap();
    pad.try_into().unwrap()
}

/// A stream of constant bytes.
struct Ones;

impl rand_core_05::RngCore for Ones {
    fn next_u32(&mut self) -> u32 {
        1
    }
    fn next_u64(&mut self) -> u64 {
        1
    }
    fn fill_bytes(&mut self, dest: &mut [u8]) {
        dest.fill(1);
    }
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_05::Error> {
        dest.fill(1);
        Ok(())
    }
}

fn bz_ke(key_id: &[u8], u: &[u8; 48], pad: &[u8; 32]) -> [u8; 32] {
    sha("FAIRLANE-V1-BZ-KDF", &[key_id, u, pad])[..32]
        .try_into()
        .unwrap()
}

/// The exponent of [`Ones`], as the crate draws it.
fn ones_r() -> Fr {
    Fr::random(&mut Ones)
}

impl Rig for BaekZheng {
    const LIES: u8 = 3;

    fn deal(n: usize, seed: u64) -> (BaekZhengKey, Vec<BaekZhengShare>) {
        deal_pairing_insecure(Epoch(3), n, &mut rng(seed)).unwrap()
    }

    fn batch(shares: &BaekZhengShares) -> (&BaekZhengBatch, MemberId) {
        (shares.batch(), shares.member())
    }

    fn renamed(shares: &BaekZhengShares, member: MemberId) -> BaekZhengBatch {
        let mut batch = shares.batch().clone();
        batch.member = member;
        batch
    }

    fn lie(shares: &BaekZhengShares, kind: u8) -> BaekZhengBatch {
        let mut batch = shares.batch().clone();
        match kind {
            0 => batch.shares.fill(g1_bytes(&G1::one())),
            1 => batch.shares.rotate_left(1),
            _ => {
                let mut share = g1(&batch.shares[0]);
                share.add_assign(&G1::one());
                batch.shares[0] = g1_bytes(&share);
            }
        }
        batch
    }

    fn two_faced(key: &BaekZhengKey, label: &[u8], payload: &[u8]) -> Vec<u8> {
        let (id, r) = (key.id(), ones_r());
        let u = g1_bytes(&G1Affine::one().mul(r));
        let shared = g1(key.public_key()).into_affine().mul(r);
        let mut wrong = shared;
        wrong.add_assign(&G1::one());
        let ke = bz_ke(id.as_bytes(), &u, &pad_of(&wrong));
        let mut body = [&[0x5a; 32][..], &pad(payload)].concat();
        let tag = ChaCha20Poly1305::new(&ke.into())
            .encrypt_inout_detached(&Nonce::default(), label, body.as_mut_slice().into())
            .unwrap();
        body.extend_from_slice(&tag);
        let binding = sha(
            "FAIRLANE-V1-BZ-BIND",
            &[id.as_bytes(), &lp(label), &u, &lp(&body)],
        );
        let true_pad = pad_of(&shared);
        let message: Vec<u8> = true_pad.iter().zip(binding).map(|(a, b)| a ^ b).collect();
        let public = threshold_crypto::PublicKey::from_bytes(key.public_key()).unwrap();
        let inner = public.encrypt_with_rng(&mut Ones, message);
        let inner = serde_json::to_value(&inner).unwrap();
        assert_eq!(inner[0], values(&u));
        assert_eq!(inner[1], values(&binding[..32]));
        let w: Vec<u8> = serde_json::from_value(inner[2].clone()).unwrap();
        let len = (body.len() as u16).to_le_bytes();
        [&[2], &u[..], &w, &len, &body].concat()
    }

    fn tune(shares: &BaekZhengShares, k: usize, _: usize, quorum: &[usize]) -> BaekZhengBatch {
        let x = |member: usize| (member as u64 + 1).into_fr();
        let liar = x(shares.member().index());
        // λ = ∏ xⱼ/(xⱼ − x).
        let mut lambda = Fr::one();
        for other in quorum
            .iter()
            .map(|member| x(*member))
            .filter(|x| *x != liar)
        {
            let mut difference = other;
            difference.sub_assign(&liar);
            lambda.mul_assign(&other);
            lambda.mul_assign(&difference.inverse().unwrap());
        }
        let mut share = g1(&shares.batch().shares[k]);
        let shift = lambda.inverse().unwrap().into_repr();
        share.add_assign(&G1Affine::one().mul(shift));
        let mut batch = shares.batch().clone();
        batch.shares[k] = g1_bytes(&share);
        batch
    }

    fn decrypts(
        key: &BaekZhengKey,
        label: &[u8],
        bytes: &[u8],
        points: &BaekZhengPoints,
        k: usize,
    ) -> bool {
        let u = bytes[1..49].try_into().unwrap();
        let ke = bz_ke(key.id().as_bytes(), &u, &points.pads()[k]);
        unseals(ke, label, &bytes[147..])
    }

    fn first_share(batch: &BaekZhengBatch) -> Vec<u8> {
        batch.shares[0].to_vec()
    }

    fn first_point(points: &BaekZhengPoints) -> Vec<u8> {
        points.pads()[0].to_vec()
    }
}

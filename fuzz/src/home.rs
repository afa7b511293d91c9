//! Encrypted files that cost little to open, written as `encryption/src/key_file.rs` says and by
//! none of its code.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use fairlane_encryption::{ReceiverSecret, Signing, deal_pairing_insecure};
use fairlane_node::founding::{Founding, Terms};
use fairlane_types::{
    ChainId, Digest, Epoch, MemberId, Millis, NextMember, OrderParams, ReceiverBytes, SecretKey,
    SeededRng, encode,
};

/// What files are sealed with.
pub const PASSPHRASE: &[u8] = b"correct horse";
/// Most memory that a file may ask for, in KiB.
pub const MEMORY_KIB_MAX: u32 = 1 << 18;
/// Most passes.
pub const PASSES_MAX: u32 = 16;

const MAGIC: &[u8; 15] = b"FAIRLANE-KEY-1\n";
/// A backup's.
const KIND: u8 = 5;
/// Memory in KiB, and passes.
const CHEAP: (u32, u32) = (8, 1);
const COST_AT: usize = MAGIC.len() + 1;
const HEAD: usize = COST_AT + 8 + 16;

/// Memory and passes that a file asks for.
#[must_use]
pub fn cost(file: &[u8]) -> Option<(u32, u32)> {
    let (memory, rest) = file.get(COST_AT..)?.split_first_chunk()?;
    let (passes, _) = rest.split_first_chunk()?;
    Some((u32::from_le_bytes(*memory), u32::from_le_bytes(*passes)))
}

/// Lets a file that is long enough ask for something else.
pub fn set_cost(file: &mut [u8], (memory, passes): (u32, u32)) {
    file[COST_AT..][..4].copy_from_slice(&memory.to_le_bytes());
    file[COST_AT + 4..][..4].copy_from_slice(&passes.to_le_bytes());
}

/// An encrypted backup.
#[must_use]
pub fn sealed(backup: &[u8]) -> Vec<u8> {
    let mut file = vec![0; HEAD];
    file[..MAGIC.len()].copy_from_slice(MAGIC);
    file[MAGIC.len()] = KIND;
    file[COST_AT + 8..].fill(7);
    set_cost(&mut file, CHEAP);
    let params = Params::new(CHEAP.0, CHEAP.1, 1, Some(32)).expect("it is allowed");
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(PASSPHRASE, &file[COST_AT + 8..], &mut key)
        .expect("it is allowed");
    let mut body = backup.to_vec();
    let tag = ChaCha20Poly1305::new(&key.into())
        .encrypt_inout_detached(&Nonce::default(), &file, body.as_mut_slice().into())
        .expect("it is short");
    [&file[..], &body, &tag].concat()
}

/// A backup of keys that are read with receivers, as the file has it.
#[must_use]
pub fn backup() -> Vec<u8> {
    let mut rng = SeededRng::new(&[6; 32], b"home");
    let receiver = *ReceiverSecret::generate(&mut rng).expose_secret();
    encode(&(
        Digest([1; 32]),
        Epoch(0),
        MemberId(2),
        [3_u8; 32],
        Vec::<u8>::new(),
        vec![(0_u64, receiver)],
        Vec::<u8>::new(),
    ))
}

/// A founding file of four members.
#[must_use]
pub fn founding() -> Vec<u8> {
    let mut rng = SeededRng::new(&[6; 32], b"founding");
    let members = (0..4_u8).map(|id| NextMember {
        identity: SecretKey::from_seed([id + 1; 32]).public(),
        receiver: ReceiverBytes(*ReceiverSecret::generate(&mut rng).key().bytes()),
        quic: format!("m{id}.example:7700"),
        api: format!("http://m{id}.example:7701"),
    });
    let terms = Terms {
        scheme: fairlane_types::Scheme::Tdh2,
        chain: ChainId(9),
        time: Millis(1),
        experiment: false,
        order: OrderParams::default(),
        combining: None,
    };
    let founding = Founding::new(terms, members.collect(), None).expect("they are four");
    serde_json::to_vec(&founding).expect("it is plain data")
}

/// Of keys that a dealer made.
#[must_use]
pub fn dealt_backup() -> Vec<u8> {
    let mut rng = SeededRng::new(&[6; 32], b"home");
    let dealt = deal_pairing_insecure::<Signing, _>(Epoch(0), 4, &mut rng);
    let (_, certificates) = dealt.expect("four members");
    encode(&(
        Digest([1; 32]),
        Epoch(0),
        MemberId(2),
        [3_u8; 32],
        encode(&crate::epochs::keys().1[2]),
        Vec::<(u64, [u8; 32])>::new(),
        encode(&certificates[2]),
    ))
}

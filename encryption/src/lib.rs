//! Threshold encryption of orders: nobody reads an order before its place in the sequence
//! is final, and then everybody reads the same.
//!
//! [`ThresholdScheme`] is the seam; [`Tdh2`] is suite 0x01 and [`BaekZheng`] suite 0x02,
//! with which everything below holds as well. A sender encrypts to the
//! committee's key Y for a label. Members check ciphertexts when they come in, and release
//! shares when the block is final ([`Sealed`], rule D1). Any t = 2f+1 shares combine to the
//! key point W. The sender's randomness comes out with the plaintext, which gives a check
//! that only the one true plaintext passes, and a 32-byte proof of it for everyone.
//!
//! Properties, each with a test:
//! - *Non-malleable*: a flipped bit of ciphertext or label, another label or another key
//!   make a ciphertext invalid (A4, A5).
//! - *Threshold*: any t members open, t−1 do not.
//! - *One verdict*: plaintext or `Malformed` is the same for every quorum (A9, A10).
//! - *Accountable*: up to f wrong share sets, in any order, delay nothing but the block
//!   they are in, and exactly the liars are named (A6).
//!
//! The crate is pure: no clock, no threads, no randomness of its own; plain data in, plain
//! data out. Secrets are handled in constant time and erased; `Debug` shows none.

mod attestation;
mod baek_zheng;
mod beacon;
#[cfg(feature = "bench")]
pub mod bench;
mod certificate;
mod ciphertext;
mod combine;
mod dealer;
mod dleq;
mod encrypt;
mod error;
mod group;
mod key_file;
mod keygen;
mod keys;
mod open;
mod order_share;
mod padding;
mod pairing;
mod resolve;
mod scheme;
mod sealed;
mod sharded;
mod shares;
mod state_attestation;
mod suite;
mod wire;

pub use attestation::{
    ATTESTATION_BYTES, Attestation, CertificateKeyError, CertificateKeys, OnwardError,
    certificate_key, leads_on,
};
pub use baek_zheng::{
    BAEK_ZHENG_HEADER_BYTES, BaekZheng, BaekZhengBatch, BaekZhengCiphertext, BaekZhengCombiner,
    BaekZhengKey, BaekZhengOrderShare, BaekZhengPoints, BaekZhengProven, BaekZhengShare,
    BaekZhengShares, baek_zheng_bytes,
};
pub use beacon::Beacon;
pub use certificate::{
    AcceptedShare, CERTIFICATE_BYTES, CERTIFICATE_DST, CERTIFICATE_KEY_BYTES, CertificateKey,
    CertificateSecret, CertificateShare, Certification, Subject, ThresholdCertificate,
    accept_certificate_share, certify, sign_attestation, sign_beacon, sign_state,
    verify_certificate_share,
};
pub use ciphertext::ParsedCiphertext;
pub use combine::{Combiner, KeyPoints};
pub use dealer::deal_insecure;
pub use dleq::DleqProof;
pub use encrypt::OPENING_BYTES;
pub use error::{CombineError, CtError, EncryptError, KeyError, OpeningError, ShareError};
pub use key_file::{
    KEY_FILE_MAGIC, KEY_FILE_SECRET_MAX, KeyFileError, KeyFileKind, is_key_file, open_key_file,
    seal_key_file,
};
pub use keygen::{
    Ceremony, CommitteeKeys, CommitteeShares, Deal, DealError, DealtKey, KEPT, ReceiverKey,
    ReceiverSecret, SLOTS, VerifiedDeal,
};
pub use keys::{EncryptionKey, KeyShare, SHARE_HOLDERS_MAX, threshold};
pub use open::{Opened, Plain};
pub use order_share::OrderShare;
pub use padding::{PAYLOAD_MAX, SIZE_CLASSES};
pub use pairing::{Encrypting, PairingKey, PairingShare, Purpose, Signing, deal_pairing_insecure};
pub use resolve::{Resolution, resolve};
pub use scheme::{Tdh2, ThresholdScheme};
pub use sealed::Sealed;
pub use sharded::{CombinerSchedule, KeyBatch, KeyPoint, SLICE_ORDERS_MIN, places, slices};
pub use shares::{ProvenShare, SHARES_MAX, ShareBatch, Shares, verify_shares_of};
pub use state_attestation::{STATE_ATTESTATION_BYTES, StateAttestation, StateRoots};
pub use suite::{
    SUITE_KEY_BYTES_MAX, Suite, SuiteBatch, SuiteCombiner, SuiteKey, SuiteOrderShare, SuiteParsed,
    SuitePoints, SuiteProven, SuiteSecret, SuiteShares, ciphertext_lens, deal_suite_insecure,
};
pub use wire::{HEADER_BYTES, ciphertext_bytes};

pub use fairlane_types::{SUITE_BAEK_ZHENG, SUITE_TDH2};

//! Small value types shared by every floor of fairlane: identifiers and units,
//! domain-separated hashing, the canonical encoding, identity signatures, the
//! committee, envelopes and labels, certificates, receipts, the emitted
//! sequence, the order codec and the genesis file.
//!
//! Nothing here does I/O, reads a clock or draws randomness.

mod activation;
mod certificate;
mod codec;
mod committee;
mod committee_change;
mod digest;
mod envelope;
mod genesis;
mod handover;
mod identity;
mod ids;
mod key_params;
mod many;
mod merkle;
mod mutant;
mod order;
mod params;
mod quorum_word;
mod receipt;
mod receivers;
mod sequence;
mod state_claim;

pub use activation::{ActiveKeys, KeyActivation};
pub use certificate::{
    BlockHeader, Certificate, CertificateError, CertificateKind, Commit, Finalized, Skip, Vote,
};
pub use codec::{DecodeError, append, decode, decode_first, encode, encode_into};
pub use committee::{Committee, CommitteeError, MEMBERS_MAX, MEMBERS_MIN, SignerSet};
pub use committee_change::{
    ADDRESS_BYTES_MAX, CommitteeChange, NextCommittee, NextKey, NextMember,
};
pub use digest::{BatchDigest, BlockId, CtId, Digest, Domain, KeyId, Root};
pub use envelope::{
    CIPHERTEXT_BYTES_MAX, Envelope, EnvelopeError, LABEL_BYTES, LANE_NONE, Label, SUITE_BAEK_ZHENG,
    SUITE_TDH2,
};
pub use genesis::{GENESIS_BYTES_MAX, Genesis, GenesisError};
pub use handover::{EpochStart, Handover, HandoverError};
pub use identity::{
    PublicKey, SecretKey, SeededRng, SigCheck, Signature, SignatureError, Signer, verify_batch,
    verify_each,
};
pub use ids::{ChainId, Epoch, Height, MemberId, Micros, Millis, Position, Seq, View};
pub use key_params::{
    CertificateParams, Combining, EncryptionParams, FormerKey, KeySource, SHARDED_FROM, Scheme,
};
pub use many::{Inputs, ManyHasher};
pub use merkle::{MerkleProof, merkle_root};
pub use mutant::{Mutant, Planted};
pub use order::{Order, OrderAction, OrderError, PAYLOAD_BYTES_MAX, Side, TimeInForce};
pub use params::{ConsensusParams, LaneParams, OrderParams, OrderRule, TieSource};
pub use quorum_word::{MemberSignature, QuorumWord};
pub use receipt::Receipt;
pub use receivers::{ReceiverBytes, ReceiverReuse, UsedReceivers};
pub use sequence::{Item, Outcome, SequencedBlock};
pub use state_claim::StateClaim;

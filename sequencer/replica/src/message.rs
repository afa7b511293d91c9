//! What members send each other: one enum, one class of traffic each.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_consensus as consensus;
use fairlane_encryption::{Attestation, Beacon, StateAttestation};
use fairlane_mempool::LaneMessage;
use fairlane_types::{CommitteeChange, DecodeError, Height, QuorumWord, Signature, decode, encode};

use crate::Class;
use crate::attesting::AttestShare;
use crate::beacons::BeaconShare;
use crate::dealing::Dealing;
use crate::payload::CutPayload;
use crate::share_message::{KeyMessage, ShareMessage};

/// Most heights asked for by one [`Message::GetShares`].
pub const SHARE_HEIGHTS_MAX: u16 = 64;

/// A message between members; the sender is the link's authenticated other end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// Consensus (PROTOCOL §2).
    Consensus(Box<consensus::Message<CutPayload>>),
    /// Lanes (PROTOCOL §1).
    Lane(LaneMessage),
    /// Decryption shares for a final block (D4).
    Shares(Arc<ShareMessage>),
    /// Asks for the receiver's shares (D7).
    GetShares {
        /// First height.
        from: Height,
        /// How many, at most [`SHARE_HEIGHTS_MAX`].
        count: u16,
    },
    /// The sender has emitted so far, durably (M6: what all have emitted may be pruned).
    Emitted(Height),
    /// A share of the attestation of a root (PROTOCOL §5).
    Attest(Arc<AttestShare>),
    /// The committee's signature on a root, combined by the sender.
    Attested(Box<Attestation>),
    /// The sender's dealing in the key ceremony (PROTOCOL §6).
    Dealing(Arc<Dealing>),
    /// The sender's signature over the key that the ceremony gave.
    KeyMade(Signature),
    /// A next committee that a quorum approved (PROTOCOL §6).
    Change(Arc<CommitteeChange>),
    /// The sender's signature over the start of the next epoch.
    Handover(Signature),
    /// A share of the beacon of a block in which something is tied (PROTOCOL §5).
    Beacon(Arc<BeaconShare>),
    /// The beacon itself, for whoever asks again.
    Beaconed(Box<Beacon>),
    /// A share of the attestation of a state (PROTOCOL §5).
    AttestState(Arc<AttestShare>),
    /// The committee's signature on a state, combined by the sender.
    AttestedState(Box<StateAttestation>),
    /// What the sender opened of a slice of a final block, for those who got no shares of it.
    Keys(Arc<KeyMessage>),
    /// A quorum's signatures over the start of the next epoch (PROTOCOL §6).
    Handed(Arc<QuorumWord>),
}

/// Why a frame is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not the encoding of a message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message on another class's stream.
    #[error("a {got} message came on the {want} stream")]
    Class {
        /// Class of the message.
        got: &'static str,
        /// Class of the stream.
        want: &'static str,
    },
}

impl Message {
    /// The class it travels in.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Consensus(message) => match **message {
                consensus::Message::Blocks(_) | consensus::Message::GetBlocks { .. } => Class::Sync,
                _ => Class::Consensus,
            },
            Self::Lane(LaneMessage::Batches(_)) | Self::Emitted(_) => Class::Sync,
            Self::Shares(_)
            | Self::Keys(_)
            | Self::GetShares { .. }
            | Self::Attest(_)
            | Self::Attested(_)
            | Self::AttestState(_)
            | Self::AttestedState(_)
            | Self::Dealing(_)
            | Self::KeyMade(_)
            | Self::Change(_)
            | Self::Handover(_)
            | Self::Handed(_)
            | Self::Beacon(_)
            | Self::Beaconed(_) => Class::Shares,
            Self::Lane(_) => Class::Lanes,
        }
    }

    /// Short name for metrics and traces.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Consensus(message) => match **message {
                consensus::Message::Proposal(_) => "proposal",
                consensus::Message::Vote(_) => "vote",
                consensus::Message::Commit(_) => "commit",
                consensus::Message::Skip(_) => "skip",
                consensus::Message::Certificate(_) => "certificate",
                consensus::Message::GetBlock { .. } => "get_block",
                consensus::Message::Block { .. } => "block",
                consensus::Message::GetCerts { .. } => "get_certs",
                consensus::Message::Certs(_) => "certs",
                consensus::Message::GetBlocks { .. } => "get_blocks",
                consensus::Message::Blocks(_) => "blocks",
            },
            Self::Lane(message) => match message {
                LaneMessage::Batch(_) => "batch",
                LaneMessage::GetBatches { .. } => "get_batches",
                LaneMessage::Batches(_) => "batches",
                LaneMessage::GetPayloads(_) => "get_payloads",
                LaneMessage::Payloads(_) => "payloads",
                LaneMessage::GetHeads(_) => "get_heads",
                LaneMessage::Heads { .. } => "heads",
            },
            Self::Shares(_) => "shares",
            Self::Keys(_) => "keys",
            Self::GetShares { .. } => "get_shares",
            Self::Emitted(_) => "emitted",
            Self::Attest(_) => "attest",
            Self::Attested(_) => "attested",
            Self::Dealing(_) => "dealing",
            Self::KeyMade(_) => "key_made",
            Self::Change(_) => "change",
            Self::Handover(_) => "handover",
            Self::Handed(_) => "handed",
            Self::Beacon(_) => "beacon",
            Self::Beaconed(_) => "beaconed",
            Self::AttestState(_) => "attest_state",
            Self::AttestedState(_) => "attested_state",
        }
    }

    /// Bytes of the frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a frame that came on the stream of `class`.
    ///
    /// # Errors
    /// [`MessageError`]; the peer is at fault.
    pub fn from_frame(class: Class, frame: &[u8]) -> Result<Self, MessageError> {
        let message: Self = decode(frame, class.frame_bytes_max())?;
        let got = message.class();
        if got == class {
            Ok(message)
        } else {
            Err(MessageError::Class {
                got: got.name(),
                want: class.name(),
            })
        }
    }
}

//! What members say of the chain and of themselves: `/v1/info`, `/v1/epochs`, `/v1/status`.

use fairlane_types::{Digest, KeyId, PublicKey, Root};
use serde::{Deserialize, Serialize};

use super::execution::ExecutionBody;
use super::number::{dec, dec_option};

/// `GET /v1/info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoBody {
    /// Version of the member's program.
    pub version: String,
    /// Version of this API.
    pub api: u32,
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Hash of the genesis file.
    pub genesis: Digest,
    /// Whether unsafe things are allowed on this chain.
    pub experiment: bool,
    /// This member.
    pub member: u8,
    /// Members.
    pub members: u8,
    /// Quorum.
    pub quorum: u8,
    /// Members whose shares open an order.
    pub threshold: u8,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Encryption scheme.
    pub scheme: String,
    /// Encryption key; none until the members have made it.
    #[serde(default)]
    pub key_id: Option<KeyId>,
    /// The last emitted block.
    pub head: Head,
    /// The first height that is served.
    #[serde(with = "dec")]
    pub first_available: u64,
    /// This member's clock, ms since the Unix epoch.
    #[serde(with = "dec")]
    pub now_ms: u64,
    /// Limits that this member holds requests to.
    pub limits: Limits,
}

/// The last emitted block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Height; 0 before the first block.
    #[serde(with = "dec")]
    pub height: u64,
    /// Root after it.
    pub root: Root,
    /// Finalized time, ms.
    #[serde(with = "dec")]
    pub time_ms: u64,
    /// Position of the next item.
    #[serde(with = "dec")]
    pub next_position: u64,
}

/// Limits of a member's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest body of one order, bytes.
    pub order_bytes: u32,
    /// Most envelopes in a batch.
    pub batch: u32,
    /// Largest payload before encryption, bytes.
    pub payload_bytes: u32,
    /// An expiry lies at most this far ahead of finalized time, ms.
    #[serde(with = "dec")]
    pub ttl_ms: u64,
    /// Most blocks in a page.
    pub blocks: u32,
    /// Longest wait of a submission, ms.
    #[serde(with = "dec")]
    pub wait_ms: u64,
}

/// `GET /v1/epochs/{n|current}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochBody {
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Chain.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Hash of the genesis file that all of this follows from.
    pub genesis: Digest,
    /// Identity keys in the order of member ids.
    pub members: Vec<MemberBody>,
    /// Quorum.
    pub quorum: u8,
    /// Members whose shares open an order.
    pub threshold: u8,
    /// Scheme.
    pub scheme: String,
    /// Suite number for the label.
    pub suite: u8,
    /// Key id for the label.
    pub key_id: KeyId,
    /// Public key and verification keys in the scheme's encoding.
    #[serde(with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// Where the members made the key: a quorum's signatures over it, a `KeyActivation` in
    /// borsh; else empty.
    #[serde(default, with = "hex::serde")]
    pub activation: Vec<u8>,
    /// Public key of certificates, 48 bytes; empty on a chain without.
    #[serde(default, with = "hex::serde")]
    pub certificate_key: Vec<u8>,
    /// The key of the epoch before, where this one has a fresh one: orders sealed to it are still
    /// taken if they expire in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerKeyBody>,
    /// First height of the epoch.
    #[serde(with = "dec")]
    pub first_height: u64,
    /// Last height of the epoch, none while it runs.
    #[serde(with = "dec_option")]
    pub last_height: Option<u64>,
}

/// A key that orders may be sealed to for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerKeyBody {
    /// Key id.
    pub key_id: KeyId,
    /// Last finalized time at which it opens orders, ms.
    #[serde(with = "dec")]
    pub until_ms: u64,
}

/// A member of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberBody {
    /// Member id.
    pub id: u8,
    /// Identity key.
    pub key: PublicKey,
}

/// How a member's own lane relates to the final order, since its start. Names and limits:
/// `mempool/src/fair/receive_order.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveOrderBody {
    /// Pairs of neighbours by how far apart the lane recorded them.
    pub pairs: Vec<GapBody>,
    /// Orders compared.
    #[serde(with = "dec")]
    pub orders: u64,
    /// Orders that came out before the lane had them.
    #[serde(with = "dec")]
    pub unknown: u64,
    /// Orders before which one came out that the lane recorded later.
    #[serde(with = "dec")]
    pub displaced: u64,
    /// By how much later, summed up, ms.
    #[serde(with = "dec")]
    pub displaced_ms: u64,
    /// Blocks with a strong cycle.
    #[serde(with = "dec")]
    pub strong_cycles: u64,
    /// Orders in the largest of them.
    #[serde(with = "dec")]
    pub strong_cycle_max: u64,
    /// Per leader: how far lanes lag in its blocks, on average, µs.
    pub lane_lag_us: Vec<u64>,
}

/// Pairs of one gap bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapBody {
    /// Upper end of the gap, ms; none for what is beyond.
    pub below_ms: Option<u64>,
    /// Pairs compared.
    #[serde(with = "dec")]
    pub seen: u64,
    /// Pairs that came out the other way round.
    #[serde(with = "dec")]
    pub inverted: u64,
}

/// How far the next epoch is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeBody {
    /// Members of the next committee.
    pub members: u8,
    /// Dealings that count.
    pub dealings: u8,
    /// Dealings that the key needs.
    pub needed: u8,
    /// Height of the last block of this epoch, once it is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<u64>,
}

/// `GET /v1/status` of the ops port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusBody {
    /// This member.
    pub member: u8,
    /// Whether `/readyz` says yes.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Epoch.
    #[serde(default, with = "dec")]
    pub epoch: u64,
    /// The next committee, once it is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeBody>,
    /// The last emitted block.
    pub head: Head,
    /// The first height that is served.
    #[serde(with = "dec")]
    pub first_available: u64,
    /// Highest height attested since the start.
    #[serde(default, with = "dec")]
    pub attested_height: u64,
    /// Consensus view.
    #[serde(with = "dec")]
    pub view: u64,
    /// Last final height.
    #[serde(with = "dec")]
    pub final_height: u64,
    /// Orders on their way at this member.
    #[serde(with = "dec")]
    pub orders_held: u64,
    /// So many may be on their way before submissions are refused.
    #[serde(with = "dec")]
    pub orders_held_max: u64,
    /// Members linked to this one.
    pub peers: Vec<u8>,
    /// The clearing house, if this member executes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionBody>,
    /// The member's own lane against the final order.
    pub receive_order: ReceiveOrderBody,
    /// Since the start, ms.
    #[serde(with = "dec")]
    pub uptime_ms: u64,
}

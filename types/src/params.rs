//! Parameters of lanes, consensus and fair order in a genesis.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::Height;

/// Rules that order the finalized lanes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum OrderRule {
    /// By assigned order indicator alone.
    Arrival,
    /// By strong precedence: what nearly all lanes have first is first.
    Strong,
    /// By median and majority of lanes; for comparison.
    Majority,
    /// By coarse time and tie; only with slots per account.
    Shuffle,
    /// In the order of lane 0; experiments only.
    Leader,
    /// One order of each lane in turn; experiments only.
    RoundRobin,
}

impl OrderRule {
    /// Every rule.
    pub const ALL: [Self; 6] = [
        Self::Arrival,
        Self::Strong,
        Self::Majority,
        Self::Shuffle,
        Self::Leader,
        Self::RoundRobin,
    ];

    /// As written in the genesis file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Strong => "strong",
            Self::Majority => "majority",
            Self::Shuffle => "shuffle",
            Self::Leader => "leader",
            Self::RoundRobin => "round-robin",
        }
    }

    /// The rule of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

/// What breaks ties among equal keys.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum TieSource {
    /// H(block_id ‖ ct_id).
    BlockId,
    /// H(beacon ‖ ct_id), where the beacon of a block is a hash of the committee's threshold
    /// signature on it: known to nobody before the block is final, and to nobody's liking.
    Beacon,
}

impl TieSource {
    /// As written in the genesis file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockId => "block-id",
            Self::Beacon => "beacon",
        }
    }
}

/// Lane parameters; each is a limit that every member enforces alike.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneParams {
    /// A lane seals a batch this long after its first pending entry, ms (M3, L5).
    pub batch_interval_ms: u64,
    /// While anything is not emitted, a head advances at least this often, ms (L4).
    pub head_interval_ms: u64,
    /// Largest batch, bytes of payload (M3).
    pub batch_bytes_max: u32,
    /// Most entries in a batch (M3).
    pub batch_entries_max: u32,
    /// Batches stored beyond a lane's last final head (M4).
    pub window_batches: u32,
    /// Entries stored beyond a lane's last final head (M4: E).
    pub window_entries: u32,
    /// Payload bytes stored beyond a lane's last final head (M4: B).
    pub window_bytes: u32,
    /// A batch stamped further in the future than this is held back, ms (L2: ε).
    pub future_ms: u64,
    /// Most entries that one cut may add per lane.
    pub cut_entries_max: u32,
}

impl Default for LaneParams {
    fn default() -> Self {
        Self {
            batch_interval_ms: 5,
            head_interval_ms: 20,
            batch_bytes_max: 512 << 10,
            batch_entries_max: 1_000,
            window_batches: 64,
            window_entries: 20_000,
            window_bytes: 16 << 20,
            future_ms: 5,
            cut_entries_max: 4_000,
        }
    }
}

/// Consensus parameters.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsensusParams {
    /// A leader waits at least this long after entering its view, ms (C10; 0–50).
    pub min_interval_ms: u64,
    /// A leader proposes at the latest after this, ms (C10).
    pub max_interval_ms: u64,
    /// Lower clamp of the measured delay Δ̂, ms (C9).
    pub delay_min_ms: u64,
    /// Upper clamp of the measured delay Δ̂, ms (C9).
    pub delay_max_ms: u64,
    /// What every member has emitted may be pruned once it is so old, ms (M6: R). At
    /// least twice TTL_max: for so long a restart looks back for outcomes.
    pub retention_ms: u64,
    /// What is so old may be pruned whatever members report, ms. A member that was away
    /// for longer cannot catch up from its peers' disks.
    pub retention_max_ms: u64,
}

impl Default for ConsensusParams {
    fn default() -> Self {
        Self {
            min_interval_ms: 15,
            max_interval_ms: 500,
            delay_min_ms: 10,
            delay_max_ms: 2_000,
            retention_ms: 600_000,
            retention_max_ms: 86_400_000,
        }
    }
}

/// Fair-order parameters.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrderParams {
    /// The rule.
    pub rule: OrderRule,
    /// Tie-break.
    pub tie: TieSource,
    /// An order lives at most this long after its first ingest, and its expiry may lie at
    /// most this far ahead of finalized time, ms (TTL_max).
    pub ttl_max_ms: u64,
    /// Stamps count at least as (f+1)-th largest head − this, ms (L2: L_max).
    pub back_dating_max_ms: u64,
    /// An order solid for this long is frozen without the lanes that lack it, ms.
    pub grace_ms: u64,
    /// Orders that are sealed to the key of the epoch before are decrypted for so long after
    /// its end, ms; then its shares are erased.
    pub key_grace_ms: u64,
    /// Most orders decrypted per block (D_max); the rest is backlog.
    pub decrypt_max: u32,
    /// Every so many heights the block commits to the order state, and a snapshot is kept.
    pub snapshot_interval: u32,
}

impl OrderParams {
    /// Whether the block of a height commits to the order state.
    #[must_use]
    pub fn commits_at(&self, height: Height) -> bool {
        height.0.is_multiple_of(u64::from(self.snapshot_interval))
    }
}

impl Default for OrderParams {
    fn default() -> Self {
        Self {
            rule: OrderRule::Strong,
            tie: TieSource::BlockId,
            ttl_max_ms: 120_000,
            back_dating_max_ms: 250,
            grace_ms: 100,
            key_grace_ms: 120_000,
            decrypt_max: 2_000,
            snapshot_interval: 256,
        }
    }
}

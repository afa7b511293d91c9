//! What the clearing house of a member answers.

use fairlane_types::{Digest, PublicKey};
use serde::{Deserialize, Serialize};

use super::number::dec;

/// The clearing house in `GET /v1/status` of the ops port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionBody {
    /// Digest of its genesis; the same at all members.
    pub genesis: Digest,
    /// Last height applied.
    #[serde(with = "dec")]
    pub height: u64,
    /// State root there.
    pub state_root: Digest,
    /// Accounts.
    #[serde(with = "dec")]
    pub accounts: u64,
    /// Open positions.
    #[serde(with = "dec")]
    pub positions: u64,
    /// Fills since genesis.
    #[serde(with = "dec")]
    pub fills: u64,
    /// Why it stopped, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// `GET /v1/execution/{height}`: what a block did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutedBody {
    /// The height.
    #[serde(with = "dec")]
    pub height: u64,
    /// State root after it.
    pub state_root: Digest,
    /// Merkle root over receipts and events.
    pub receipts_root: Digest,
    /// One per item.
    pub receipts: Vec<ExecutedItem>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutedItem {
    /// Its position in the sequence.
    #[serde(with = "dec")]
    pub position: u64,
    /// 0, or why it was refused.
    pub code: u16,
    /// What it matched.
    pub fills: Vec<FillBody>,
}

/// One match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillBody {
    /// Market.
    pub market: u32,
    /// Number of the taker's account.
    pub taker: u32,
    /// Number of the maker's account.
    pub maker: u32,
    /// The maker's own number for its order.
    #[serde(with = "dec")]
    pub maker_cloid: u64,
    /// Whether the taker bought.
    pub buy: bool,
    /// Price.
    #[serde(with = "dec")]
    pub ticks: u64,
    /// Lots.
    #[serde(with = "dec")]
    pub lots: u64,
}

/// `GET /v1/account/{key}`: an account at the head, and the proof of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBody {
    /// Whose it is.
    pub key: PublicKey,
    /// Height of the state.
    #[serde(with = "dec")]
    pub height: u64,
    /// State root that the proof leads to.
    pub state_root: Digest,
    /// Realised money in quote quanta, decimal.
    pub collateral: String,
    /// What it holds, by market.
    pub positions: Vec<PositionBody>,
    /// The borsh encoding of the account and its path, as `fairlane-execution` reads it.
    #[serde(with = "hex::serde")]
    pub proof: Vec<u8>,
}

/// A position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionBody {
    /// Market.
    pub market: u32,
    /// Lots, negative when short.
    pub lots: i64,
    /// What they cost in quote quanta, decimal.
    pub cost: String,
    /// Open orders.
    pub orders: u32,
}

//! What the clearing house of a member answers.

use fairlane_execution::account::PositionLeaf;
use fairlane_execution::oracle::Validity;
use fairlane_execution::{About, Change, Market, Proposal};
use fairlane_types::{
    ChainId, Digest, Epoch, Height, MemberId, PAYLOAD_BYTES_MAX, PublicKey, Signature, StateClaim,
    decode, encode,
};
use serde::{Deserialize, Serialize};

use super::blocks::WireError;
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

impl From<&PositionLeaf> for PositionBody {
    fn from(held: &PositionLeaf) -> Self {
        Self {
            market: held.market,
            lots: held.lots,
            cost: held.cost.to_string(),
            orders: held.orders.len() as u32,
        }
    }
}

/// `GET /v1/execution/{height}/claim`: a member's signed word on the state at a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimBody {
    /// Chain id.
    #[serde(with = "dec")]
    pub chain: u64,
    /// Epoch.
    #[serde(with = "dec")]
    pub epoch: u64,
    /// Who says it.
    pub member: u8,
    /// Digest of the execution's genesis.
    pub genesis: Digest,
    /// Height.
    #[serde(with = "dec")]
    pub height: u64,
    /// State root after it.
    pub state_root: Digest,
    /// Root over what it did.
    pub receipts_root: Digest,
    /// By the member's identity.
    #[serde(with = "hex::serde")]
    pub signature: Vec<u8>,
}

impl From<&StateClaim> for ClaimBody {
    fn from(claim: &StateClaim) -> Self {
        Self {
            chain: claim.chain.0,
            epoch: claim.epoch.0,
            member: claim.member.0,
            genesis: claim.genesis,
            height: claim.height.0,
            state_root: claim.state_root,
            receipts_root: claim.receipts_root,
            signature: claim.signature.0.to_vec(),
        }
    }
}

impl TryFrom<ClaimBody> for StateClaim {
    type Error = WireError;

    fn try_from(body: ClaimBody) -> Result<Self, WireError> {
        let signature = body.signature.try_into();
        let signature = signature.map_err(|_| WireError("a signature has 64 bytes".into()))?;
        Ok(Self {
            chain: ChainId(body.chain),
            epoch: Epoch(body.epoch),
            member: MemberId(body.member),
            genesis: body.genesis,
            height: Height(body.height),
            state_root: body.state_root,
            receipts_root: body.receipts_root,
            signature: Signature(signature),
        })
    }
}

/// One of `GET /v1/changes`: other parameters on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalBody {
    /// `market N`, `oracles` or `general`.
    pub about: String,
    /// Height at whose end it takes hold.
    #[serde(with = "dec")]
    pub height: u64,
    /// Numbers of the oracles that said it.
    pub by: Vec<u32>,
    /// Whether a quorum has.
    pub agreed: bool,
    /// The change, borsh.
    #[serde(with = "hex::serde")]
    pub change: Vec<u8>,
}

impl From<&Proposal> for ProposalBody {
    fn from(proposal: &Proposal) -> Self {
        let about = match proposal.change.about() {
            About::Market(market) => format!("market {market}"),
            About::Oracles => "oracles".to_owned(),
            About::General => "general".to_owned(),
        };
        Self {
            about,
            height: proposal.height,
            by: proposal.by.clone(),
            agreed: proposal.agreed,
            change: encode(&proposal.change),
        }
    }
}

impl ProposalBody {
    /// What is to be different.
    ///
    /// # Errors
    /// Bytes that are no change.
    pub fn change(&self) -> Result<Change, WireError> {
        decode(&self.change, PAYLOAD_BYTES_MAX).map_err(|error| WireError(error.to_string()))
    }
}

/// One of `GET /v1/markets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarketBody {
    /// Its number.
    pub market: u32,
    /// What margins are taken at, in ticks.
    #[serde(with = "dec")]
    pub mark: u64,
    /// What the mark goes to; 0 before the first report.
    #[serde(with = "dec")]
    pub price: u64,
    /// How far honest observations may be from it, in ticks.
    #[serde(with = "dec")]
    pub spread: u64,
    /// `fresh`, `uncertain`, `stale` or `dead`.
    pub oracle: String,
    /// `normal`, `guarded`, `auction`, `halted` or `frozen`.
    pub status: String,
    /// Lots held long, and as many short.
    #[serde(with = "dec")]
    pub open_interest: u64,
    /// Quote quanta × ppm that a long lot has paid since genesis, decimal.
    pub funding: String,
}

impl MarketBody {
    /// Of a market with its number.
    #[must_use]
    pub fn new(number: u32, market: &Market) -> Self {
        let oracle = match market.oracle.validity {
            Validity::Fresh => "fresh",
            Validity::Uncertain => "uncertain",
            Validity::Stale => "stale",
            Validity::Dead => "dead",
        };
        Self {
            market: number,
            mark: market.mark,
            price: market.oracle.price,
            spread: market.oracle.spread,
            oracle: oracle.to_owned(),
            status: market.status.name().to_owned(),
            open_interest: market.open_interest,
            funding: market.funding.to_string(),
        }
    }
}

//! The canonical payload of a perpetual-futures order: what a trader seals and what
//! execution reads. Opaque to consensus, mempool and replica.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{DecodeError, decode, encode};

/// Largest payload before padding: the largest size class less its marker byte.
pub const PAYLOAD_BYTES_MAX: usize = 4_095;

/// An order as sealed: a version byte (1), then the action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Order {
    version: u8,
    /// What to do.
    pub action: OrderAction,
}

/// What an order asks for. The account is the sender of the envelope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum OrderAction {
    /// Place an order.
    Place {
        /// Market number.
        market: u32,
        /// Buy or sell.
        side: Side,
        /// Price in ticks; must not be 0.
        price_ticks: u64,
        /// Size in lots; must not be 0.
        lots: u64,
        /// What happens to what does not fill at once.
        tif: TimeInForce,
        /// May only shrink a position.
        reduce_only: bool,
        /// The trader's own number for the order.
        cloid: u64,
    },
    /// Cancel one order by the trader's number.
    Cancel {
        /// Market number.
        market: u32,
        /// The trader's own number for the order.
        cloid: u64,
    },
    /// Cancel every resting order of the trader, in one market or in all.
    CancelAll {
        /// Market number, all if none.
        market: Option<u32>,
    },
}

/// Buy or sell.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Buy.
    Buy,
    /// Sell.
    Sell,
}

/// What happens to the part of an order that does not fill at once.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TimeInForce {
    /// Rests until cancelled.
    Gtc,
    /// Is cancelled.
    Ioc,
    /// The whole order fills or none of it.
    Fok,
    /// The order is refused if any of it would fill at once.
    PostOnly,
}

/// Why bytes are not an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Not the canonical encoding.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A later or unknown version.
    #[error("order version {0} is not known")]
    Version(u8),
    /// Price or size of zero.
    #[error("price and size must not be 0")]
    Zero,
}

impl Order {
    /// A version-1 order.
    #[must_use]
    pub const fn new(action: OrderAction) -> Self {
        Self { version: 1, action }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OrderError> {
        let order: Self = decode(bytes, PAYLOAD_BYTES_MAX)?;
        if order.version != 1 {
            return Err(OrderError::Version(order.version));
        }
        match order.action {
            OrderAction::Place { price_ticks: 0, .. } | OrderAction::Place { lots: 0, .. } => {
                Err(OrderError::Zero)
            }
            _ => Ok(order),
        }
    }
}

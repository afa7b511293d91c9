//! What a payload asks of the clearing house. Version 1 is the order of `fairlane-types`;
//! version 2 is what moves money and prices.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{Order, OrderAction, PAYLOAD_BYTES_MAX, PublicKey, decode, encode};

use crate::Reject;

/// First byte of a [`Request`].
pub const REQUEST_VERSION: u8 = 2;

/// A transaction. The account is the sender of the envelope; its signature and its nonce
/// were settled by the sequence (decision 35).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tx {
    /// Version 1.
    Order(OrderAction),
    /// Version 2.
    Request(Request),
}

/// A transaction of version 2.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Request {
    /// Free collateral leaves the clearing house.
    Withdraw {
        /// Quote quanta.
        amount: u64,
    },
    /// Free collateral goes to another key; an account is opened for it if it has none.
    Transfer {
        /// Receiver.
        to: PublicKey,
        /// Quote quanta.
        amount: u64,
    },
    /// The bridge credits what was deposited outside; only for the genesis' bridge key.
    Deposit {
        /// Receiver.
        to: PublicKey,
        /// Quote quanta.
        amount: u64,
        /// Counts from 0 without a gap, so that no deposit is credited twice.
        number: u64,
    },
    /// A member's view of a price; only for the genesis' oracle keys.
    Observe {
        /// Market.
        market: u32,
        /// Price in ticks.
        ticks: u64,
    },
}

impl Tx {
    /// Parses a payload; refuses every encoding but the canonical one.
    ///
    /// # Errors
    /// [`Reject::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reject> {
        match bytes.split_first() {
            Some((&REQUEST_VERSION, rest)) => {
                decode(rest, PAYLOAD_BYTES_MAX).map(Self::Request).ok()
            }
            _ => Order::from_bytes(bytes).map(|o| Self::Order(o.action)).ok(),
        }
        .ok_or(Reject::Malformed)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Order(action) => Order::new(action.clone()).to_bytes(),
            Self::Request(request) => {
                let mut bytes = vec![REQUEST_VERSION];
                bytes.extend(encode(request));
                bytes
            }
        }
    }
}

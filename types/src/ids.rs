//! Identifiers and units as newtypes, so that a view is never taken for a height.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The next value; saturates at the maximum of the type.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
            /// The value before; saturates at zero.
            #[must_use]
            pub const fn prev(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
            /// `self + by`, saturating.
            #[must_use]
            pub const fn plus(self, by: $inner) -> Self {
                Self(self.0.saturating_add(by))
            }
            /// `self - by`, saturating at zero.
            #[must_use]
            pub const fn minus(self, by: $inner) -> Self {
                Self(self.0.saturating_sub(by))
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A member's place in the genesis committee, counted from 0.
    /// The index of its key share is `MemberId + 1`.
    MemberId(u8)
);
number!(
    /// The chain a signature or a ciphertext is bound to.
    ChainId(u64)
);
number!(
    /// A span of blocks with one committee and one encryption key.
    Epoch(u64)
);
number!(
    /// A round of consensus with one leader.
    View(u64)
);
number!(
    /// The distance of a block from genesis (height 0) in the chain of final blocks.
    Height(u64)
);
number!(
    /// The number of a batch in its lane; the first batch has 1, 0 stands for "none".
    Seq(u64)
);
number!(
    /// The global number of an item in the emitted sequence, counted from 0.
    Position(u64)
);
number!(
    /// Microseconds since the Unix epoch (stamps) or as a span.
    Micros(u64)
);
number!(
    /// Milliseconds since the Unix epoch (finalized time, expiry) or as a span.
    Millis(u64)
);

impl MemberId {
    /// The index as used to address slices.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
    /// The x-coordinate of this member's key share: `MemberId + 1`.
    #[must_use]
    pub const fn share_index(self) -> u16 {
        self.0 as u16 + 1
    }
}

impl Micros {
    /// From whole milliseconds, saturating.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }
    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> Millis {
        Millis(self.0 / 1_000)
    }
}

//! Message classes: each travels on its own stream and has its own priority and limit.

/// Kinds of traffic between members, most urgent first (ARCHITECTURE, boundary rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Proposals, votes, certificates.
    Consensus,
    /// Decryption shares.
    Shares,
    /// Lane batches and payloads.
    Lanes,
    /// Blocks, batches and payloads of the past.
    Sync,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 4] = [Self::Consensus, Self::Shares, Self::Lanes, Self::Sync];

    /// Largest frame of this class, in bytes; longer ones end the connection.
    #[must_use]
    pub const fn frame_bytes_max(self) -> usize {
        match self {
            Self::Consensus => 2 << 20,
            Self::Shares => 8 << 20,
            Self::Lanes => 8 << 20,
            Self::Sync => 16 << 20,
        }
    }

    /// Number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Consensus => 0,
            Self::Shares => 1,
            Self::Lanes => 2,
            Self::Sync => 3,
        }
    }

    /// The class with this number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Consensus),
            1 => Some(Self::Shares),
            2 => Some(Self::Lanes),
            3 => Some(Self::Sync),
            _ => None,
        }
    }

    /// Name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Shares => "shares",
            Self::Lanes => "lanes",
            Self::Sync => "sync",
        }
    }
}

//! Why links end, as a type, as close codes and as counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a link was refused or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u32)]
pub enum LinkFault {
    /// This node is stopping: no fault.
    #[error("stopping")]
    Stopping,
    /// A newer link of the same member took over: no fault.
    #[error("replaced by a newer link")]
    Replaced,
    /// The handshake failed: a stranger's key, another protocol, another TLS.
    #[error("handshake failed")]
    Handshake,
    /// The handshake took too long.
    #[error("handshake took too long")]
    Slow,
    /// Too many handshakes at once or per second from there.
    #[error("too many handshakes")]
    TooMany,
    /// The key is of no other member.
    #[error("not a member")]
    Stranger,
    /// A member with a higher id dialled.
    #[error("the lower id dials")]
    Direction,
    /// A member of another chain.
    #[error("another genesis")]
    Genesis,
    /// A stream of an unknown class.
    #[error("unknown class")]
    Class,
    /// A second stream of a class.
    #[error("second stream of a class")]
    Duplicate,
    /// A frame over the limit of its class.
    #[error("frame over the limit of its class")]
    Oversized,
    /// A frame of no bytes.
    #[error("empty frame")]
    Empty,
    /// A stream ended; they last as long as the link.
    #[error("stream ended")]
    Ended,
    /// Messages that do not decode.
    #[error("message does not decode")]
    Undecodable,
    /// The peer does not take what it must not miss.
    #[error("peer is too slow")]
    Overflow,
}

impl LinkFault {
    /// Every fault.
    pub const ALL: [Self; 15] = [
        Self::Stopping,
        Self::Replaced,
        Self::Handshake,
        Self::Slow,
        Self::TooMany,
        Self::Stranger,
        Self::Direction,
        Self::Genesis,
        Self::Class,
        Self::Duplicate,
        Self::Oversized,
        Self::Empty,
        Self::Ended,
        Self::Undecodable,
        Self::Overflow,
    ];

    /// QUIC application close code.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The fault with this close code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Replaced => "replaced",
            Self::Handshake => "handshake",
            Self::Slow => "slow",
            Self::TooMany => "too_many",
            Self::Stranger => "stranger",
            Self::Direction => "direction",
            Self::Genesis => "genesis",
            Self::Class => "class",
            Self::Duplicate => "duplicate",
            Self::Oversized => "oversized",
            Self::Empty => "empty",
            Self::Ended => "ended",
            Self::Undecodable => "undecodable",
            Self::Overflow => "overflow",
        }
    }
}

/// How often each fault was met.
#[derive(Debug, Default)]
pub struct FaultCounts {
    counts: [AtomicU64; LinkFault::ALL.len()],
}

impl FaultCounts {
    /// Counts one, here and in the metrics.
    pub(crate) fn count(&self, fault: LinkFault) {
        self.counts[fault as usize].fetch_add(1, Ordering::Relaxed);
        metrics::counter!("fairlane_net_faults_total", "fault" => fault.name()).increment(1);
    }

    /// Times a fault was met.
    #[must_use]
    pub fn of(&self, fault: LinkFault) -> u64 {
        self.counts[fault as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_positions_and_names_differ() {
        for (at, fault) in LinkFault::ALL.into_iter().enumerate() {
            assert_eq!(LinkFault::from_code(at as u64), Some(fault));
            assert_eq!(fault.code() as usize, at);
            assert!(
                LinkFault::ALL[..at]
                    .iter()
                    .all(|f| f.name() != fault.name())
            );
        }
        assert_eq!(LinkFault::from_code(99), None);
    }
}

//! What a core is told about itself, and every bound it keeps (C11).

use fairlane_types::{ChainId, Committee, ConsensusParams, Epoch, MemberId, Micros, Planted};

/// Votes are kept for views up to this far above the current one (C11).
pub const LOOK_AHEAD_VIEWS: u64 = 64;
/// Votes and own statements concern views down to this far below the current one (C11).
pub const LOOK_BEHIND_VIEWS: u64 = 64;
/// Certificates and blocks are kept for views up to this far above the last final one
/// (C4, C11). With timers doubled 2⁶ times this is half a day without a single finalization;
/// beyond it the core stops safely until a final certificate arrives.
pub const UNFINAL_VIEWS_MAX: u64 = 16_384;
/// Skip certificates carried inside a proposal; the rest is asked for (C4).
pub const INLINE_SKIPS_MAX: usize = 32;
/// Certificates in one answer to `GetCerts`.
pub const CERTS_MAX: usize = 32;
/// Certificates of one peer that wait for verification at the same time (C11).
pub const PEER_CERTS_MAX: usize = 64;
/// Blocks asked for, and served with their payloads, by one `GetBlocks`.
pub const BLOCKS_MAX: u16 = 64;
/// Blocks of one view that are kept: the leader's first and a notarized other one.
pub const BLOCKS_PER_VIEW_MAX: usize = 2;
/// Final blocks below the tip that are still served by id.
pub const RECENT_BLOCKS: usize = 8;
/// Timers double at most this many times (C9).
pub const BACKOFF_DOUBLINGS_MAX: u32 = 6;
/// A leader unheard of for this many views is skipped at once by those who heard q others
/// in them (C9).
pub const INACTIVE_VIEWS: u64 = 16;
/// First span, in views, in which a lane named as missing is proposed certified-only.
pub const CERTIFIED_ONLY_VIEWS_MIN: u64 = 2;
/// Longest such span; also how long a lane must not be named to start over.
pub const CERTIFIED_ONLY_VIEWS_MAX: u64 = 64;
/// Δ̂ before anything was measured, clamped like every other (C9).
pub const DELAY_FIRST: Micros = Micros(100_000);
/// A measured delay counts for at most so many times the present estimate, the first one for
/// at most [`DELAY_FIRST`] (C9).
pub const SAMPLE_GROWTH_MAX: u64 = 2;
/// Shortest pause between two rebroadcasts of a stuck member (C9).
pub const REBROADCAST_MIN: Micros = Micros(100_000);
/// Longest pause between two rebroadcasts of a stuck member (C9).
pub const REBROADCAST_MAX: Micros = Micros(2_000_000);

/// Timing parameters (C9, C10).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// A leader waits at least this long after entering its view.
    pub min_interval: Micros,
    /// A leader proposes at the latest after this: the heartbeat.
    pub max_interval: Micros,
    /// Lower clamp of the measured delay Δ̂.
    pub delay_min: Micros,
    /// Upper clamp of the measured delay Δ̂.
    pub delay_max: Micros,
}

impl From<&ConsensusParams> for Params {
    fn from(from: &ConsensusParams) -> Self {
        Self {
            min_interval: Micros::from_millis(from.min_interval_ms),
            max_interval: Micros::from_millis(from.max_interval_ms),
            delay_min: Micros::from_millis(from.delay_min_ms),
            delay_max: Micros::from_millis(from.delay_max_ms),
        }
    }
}

/// Everything a core is told about itself; constant while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Chain.
    pub chain: ChainId,
    /// Epoch: one core per epoch.
    pub epoch: Epoch,
    /// The members of this epoch.
    pub committee: Committee,
    /// Own place in the committee; `None` for an outside observer.
    pub me: Option<MemberId>,
    /// False for a member without its safety record: it follows and says nothing (C7).
    pub voting: bool,
    /// Timing.
    pub params: Params,
    /// D3: own proposals are judged as any other, and a vote is clean where the verdict is
    /// [`Verdict::Clean`](crate::Verdict::Clean). Otherwise every vote is dirty (D2).
    pub clean_votes: bool,
    /// The rule that is broken on purpose: none, but in tests.
    pub planted: Planted,
}

/// Why a configuration cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `me` is not in the committee.
    #[error("member {0} is not in the committee of {1}")]
    NotMember(MemberId, usize),
    /// Clamps or intervals in the wrong order.
    #[error("{0} must not be larger than {1}")]
    Order(&'static str, &'static str),
    /// The lower clamp of the delay is zero, so timers would never grow.
    #[error("delay_min must be at least 1 µs")]
    ZeroDelay,
}

impl Config {
    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// [`ConfigError`] names what does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(me) = self.me
            && !self.committee.contains(me)
        {
            return Err(ConfigError::NotMember(me, self.committee.n()));
        }
        if self.params.delay_min.0 == 0 {
            return Err(ConfigError::ZeroDelay);
        }
        if self.params.delay_min > self.params.delay_max {
            return Err(ConfigError::Order("delay_min", "delay_max"));
        }
        if self.params.min_interval > self.params.max_interval {
            return Err(ConfigError::Order("min_interval", "max_interval"));
        }
        Ok(())
    }

    /// The member in whose name this core speaks, if it speaks at all.
    #[must_use]
    pub fn speaker(&self) -> Option<MemberId> {
        self.me.filter(|_| self.voting)
    }
}

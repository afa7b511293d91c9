//! File descriptors: everything that is open takes one, and strangers open connections. What the
//! node itself needs is kept out of their reach.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no connection gets: table files (400 at most), logs, links, the rest.
pub const DESCRIPTORS_RESERVED: u64 = 600;
/// Connections of the ops port.
pub const OPS_CONNECTIONS_MAX: usize = 64;
/// Connections of the public port, below which a node is of no use to anybody.
const PUBLIC_CONNECTIONS_MIN: u64 = 64;
/// What is asked for where the system has no limit.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// The system grants too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may have {granted} files open, and needs {least} at least: raise the limit \
     (ulimit -n, LimitNOFILE= of the unit)"
)]
pub struct TooFew {
    /// Granted.
    pub granted: u64,
    /// Needed.
    pub least: u64,
}

/// Raises this process' limit as far as the system lets it; gives what it is then.
#[must_use]
pub fn raise() -> u64 {
    let granted = getrlimit(Resource::Nofile);
    let now = granted.current.unwrap_or(DESCRIPTORS_MAX);
    let most = granted.maximum.unwrap_or(DESCRIPTORS_MAX);
    if now >= most {
        return now;
    }
    let raised = Rlimit {
        current: Some(most),
        maximum: granted.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            now
        }
    }
}

/// How many connections the public port may have under a limit.
///
/// # Errors
/// [`TooFew`].
pub fn connections(granted: u64, wanted: usize) -> Result<usize, TooFew> {
    let kept = DESCRIPTORS_RESERVED + OPS_CONNECTIONS_MAX as u64;
    let left = granted.saturating_sub(kept);
    if left < PUBLIC_CONNECTIONS_MIN {
        let least = kept + PUBLIC_CONNECTIONS_MIN;
        return Err(TooFew { granted, least });
    }
    Ok(usize::try_from(left).unwrap_or(usize::MAX).min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_node_what_it_needs() {
        assert_eq!(connections(65_536, 4_096), Ok(4_096));
        assert_eq!(connections(1_024, 4_096), Ok(360));
        assert_eq!(connections(728, 4_096), Ok(64));
        let few = TooFew {
            granted: 727,
            least: 728,
        };
        assert_eq!(connections(727, 4_096), Err(few));
        assert!(connections(0, 1).is_err());
        assert_eq!(connections(u64::MAX, 9), Ok(9));
    }

    #[test]
    fn the_limit_is_what_the_system_lets_us_have() {
        let granted = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum.or(limit.current));
        assert_eq!(Some(granted), limit.current.or(Some(DESCRIPTORS_MAX)));
    }
}

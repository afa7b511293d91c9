//! What one client, and all together, can take of a port.

use std::time::Duration;

/// Most open connections on the public port.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Most open connections on a port from one address.
pub const CONNECTIONS_EACH_MAX: usize = 1_024;
/// Most streams at a time.
pub const STREAMS_MAX: usize = 256;
/// Most streams at a time to one address.
pub const STREAMS_EACH_MAX: usize = 64;
/// Time in which the reader of an answer must take a step of it.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// Limits of both ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Most open connections on a port; further ones are closed at once.
    pub connections_max: usize,
    /// Most from one address.
    pub connections_each_max: usize,
    /// Most streams at a time.
    pub streams_max: usize,
    /// Most from one address.
    pub streams_each_max: usize,
    /// A request's header must be complete within this, and so long may a kept-alive
    /// connection be idle.
    pub header_time_max: Duration,
    /// A request's body must be complete within this.
    pub body_time_max: Duration,
    /// The reader of an answer must take a step of it, or all there is, within this.
    pub write_time_max: Duration,
    /// A stream whose reader takes nothing for this long is closed.
    pub stream_stall_max: Duration,
    /// Pause between heartbeats of a stream.
    pub heartbeat: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_each_max: CONNECTIONS_EACH_MAX,
            streams_max: STREAMS_MAX,
            streams_each_max: STREAMS_EACH_MAX,
            header_time_max: Duration::from_secs(10),
            body_time_max: Duration::from_secs(10),
            write_time_max: WRITE_TIME_MAX,
            stream_stall_max: Duration::from_secs(10),
            heartbeat: Duration::from_millis(800),
        }
    }
}

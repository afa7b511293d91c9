//! Dials a member for ever (A24).

use std::sync::Arc;
use std::time::Duration;

use fairlane_types::MemberId;
use quinn::{Connection, Endpoint};

use super::{HANDSHAKE_TIMEOUT, LinkFault, Shared, link};

/// First pause between two dials.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two dials.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A link that was up for so long makes the next pause short again.
const LINK_STEADY: Duration = Duration::from_secs(10);

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("no address in the configuration")]
    NoAddress,
    #[error("name lookup: {0}")]
    Lookup(std::io::Error),
    #[error("no address of this family")]
    Unresolved,
    #[error("{0}")]
    Tls(rustls::Error),
    #[error("{0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("no answer")]
    Slow,
}

/// Keeps a link to a member of a higher id.
pub(super) async fn dial(shared: Arc<Shared>, endpoint: Endpoint, member: MemberId) {
    let mut stop = shared.stop.subscribe();
    let mut backoff = BACKOFF_MIN;
    loop {
        let attempt = async {
            match connect(&shared, &endpoint, member).await {
                Ok(connection) => link::run(&shared, member, connection).await,
                Err(error) => {
                    // The first failures are usual while a committee starts.
                    if backoff >= BACKOFF_MAX {
                        tracing::warn!(peer = %member, %error, "peer not reached");
                    } else {
                        tracing::debug!(peer = %member, %error, "peer not reached");
                    }
                    metrics::counter!("fairlane_net_dial_failures_total",
                        "peer" => member.to_string())
                    .increment(1);
                    Duration::ZERO
                }
            }
        };
        let up = tokio::select! {
            up = attempt => up,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        backoff = if up >= LINK_STEADY {
            BACKOFF_MIN
        } else {
            backoff
        };
        tokio::select! {
            () = tokio::time::sleep(jittered(backoff)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn connect(
    shared: &Shared,
    endpoint: &Endpoint,
    member: MemberId,
) -> Result<Connection, DialError> {
    let address = shared.addresses.get(&member).ok_or(DialError::NoAddress)?;
    let ipv4 = endpoint.local_addr().is_ok_and(|local| local.is_ipv4());
    let address = tokio::net::lookup_host(address.as_str())
        .await
        .map_err(DialError::Lookup)?
        .find(|address| address.is_ipv4() == ipv4)
        .ok_or(DialError::Unresolved)?;
    let key = shared.committee.key(member).ok_or(DialError::NoAddress)?;
    let config = shared.tls.client_config(key).map_err(DialError::Tls)?;
    let connecting = endpoint.connect_with(config, address, &shared.server_name)?;
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            if !matches!(error, quinn::ConnectionError::TimedOut) {
                shared.faults.count(LinkFault::Handshake);
            }
            Err(error.into())
        }
        Err(_) => Err(DialError::Slow),
    }
}

/// Half to one and a half of it, so that a committee does not dial in step.
fn jittered(backoff: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the pause is the shortest one; nothing hangs on it.
    let share = getrandom::fill(&mut random).map_or(0.0, |()| f64::from(random[0]) / 255.0);
    backoff.mul_f64(0.5 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_jittered_around_the_backoff() {
        for _ in 0..100 {
            let pause = jittered(BACKOFF_MAX);
            assert!(
                pause >= BACKOFF_MAX / 2 && pause <= BACKOFF_MAX * 3 / 2,
                "{pause:?}"
            );
        }
    }
}

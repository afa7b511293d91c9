//! Ports, which the parts of the epoch before may hold for a moment.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::node::StartError;

/// An address that is in use is tried again for so long.
const LISTEN_PATIENCE: Duration = Duration::from_secs(10);
/// After so long each time.
const LISTEN_PAUSE: Duration = Duration::from_millis(50);

/// Opens a port for HTTP.
pub(crate) async fn listen(
    what: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, StartError> {
    let bound = when_free(|| TcpListener::bind(address)).await;
    bound.map_err(|source| StartError::Listen {
        what,
        address,
        source,
    })
}

/// Opens what somebody else may hold for a moment: at a crossing the parts of the epoch before
/// close their sockets in their own time.
pub(crate) async fn when_free<T, F>(open: impl Fn() -> F) -> std::io::Result<T>
where
    F: Future<Output = std::io::Result<T>>,
{
    let until = Instant::now() + LISTEN_PATIENCE;
    loop {
        match open().await {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < until =>
            {
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Where it came to be.
pub(crate) fn local(what: &'static str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
    listener.local_addr().map_err(|source| StartError::Listen {
        what,
        address: unknown,
        source,
    })
}

//! One identity speaks from one process (C7, THREATS A26): two would contradict each other,
//! which is proof of misbehaviour.
//!
//! A running node holds a lock on its folder, and an abstract socket whose name is chain and
//! identity: a copy of the folder on the same machine is refused as well. Both go with the
//! process, however it ends. Other machines are not seen from here; see the runbook.

use std::fs::{File, TryLockError};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use fairlane_types::{Genesis, PublicKey};

use crate::home::{Home, HomeError};

/// Held while a node runs.
#[derive(Debug)]
pub struct Claim {
    _folder: File,
    _identity: UnixListener,
}

impl Claim {
    /// Claims folder and identity.
    ///
    /// # Errors
    /// [`HomeError::Running`] when another process has one of them.
    pub fn take(home: &Home, genesis: &Genesis, identity: &PublicKey) -> Result<Self, HomeError> {
        let path = home.lock_path();
        let io = |e: std::io::Error| HomeError::io(&path, &e);
        let folder = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io)?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("the folder {}", home.root().display());
                return Err(HomeError::Running { what });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        // At most 107 bytes: half of the genesis hash tells chains apart.
        let chain = hex::encode(&genesis.hash().0[..16]);
        let name = format!("fairlane/{chain}/{}", hex::encode(&identity.0[..30]));
        let address = SocketAddr::from_abstract_name(&name).map_err(io)?;
        let identity = UnixListener::bind_addr(&address).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => HomeError::Running {
                what: format!("the identity {identity}, from another folder"),
            },
            _ => io(error),
        })?;
        Ok(Self {
            _folder: folder,
            _identity: identity,
        })
    }
}

//! Stops before the disk is full: a commit that would eat into the reserve is refused
//! before anything is written, so that the database can still be opened and compacted.

use std::path::{Path, PathBuf};

use fairlane_replica::StoreError;

/// Space that is never written to: what RocksDB needs to flush its memory tables and to
/// compact a level while the operator makes room.
pub const DISK_RESERVE_BYTES: u64 = 512 << 20;
/// Smallest reserve that a configuration may ask for.
pub const DISK_RESERVE_BYTES_MIN: u64 = 1 << 20;

/// Bytes free to this user on the file system of `path`.
///
/// # Errors
/// [`StoreError::Failed`] with the path.
pub fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|e| StoreError::Failed(format!("{}: free space: {e}", path.display())))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses commits that would leave less than the reserve.
#[derive(Clone, Debug)]
pub struct SpaceGuard {
    path: PathBuf,
    reserve_bytes: u64,
}

impl SpaceGuard {
    /// Guards the file system that holds `path`.
    #[must_use]
    pub const fn new(path: PathBuf, reserve_bytes: u64) -> Self {
        Self {
            path,
            reserve_bytes,
        }
    }

    /// Asks for room for `bytes` more. One `statvfs` (about a microsecond) per commit.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the reserve would be touched.
    pub fn admit(&self, bytes: u64) -> Result<(), StoreError> {
        let free = free_bytes(&self.path)?;
        let need = self.reserve_bytes.saturating_add(bytes);
        if free >= need {
            return Ok(());
        }
        metrics::counter!("fairlane_store_full_total").increment(1);
        Err(StoreError::Full(format!(
            "{}: {free} bytes free, {need} needed ({bytes} to write and a reserve of {} that \
             keeps the database able to open); free some space or lower store.reserve_mb, then \
             start the node again",
            self.path.display(),
            self.reserve_bytes
        )))
    }

    /// Bytes kept free.
    #[must_use]
    pub const fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_refused_before_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let free = free_bytes(dir.path()).unwrap();
        assert!(SpaceGuard::new(dir.path().into(), 0).admit(1).is_ok());
        // Twice what there is: others may write to this disk meanwhile.
        let guard = SpaceGuard::new(dir.path().into(), free.saturating_mul(2));
        let error = guard.admit(1).unwrap_err();
        assert!(
            matches!(&error, StoreError::Full(text) if text.contains("reserve")),
            "{error}"
        );
        assert!(
            SpaceGuard::new(dir.path().into(), 0)
                .admit(u64::MAX)
                .is_err()
        );
    }

    #[test]
    fn a_missing_folder_is_an_error_not_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            free_bytes(&dir.path().join("none")),
            Err(StoreError::Failed(_))
        ));
    }
}

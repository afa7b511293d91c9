//! Files of a home that are there whole or not at all, whenever the machine stops.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::home::HomeError;

/// At the end of a name: a file that is to become the one without it. A stop in the middle
/// leaves it behind; the next write takes it away.
pub(crate) const BEGUN: &str = ".new";

/// Writes a file that must not be there yet, and syncs it and its folder.
pub(crate) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), HomeError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(HomeError::Exists(path.to_owned()));
    }
    let io = |e: std::io::Error| HomeError::io(path, &e);
    let beside = write_beside(path, mode, bytes).map_err(io)?;
    // A link, unlike a rename, never goes over what another process put there meanwhile.
    let placed = fs::hard_link(&beside, path);
    placed
        .and(fs::remove_file(&beside))
        .and_then(|()| sync_folder(folder_of(path)))
        .map_err(io)
}

/// Writes a file in the place of the one that is there, and syncs it and its folder.
pub(crate) fn write_over(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), HomeError> {
    write_beside(path, mode, bytes)
        .and_then(|beside| fs::rename(beside, path))
        .and_then(|()| sync_folder(folder_of(path)))
        .map_err(|e| HomeError::io(path, &e))
}

fn write_beside(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(BEGUN);
    let beside = path.with_file_name(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(beside)
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Refuses to put a secret into somebody else's folder: it would belong to the user who runs
/// this, root above all, and the node that runs as the folder's owner could not read it.
pub(crate) fn check_owner(path: &Path) -> Result<(), HomeError> {
    let folder = folder_of(path);
    let metadata = fs::metadata(folder).map_err(|e| HomeError::io(folder, &e))?;
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    Err(HomeError::Owner {
        folder: folder.to_owned(),
        owner,
        user,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stop_left_behind_is_replaced_and_what_is_there_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, begun) = (folder.path().join("a"), folder.path().join("a.new"));
        fs::write(&begun, "ha").unwrap();
        write_new(&path, 0o600, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(!begun.exists());
        let again = write_new(&path, 0o600, b"other");
        assert_eq!(again, Err(HomeError::Exists(path.clone())));
        fs::write(&begun, "ha").unwrap();
        write_over(&path, 0o600, b"other").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A link that leads nowhere is something that is there, too.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(
            write_new(&link, 0o600, b"x"),
            Err(HomeError::Exists(link.clone()))
        );
    }

    #[test]
    fn a_name_without_a_folder_is_in_this_one() {
        assert_eq!(folder_of(Path::new("receiver.key")), Path::new("."));
        assert_eq!(folder_of(Path::new("home/receiver.key")), Path::new("home"));
    }
}

//! The database on a real disk: conformance, restart, damage, a full disk.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fairlane_node::store::{
    FORMAT_VERSION, META_FORMAT_KEY, RocksStore, StoreOptions, conformance, free_bytes,
};
use fairlane_replica::{Store, StoreError, Table, Write};

fn options(path: &Path) -> StoreOptions {
    StoreOptions {
        path: path.to_owned(),
        reserve_bytes: 1 << 20,
    }
}

fn open(path: &Path) -> RocksStore {
    RocksStore::open(&options(path)).unwrap()
}

fn open_with(path: &Path, reserve_bytes: u64) -> RocksStore {
    RocksStore::open(&StoreOptions {
        path: path.to_owned(),
        reserve_bytes,
    })
    .unwrap()
}

fn put(key: u32, value: Vec<u8>) -> Write {
    Write::put(Table::Blocks, key.to_be_bytes().to_vec(), value)
}

/// Some megabytes in table files, closed.
fn filled(path: &Path) {
    let mut store = open(path);
    for n in 0..64 {
        store
            .commit(&[put(n, vec![n as u8; 64 << 10])], false)
            .unwrap();
    }
    store.commit(&[], true).unwrap();
    drop(store);
    // Opening replays the log into table files.
    drop(open(path));
}

fn files(path: &Path, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| matches(&path.file_name().unwrap().to_string_lossy()))
        .collect();
    found.sort();
    found
}

/// Flips one bit in every `step`th byte of the middle of a file.
fn damage(path: &Path, step: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let (from, to) = (bytes.len() / 4, bytes.len() * 3 / 4);
    assert!(to > from);
    for at in (from..to).step_by(step) {
        bytes[at] ^= 0x10;
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::all(|name| open(&dir.path().join(name)));
}

#[test]
fn readers_see_commits_at_once_and_outlive_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let reader = store.reader();
    store.commit(&[put(7, b"v".to_vec())], false).unwrap();
    assert_eq!(
        reader.get(Table::Blocks, &7_u32.to_be_bytes()).unwrap(),
        Some(b"v".to_vec())
    );
    assert_eq!(
        reader.first_key(Table::Blocks).unwrap(),
        Some(7_u32.to_be_bytes().to_vec())
    );
    assert_eq!(reader.last_key(Table::Sequence).unwrap(), None);
    assert_eq!(reader.emitted_range().unwrap(), None);
    assert!(reader.stats().unwrap().free_bytes > 0);
    // The format version and the row above.
    assert_eq!(reader.check().unwrap(), 2);
}

#[test]
fn a_second_opening_is_refused_with_a_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let Err(StoreError::Failed(text)) = RocksStore::open(&options(dir.path())) else {
        panic!("opened twice");
    };
    assert!(text.contains("another process"), "{text}");
    drop(first);
    open(dir.path());
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let newer = (FORMAT_VERSION + 1).to_be_bytes().to_vec();
    let mut store = open(dir.path());
    store
        .commit(
            &[Write::put(Table::Meta, META_FORMAT_KEY.to_vec(), newer)],
            true,
        )
        .unwrap();
    drop(store);
    for _ in 0..2 {
        let Err(StoreError::Failed(text)) = RocksStore::open(&options(dir.path())) else {
            panic!("opened a newer format");
        };
        assert!(text.contains("newer version of fairlane"), "{text}");
    }
}

#[test]
fn a_flipped_bit_in_a_table_file_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for table in files(dir.path(), |name| name.ends_with(".sst")) {
        damage(&table, 4_096);
    }
    let error = match RocksStore::open(&options(dir.path())) {
        Err(error) => error,
        Ok(store) => store.reader().check().unwrap_err(),
    };
    assert!(
        matches!(&error, StoreError::Corrupt(text) if text.contains("snapshot")),
        "{error}"
    );
}

#[test]
fn a_damaged_manifest_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for manifest in files(dir.path(), |name| name.starts_with("MANIFEST")) {
        damage(&manifest, 7);
    }
    let error = RocksStore::open(&options(dir.path())).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}

#[test]
fn missing_files_are_corruption_and_never_an_empty_database() {
    for gone in ["MANIFEST", "CURRENT", ".sst"] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path());
        for file in files(dir.path(), |name| name.contains(gone)) {
            std::fs::remove_file(file).unwrap();
        }
        let error = RocksStore::open(&options(dir.path())).err().unwrap();
        assert!(matches!(error, StoreError::Corrupt(_)), "{gone}: {error}");
    }
}

#[test]
fn a_torn_log_gives_a_prefix_of_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for n in 0..100 {
        store.commit(&[put(n, vec![1; 1_000])], true).unwrap();
    }
    drop(store);
    let logs = files(dir.path(), |name| name.ends_with(".log"));
    let log = logs.last().unwrap();
    let length = std::fs::metadata(log).unwrap().len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(log)
        .unwrap()
        .set_len(length - 500)
        .unwrap();
    let rows = open(dir.path())
        .scan(Table::Blocks, &[], &[255], usize::MAX, usize::MAX)
        .unwrap();
    let keys: Vec<Vec<u8>> = rows.into_iter().map(|(key, _)| key).collect();
    let want: Vec<Vec<u8>> = (0..99_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(keys, want);
}

#[test]
fn damage_inside_the_log_is_corruption_and_never_a_shorter_history() {
    for place in [1, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        for n in 0..100 {
            store.commit(&[put(n, vec![1; 1_000])], true).unwrap();
        }
        drop(store);
        let logs = files(dir.path(), |name| name.ends_with(".log"));
        let log = logs.last().unwrap();
        let mut bytes = std::fs::read(log).unwrap();
        let at = bytes.len() * place / 4;
        bytes[at] ^= 0x10;
        std::fs::write(log, bytes).unwrap();
        let error = RocksStore::open(&options(dir.path())).err();
        assert!(
            matches!(error, Some(StoreError::Corrupt(_))),
            "{place}/4: {error:?}"
        );
    }
}

#[test]
fn a_log_that_was_lengthened_but_not_written_gives_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for n in 0..100 {
        store.commit(&[put(n, vec![1; 1_000])], true).unwrap();
    }
    drop(store);
    let logs = files(dir.path(), |name| name.ends_with(".log"));
    let log = logs.last().unwrap();
    let length = std::fs::metadata(log).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
    file.set_len(length + 5_000).unwrap();
    let rows = open(dir.path())
        .scan(Table::Blocks, &[], &[255], usize::MAX, usize::MAX)
        .unwrap();
    assert_eq!(rows.len(), 100);
}

#[test]
fn a_snapshot_is_a_database_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir.path().join("data"));
    store.commit(&[put(1, b"before".to_vec())], true).unwrap();
    let copy = dir.path().join("copy");
    store.reader().snapshot(&copy).unwrap();
    store.commit(&[put(1, b"after".to_vec())], true).unwrap();
    assert!(
        store.reader().snapshot(&copy).is_err(),
        "never over an older one"
    );
    let copy = open(&copy);
    assert_eq!(
        copy.get(Table::Blocks, &1_u32.to_be_bytes()).unwrap(),
        Some(b"before".to_vec())
    );
}

#[test]
fn the_reserve_stops_a_commit_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let free = free_bytes(dir.path()).unwrap();
    drop(open(dir.path()));
    let tight = StoreOptions {
        path: dir.path().to_owned(),
        reserve_bytes: free * 2,
    };
    assert!(matches!(RocksStore::open(&tight), Err(StoreError::Full(_))));

    // As much as is free, less some room for what others write meanwhile: it opens, and a
    // commit of that room does not fit.
    let room = 256 << 20;
    let reserve = free_bytes(dir.path()).unwrap() - room;
    let tight = StoreOptions {
        path: dir.path().to_owned(),
        reserve_bytes: reserve,
    };
    let mut store = RocksStore::open(&tight).unwrap();
    let large = put(1, vec![0; room as usize]);
    let error = store.commit(&[large], true).unwrap_err();
    assert!(
        matches!(&error, StoreError::Full(text) if text.contains("reserve")),
        "{error}"
    );
    assert_eq!(
        store.get(Table::Blocks, &1_u32.to_be_bytes()).unwrap(),
        None
    );
}

/// A small file system of its own where that is allowed; else the reserve stands for its
/// end, so that the test never skips.
///
/// A child process fills it, because RocksDB with assertions on, as Debian builds it, now
/// and then ends the process where a write follows a failed one. To a member that is a
/// crash like any other; what it must not cost is anything that was synced.
#[test]
fn a_full_disk_loses_no_synced_commit() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(&disk)
        .output()
        .is_ok_and(|out| out.status.success());
    // Without a guard, so that RocksDB itself meets the end of the disk.
    let reserve = if mounted {
        0
    } else {
        free_bytes(&disk).unwrap() - DISK_BYTES
    };
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_fills_the_disk", "--nocapture"])
        .env(CHILD, &disk)
        .env(CHILD_RESERVE, reserve.to_string())
        .output()
        .unwrap();
    let (said, log) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    let typed = out.status.success() && said.lines().any(|line| line == FULL);
    let aborted = out.status.signal() == Some(SIGABRT) && log.contains(ASSERTION);
    assert!(
        typed || (mounted && aborted),
        "{}: {said}\n{log}",
        out.status
    );

    let counts = said
        .lines()
        .filter_map(|line| line.strip_prefix(ACKNOWLEDGED));
    let acknowledged = counts.map(|count| count.parse::<u32>().unwrap());
    let acknowledged = acknowledged.max().unwrap();
    assert!(acknowledged > 100, "{acknowledged}");
    if mounted {
        // The operator makes room.
        let grown = Command::new("mount")
            .args(["-o", "remount,size=256m"])
            .arg(&disk)
            .status();
        assert!(grown.unwrap().success());
    }
    {
        let store = open_with(&disk.join("data"), 0);
        for n in 0..acknowledged {
            let value = store.get(Table::Blocks, &n.to_be_bytes()).unwrap();
            assert_eq!(
                value,
                Some(vec![n as u8; 16 << 10]),
                "commit {n} of {acknowledged}"
            );
        }
    }
    if mounted {
        assert!(
            Command::new("umount")
                .arg(&disk)
                .status()
                .unwrap()
                .success()
        );
    }
}

/// Where the child writes; the test of its own name does nothing without it.
const CHILD: &str = "FAIRLANE_TEST_FULL_DISK";
/// What it leaves free, in bytes.
const CHILD_RESERVE: &str = "FAIRLANE_TEST_FULL_DISK_RESERVE";
/// Size of the disk.
const DISK_BYTES: u64 = 24 << 20;
/// The child's word for each synced commit, before their number.
const ACKNOWLEDGED: &str = "acknowledged ";
/// Its last word when the commit after them failed with [`StoreError::Full`].
const FULL: &str = "full";
/// The function of RocksDB whose assertion ends the process instead.
const ASSERTION: &str = "AssertFalseAndGetStatusForPrevError";
const SIGABRT: i32 = 6;

#[test]
fn child_fills_the_disk() {
    let Some(disk) = std::env::var_os(CHILD) else {
        return; // only of use as a child process of the test above
    };
    let reserve = std::env::var(CHILD_RESERVE).unwrap().parse().unwrap();
    let mut store = open_with(&PathBuf::from(disk).join("data"), reserve);
    for n in 0..4_000 {
        match store.commit(&[put(n, vec![n as u8; 16 << 10])], true) {
            Ok(()) => println!("{ACKNOWLEDGED}{}", n + 1),
            Err(error) => {
                assert!(matches!(error, StoreError::Full(_)), "{error}");
                println!("{FULL}");
                return;
            }
        }
    }
    panic!("64 MB were written into 24 MiB");
}

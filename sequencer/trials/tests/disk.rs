//! What is on disk: nothing readable before finality, and a disk that is full or damaged
//! stops its node with a clear message and loses nothing that was acknowledged.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{Cluster, Load, PATIENCE, complete, pause};
use fairlane_types::Height;

/// Whether any file below `folder` holds `needle`.
fn holds(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        // A file of the database may be gone by now.
        std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_of_four_open_nothing_and_no_plaintext_is_on_any_disk_before_finality() {
    let mut cluster = Cluster::start(4, None).await;
    cluster.kill(2);
    cluster.kill(3);
    let load = Load::start(&cluster, 200, 200);
    // Without a quorum nothing becomes final, and lanes take no more than their windows.
    load.until_acknowledged(40).await;
    let sent = load.finish().await;
    let payloads: Vec<_> = sent.payloads.values().cloned().collect();
    let mut sealed = 0;
    for member in [0usize, 1] {
        assert!(
            cluster
                .head(member)
                .await
                .is_some_and(|head| head.0 < 10_000)
        );
        for id in &sent.all {
            let order = cluster.committee.members()[member]
                .order(*id)
                .await
                .unwrap();
            assert!(!order.status.is_done(), "{id} is {:?}", order.status);
            sealed += 1;
        }
        let data = cluster.testnet.members[member].home.data_path();
        for payload in &payloads {
            assert!(
                !holds(&data, payload),
                "member {member} has a plaintext on disk"
            );
        }
    }
    assert!(sealed >= 80, "only {sealed} orders were looked at");
    cluster.spawn(2);
    cluster.ready(2).await;
    cluster.spawn(3);
    cluster.ready(3).await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    // The search does find what is there.
    let data = cluster.testnet.members[0].home.data_path();
    let found = sent
        .acknowledged
        .iter()
        .all(|id| holds(&data, &sent.payloads[id]));
    assert!(found, "the search is blind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_stops_its_node_with_a_clear_message() {
    let mut cluster = Cluster::start(4, None).await;
    let load = Load::start(&cluster, 300, 300);
    let sent = load.finish().await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.kill(3);
    let data = cluster.testnet.members[3].home.data_path();
    let mut damaged = 0;
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("MANIFEST") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    cluster.spawn(3);
    let (code, log) = cluster.ended(3).await;
    assert_eq!(code, Some(3), "{log}");
    assert!(log.to_lowercase().contains("corrupt"), "{log}");
    assert!(
        log.contains("data"),
        "the message does not name the folder: {log}"
    );
    // The others do not need it.
    let more = Load::start(&cluster, 50, 100).finish().await;
    let until = Instant::now() + PATIENCE;
    let mut missing = more.acknowledged.clone();
    let mut height = Height(1);
    while !missing.is_empty() {
        match cluster.committee.members()[0].block_at(height).await {
            Ok(block) => {
                for item in &block.items {
                    missing.remove(&item.ct_id);
                }
                height = height.next();
            }
            Err(error) => {
                assert!(Instant::now() < until, "{} missing: {error}", missing.len());
                pause().await;
            }
        }
    }
}

/// A small memory disk; gone when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// None where mounting is not allowed.
    fn new(at: &Path, megabytes: usize) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={megabytes}m");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        let mounted = command.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a member that was killed a moment ago may still hold it.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_its_node_and_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start(4, None).await;
    cluster.kill(1);
    let data = cluster.testnet.members[1].home.data_path();
    // Little is left above the node's reserve: a file of our own takes the rest.
    let reserve = 64 << 20;
    let disk = data.with_file_name("disk");
    let mounted = Mounted::new(&disk, 160);
    let ballast = if mounted.is_some() {
        for entry in std::fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, disk.join(path.file_name().unwrap())).unwrap();
        }
        std::fs::remove_dir_all(&data).unwrap();
        std::os::unix::fs::symlink(&disk, &data).unwrap();
        Some(disk.join("ballast"))
    } else {
        // Without a disk of its own, a reserve larger than any disk does the same.
        None
    };
    if ballast.is_none() {
        let path = cluster.testnet.members[1].home.config_path();
        let text = std::fs::read_to_string(&path).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("reserve_mb"))
            .unwrap()
            .to_owned();
        std::fs::write(&path, text.replace(&line, "reserve_mb = 1000000000")).unwrap();
        cluster.spawn(1);
    } else {
        cluster.spawn(1);
        cluster.ready(1).await;
    }
    let load = Load::start(&cluster, 1_500, 300);
    if let Some(ballast) = &ballast {
        load.until_acknowledged(300).await;
        std::fs::write(ballast, vec![0; (160 << 20) - reserve]).ok();
    }
    let (code, log) = cluster.ended(1).await;
    assert!(matches!(code, Some(1 | 3)), "{code:?}\n{log}");
    assert!(
        log.to_lowercase().contains("full") || log.contains("space"),
        "{log}"
    );
    let sent = load.finish().await;
    // Room again: it starts, catches up, and everything acknowledged is there.
    match &ballast {
        Some(ballast) => std::fs::remove_file(ballast).unwrap(),
        None => {
            let path = cluster.testnet.members[1].home.config_path();
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("1000000000", "64")).unwrap();
        }
    }
    cluster.spawn(1);
    cluster.ready(1).await;
    let outcomes = cluster.settled(&sent.acknowledged).await;
    complete(&sent, &outcomes);
    cluster.nobody_contradicts().await;
}

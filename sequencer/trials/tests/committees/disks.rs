//! What lies on the disks of machines, as whoever takes them would look for it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use fairlane_encryption::{ReceiverSecret, SuiteSecret};
use fairlane_node::home::Home;
use fairlane_replica::EpochBase;
use fairlane_types::{Epoch, MemberId};

use crate::Machine;
use crate::common::{PATIENCE, pause};

/// What a machine's home has of an epoch; a search of its files finds that.
pub fn secret(machine: &Machine, epoch: u64) -> (u16, ReceiverSecret) {
    let home = Home::open(&machine.home).unwrap();
    let secret = home.receiver(Epoch(epoch)).unwrap();
    let found = holds(&machine.home, &needles(&secret));
    assert_eq!(found, Some(home.receiver_path(Epoch(epoch))));
    (machine.port, secret)
}

/// A secret as it may lie in a file: as bytes or as digits.
pub fn needles(secret: &ReceiverSecret) -> [Vec<u8>; 2] {
    let bytes = secret.expose_secret();
    [bytes.to_vec(), hex::encode(&bytes[..]).into_bytes()]
}

/// Waits until no file of any machine has one of these secrets in it.
pub async fn gone(machines: &[Machine], secrets: &[(u16, ReceiverSecret)]) {
    let needles: Vec<_> = secrets.iter().flat_map(|(_, s)| needles(s)).collect();
    let until = Instant::now() + PATIENCE;
    for machine in machines {
        while let Some(file) = holds(&machine.home, &needles) {
            // It may not have come into the next epoch yet.
            let (file, log) = (file.display(), machine.log());
            assert!(Instant::now() < until, "{file} has an old secret\n{log}");
            pause().await;
        }
    }
}

/// A file below a folder that has one of these in it.
pub fn holds(folder: &Path, needles: &[Vec<u8>]) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = holds(&path, needles) {
                return Some(found);
            }
            continue;
        }
        // A database replaces its files as it runs.
        let content = std::fs::read(&path).unwrap_or_default();
        let has = |needle: &Vec<u8>| content.windows(needle.len()).any(|part| part == needle);
        if needles.iter().any(has) {
            return Some(path);
        }
    }
    None
}

/// A share as it may lie in a file.
pub fn share_needles(
    base: &EpochBase,
    secrets: &[(u16, ReceiverSecret)],
    former: bool,
) -> Vec<Vec<u8>> {
    let mut needles = Vec::new();
    for (port, secret) in secrets {
        let home_of = |m: &usize| base.next.members[*m].quic.ends_with(&format!(":{port}"));
        let me = (0..base.next.members.len()).find(home_of).unwrap();
        let sharing = base.sharing(MemberId(me as u8), secret).unwrap();
        let share = match former {
            true => sharing.former.unwrap().share().unwrap(),
            false => sharing.share,
        };
        let bytes = match share.as_ref() {
            SuiteSecret::Tdh2(share) => share.expose_secret(),
            SuiteSecret::BaekZheng(share) => share.expose_secret(),
        };
        needles.extend([bytes.to_vec(), hex::encode(&bytes[..]).into_bytes()]);
    }
    needles
}

/// Waits until no file of any machine has one of these in it.
pub async fn none_has(machines: &[Machine], needles: &[Vec<u8>], what: &str) {
    let until = Instant::now() + PATIENCE;
    for machine in machines {
        while let Some(file) = holds(&machine.home, needles) {
            let (file, log) = (file.display(), machine.log());
            assert!(Instant::now() < until, "{file} has {what}\n{log}");
            pause().await;
        }
    }
}

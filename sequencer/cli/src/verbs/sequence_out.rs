//! The sequence file that `follow --out` writes: on the disk before the cursor says so, and gone on
//! with where the cursor is.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Seek, SeekFrom};
use std::path::Path;

use fairlane_client::sequence_file::{Record, SequenceFileError, SequenceReader, SequenceWriter};
use fairlane_types::{Digest, Epoch, Handover, Height};

use crate::exit::{Outcome, Problem};

/// A sequence file that is being written.
pub struct SequenceOut {
    file: SequenceWriter<BufWriter<File>>,
    /// The hand-overs in it lead so far.
    epoch: Epoch,
}

impl SequenceOut {
    /// A new file.
    pub fn create(path: &Path, genesis: Digest) -> Outcome<Self> {
        let file = File::create_new(path).map_err(|error| refused(path, error))?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Self {
            file: SequenceWriter::new(BufWriter::new(file), genesis)?,
            epoch: Epoch(0),
        })
    }

    /// Goes on after `height`, which a cursor remembers; none if there is no such file. What a
    /// process that was killed wrote beyond is cut off: it comes again.
    pub fn resume(path: &Path, genesis: Digest, height: Height) -> Outcome<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(path, error)),
        };
        let (keep, epoch) = length_to(path, &file, genesis, height)?;
        let mut file = file;
        file.set_len(keep)?;
        file.seek(SeekFrom::Start(keep))?;
        Ok(Some(Self {
            file: SequenceWriter::resume(BufWriter::new(file)),
            epoch,
        }))
    }

    /// Adds a record.
    pub fn write(&mut self, record: &Record) -> Outcome {
        Ok(self.file.write(record)?)
    }

    /// The epoch that the hand-overs in it lead to.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Adds what began the next epoch.
    pub fn hand_over(&mut self, handover: Handover) -> Outcome {
        self.epoch = handover.genesis.epoch();
        self.write(&Record::Handover(Box::new(handover)))
    }

    /// All that was written is on the disk.
    pub fn sync(&mut self) -> Outcome {
        self.file.flush()?;
        Ok(self.file.get_ref().get_ref().sync_all()?)
    }
}

fn refused(path: &Path, error: impl std::fmt::Display) -> Problem {
    Problem::preflight(format!("{}: {error}", path.display()))
}

/// How many bytes of a file belong to the blocks up to `height`, and the epoch to which they lead.
fn length_to(path: &Path, file: &File, genesis: Digest, height: Height) -> Outcome<(u64, Epoch)> {
    let wrong = |error| super::verify::unreadable(path, error);
    let mut reader = SequenceReader::new(BufReader::new(file)).map_err(wrong)?;
    if reader.genesis() != genesis {
        return Err(refused(path, "it is of another chain"));
    }
    let mut keep = reader.position();
    let (mut last, mut epoch) = (None, Epoch(0));
    let (mut beyond, mut attestations) = (None, 0);
    loop {
        match reader.next_record() {
            // Whoever wrote it was killed in the middle.
            Ok(None) | Err(SequenceFileError::Record { .. }) => break,
            Err(error) => return Err(wrong(error)),
            Ok(Some(Record::Block(block))) if block.height > height => beyond = Some(block.height),
            Ok(Some(Record::Block(block))) => last = Some(block.height),
            Ok(Some(Record::Attestation(_))) if beyond.is_some() => attestations += 1,
            Ok(Some(Record::Handover(handover))) if beyond.is_none() => {
                epoch = handover.genesis.epoch();
            }
            Ok(Some(_)) => {}
        }
        if beyond.is_none() {
            keep = reader.position();
        }
    }
    // The cursor is written after every attestation: it is at most one behind.
    let apart = match (last, beyond) {
        (Some(last), _) if last != height => Some(last),
        (_, Some(beyond)) if attestations > 1 => Some(beyond),
        _ => None,
    };
    match apart {
        None => Ok((keep, epoch)),
        Some(end) => Err(refused(
            path,
            format!("it ends at height {end}, the cursor is at {height}"),
        )
        .next("choose another file, or the cursor that belongs to it")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use fairlane_encryption::{Attestation, ThresholdCertificate};
    use fairlane_types::{BlockId, ChainId, Millis, Position, Root, SequencedBlock};

    use super::*;

    fn block(height: u64) -> Record {
        let block = SequencedBlock {
            chain: ChainId(7),
            epoch: Epoch(0),
            height: Height(height),
            block: BlockId::default(),
            time: Millis(height),
            parent_root: Root::default(),
            first_position: Position(0),
            items: Vec::new(),
            state: None,
            root: Root::default(),
        };
        Record::Block(block.sealed())
    }

    fn attestation(height: u64) -> Record {
        Record::Attestation(Attestation {
            epoch: Epoch(0),
            height: Height(height),
            root: Root::default(),
            certificate: ThresholdCertificate([1; 96]),
        })
    }

    fn written(folder: &Path, records: &[Record]) -> PathBuf {
        let path = folder.join("out");
        let _ = std::fs::remove_file(&path);
        let mut out = SequenceOut::create(&path, Digest::default()).unwrap();
        for record in records {
            out.write(record).unwrap();
        }
        out.sync().unwrap();
        path
    }

    fn records(path: &Path) -> Vec<Record> {
        let file = BufReader::new(File::open(path).unwrap());
        let mut reader = SequenceReader::new(file).unwrap();
        std::iter::from_fn(|| reader.next_record().unwrap()).collect()
    }

    #[test]
    fn a_killed_writer_goes_on_where_its_cursor_is_at_every_cut() {
        let folder = tempfile::tempdir().unwrap();
        let all = [
            block(1),
            block(2),
            attestation(2),
            block(3),
            block(4),
            attestation(4),
        ];
        let path = written(folder.path(), &all[..3]);
        let synced = std::fs::metadata(&path).unwrap().len();
        written(folder.path(), &all);
        let bytes = std::fs::read(&path).unwrap();
        // The cursor is at 2; of what came after it any part may be on the disk.
        for cut in synced as usize..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let resumed = SequenceOut::resume(&path, Digest::default(), Height(2)).unwrap();
            let mut out = resumed.unwrap();
            for record in &all[3..] {
                out.write(record).unwrap();
            }
            out.sync().unwrap();
            assert_eq!(records(&path), all, "{cut}");
        }
    }

    #[test]
    fn a_file_that_does_not_belong_to_the_cursor_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let all = [
            block(1),
            attestation(1),
            block(2),
            attestation(2),
            block(3),
            attestation(3),
        ];
        let path = written(folder.path(), &all);
        let refused = |genesis, height| {
            let before = std::fs::read(&path).unwrap();
            let result = SequenceOut::resume(&path, genesis, Height(height));
            assert!(result.is_err(), "{height}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        };
        refused(Digest::default(), 1); // It has more than one process leaves behind.
        refused(Digest::default(), 0);
        refused(Digest::default(), 4); // It lacks what the cursor says is there.
        refused(Digest([1; 32]), 3);
        assert!(SequenceOut::create(&path, Digest::default()).is_err());
        let nowhere = folder.path().join("nowhere");
        let none = SequenceOut::resume(&nowhere, Digest::default(), Height(3)).unwrap();
        assert!(none.is_none());
        // A file that has been made, and nothing else.
        let path = written(folder.path(), &[]);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[1, 2]).unwrap();
        let resumed = SequenceOut::resume(&path, Digest::default(), Height(9)).unwrap();
        resumed.unwrap().sync().unwrap();
        assert_eq!(records(&path), []);
    }
}

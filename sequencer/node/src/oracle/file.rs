//! A file as a price source. Whatever the path leads to, a look at it ends in time: pipes and
//! devices are refused, and a file system that hangs holds one thread and no more.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::source::{ANSWER_MAX, DOCUMENT_BYTES_MAX, SourceQuote, parse};

/// A file that is read again and again.
pub(crate) struct FileSource {
    path: PathBuf,
    /// One look at a time, those that hang counted.
    looks: Arc<Semaphore>,
}

impl FileSource {
    /// The file at a path.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            looks: Arc::new(Semaphore::new(1)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now.
    pub async fn read(&self) -> Result<Vec<SourceQuote>, String> {
        let path = self.path.clone();
        self.look(move || parse(&document(&path)?)).await
    }

    /// What `look` gives, if it does in time and the one before has ended.
    async fn look(
        &self,
        look: impl FnOnce() -> Result<Vec<SourceQuote>, String> + Send + 'static,
    ) -> Result<Vec<SourceQuote>, String> {
        let free = Arc::clone(&self.looks).try_acquire_owned();
        let permit = free.map_err(|_| "the last look at it hangs".to_owned())?;
        let (tell, told) = oneshot::channel();
        let run = move || {
            let permit: OwnedSemaphorePermit = permit;
            let found = look();
            // Before it is told: who hears it may look again at once.
            drop(permit);
            // Nobody may be waiting any more.
            let _ = tell.send(found);
        };
        // A thread of its own: the runtime waits for its blocking ones when it stops.
        let started = std::thread::Builder::new().name("prices".into()).spawn(run);
        started.map_err(|error| error.to_string())?;
        match tokio::time::timeout(ANSWER_MAX, told).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err("the look at it failed".to_owned()),
            Err(_) => Err("not read in time".to_owned()),
        }
    }
}

/// The content of an ordinary file that is not too long.
fn document(path: &Path) -> Result<Vec<u8>, String> {
    let why = |error: std::io::Error| error.to_string();
    let mut options = OpenOptions::new();
    // A pipe without a writer would wait for one.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits();
    options.read(true).custom_flags(nonblock as i32);
    let file = options.open(path).map_err(why)?;
    let known = file.metadata().map_err(why)?;
    if !known.is_file() {
        return Err("not an ordinary file".to_owned());
    }
    if known.len() > DOCUMENT_BYTES_MAX as u64 {
        return Err(format!("longer than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    let mut read = file.take(DOCUMENT_BYTES_MAX as u64 + 1);
    read.read_to_end(&mut bytes).map_err(why)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::time::Instant;

    use super::*;

    const GOOD: &str = r#"{"prices":[{"market":0,"ticks":643250,"time_ms":5}]}"#;

    #[tokio::test]
    async fn a_file_is_read_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        let source = FileSource::new(path.clone());
        assert!(source.read().await.is_err(), "there is none yet");
        fs::write(&path, GOOD).unwrap();
        let quotes = source.read().await.unwrap();
        assert_eq!((quotes.len(), quotes[0].ticks), (1, 643_250));
        fs::write(&path, GOOD.replace("643250", "7")).unwrap();
        assert_eq!(source.read().await.unwrap()[0].ticks, 7);
        fs::write(&path, &GOOD[1..]).unwrap();
        assert!(source.read().await.is_err());
    }

    #[tokio::test]
    async fn a_pipe_a_folder_a_device_and_a_huge_file_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let huge = folder.path().join("huge");
        // Sparse: a terabyte that takes no room.
        fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let ordinary = "not an ordinary file".to_owned();
        let long = format!("longer than {DOCUMENT_BYTES_MAX} bytes");
        for (path, why) in [
            (pipe, &ordinary),
            (folder.path().to_owned(), &ordinary),
            (link, &ordinary),
            (huge, &long),
        ] {
            let source = FileSource::new(path.clone());
            let start = Instant::now();
            assert_eq!(source.read().await.as_ref(), Err(why), "{}", path.display());
            assert!(start.elapsed() < ANSWER_MAX, "{}", path.display());
        }
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_one_thread_and_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        fs::write(&path, GOOD).unwrap();
        let source = FileSource::new(path);
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        let (ended, ends) = oneshot::channel();
        let look = move || {
            let _ = hangs.recv();
            let _ = ended.send(());
            Ok(Vec::new())
        };
        let late = source.look(look).await;
        assert_eq!(late, Err("not read in time".to_owned()));
        // No second thread while the first one hangs, and no wait.
        for _ in 0..100 {
            let refused = source.read().await;
            assert_eq!(refused, Err("the last look at it hangs".to_owned()));
        }
        release.send(()).unwrap();
        ends.await.unwrap();
        // The permit is given back as the thread ends.
        let permit = source.looks.acquire().await.unwrap();
        drop(permit);
        assert_eq!(source.read().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_look_that_panics_is_a_failure() {
        let source = FileSource::new(PathBuf::from("/"));
        let broken = source.look(|| panic!("planted")).await;
        assert_eq!(broken, Err("the look at it failed".to_owned()));
        assert!(source.read().await.is_err());
    }
}

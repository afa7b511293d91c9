//! Files named on the command line: read whole and never beyond a limit, written once.

use std::path::Path;

use crate::exit::{Outcome, Problem};

/// Reads a file of at most `bytes_max` bytes.
pub fn read(path: &Path, bytes_max: u64) -> Outcome<Vec<u8>> {
    let unreadable =
        |error: std::io::Error| Problem::preflight(format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > bytes_max {
        let what = format!("{} has {length} bytes, over {bytes_max}", path.display());
        return Err(Problem::usage(what));
    }
    std::fs::read(path).map_err(unreadable)
}

/// Writes a file that is not there yet.
pub fn write_new(path: &Path, bytes: &[u8]) -> Outcome {
    use std::io::Write;
    let unwritten =
        |error: std::io::Error| Problem::preflight(format!("{}: {error}", path.display()));
    let mut file = std::fs::File::create_new(path).map_err(unwritten)?;
    file.write_all(bytes).map_err(unwritten)
}

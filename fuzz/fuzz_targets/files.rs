//! Files and streams that a client reads: sequences, cursors, frames of the feed.
#![no_main]

use fairlane_client::Pin;
use fairlane_client::sample;
use fairlane_client::sequence_file::SequenceReader;
use fairlane_client::wire::FrameReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut reader) = SequenceReader::new(bytes) {
        while let Ok(Some(_)) = reader.next_record() {}
    }
    let mut frames = FrameReader::default();
    // In pieces, as they come from a socket.
    for piece in bytes.chunks(97) {
        frames.push(piece);
        while let Ok(Some(_)) = frames.next_frame() {}
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _ = sample::parse(text);
    }
    let _ = Pin::from_json(bytes);
});

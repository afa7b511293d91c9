//! Frames from members, on the stream of each class.
#![no_main]

use fairlane_replica::{Class, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for class in Class::ALL {
        if let Ok(message) = Message::from_frame(class, bytes) {
            assert_eq!(message.to_frame(), bytes);
            assert_eq!(message.class(), class);
        }
    }
});

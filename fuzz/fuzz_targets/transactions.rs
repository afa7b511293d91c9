//! What the clearing house reads: any payload is a transaction or a reason why not.
#![no_main]

use fairlane_execution::Tx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tx) = Tx::from_bytes(bytes) {
        let again = Tx::from_bytes(&tx.to_bytes());
        assert_eq!(
            again.as_ref(),
            Ok(&tx),
            "what was read is written as another one"
        );
    }
});

//! Keys: of a genesis, of a disk, of an activation.
#![no_main]

use fairlane_encryption::{
    CertificateKey, CertificateSecret, ReceiverKey, SuiteKey, SuiteSecret, is_key_file,
};
use fairlane_fuzz::canonical;
use fairlane_types::Scheme;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for scheme in [Scheme::Tdh2, Scheme::BaekZheng] {
        if let Ok(key) = SuiteKey::from_bytes(scheme, bytes) {
            assert_eq!(key.to_bytes(), bytes);
            assert!(key.t() <= key.n());
        }
    }
    let _ = canonical::<SuiteSecret>(bytes);
    let _ = canonical::<CertificateKey>(bytes);
    let _ = canonical::<CertificateSecret>(bytes);
    if let Ok(point) = <[u8; 32]>::try_from(bytes) {
        let _ = ReceiverKey::new(point);
    }
    let _ = is_key_file(bytes);
});

//! Decryption shares and shares of certificates from members.
#![no_main]

use std::sync::OnceLock;

use fairlane_encryption::{
    CertificateKey, CertificateShare, Signing, Suite, SuiteBatch, SuiteKey, SuiteOrderShare,
    ThresholdScheme, accept_certificate_share, deal_pairing_insecure, deal_suite_insecure,
};
use fairlane_fuzz::canonical;
use fairlane_replica::ShareMessage;
use fairlane_types::{BlockId, Epoch, MemberId, Scheme, SeededRng};
use libfuzzer_sys::fuzz_target;

fn keys() -> &'static (SuiteKey, SuiteKey, CertificateKey) {
    static KEYS: OnceLock<(SuiteKey, SuiteKey, CertificateKey)> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut rng = SeededRng::new(&[3; 32], b"fuzz");
        let mut suite = |scheme| {
            let dealt = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng);
            dealt.expect("four members").0
        };
        let (one, two) = (suite(Scheme::Tdh2), suite(Scheme::BaekZheng));
        let dealt = deal_pairing_insecure::<Signing, _>(Epoch(0), 4, &mut rng);
        (one, two, dealt.expect("four members").0)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let (one, two, certificates) = keys();
    let batch = canonical::<ShareMessage>(bytes).map(|message| message.batch);
    for batch in batch.into_iter().chain(canonical::<SuiteBatch>(bytes)) {
        let (block, len) = (batch.block(), batch.len());
        for key in [one, two] {
            let _ = Suite::accept(key, block, len, MemberId(0), batch.clone());
            let _ = Suite::accept(key, BlockId::default(), 1, MemberId(1), batch.clone());
        }
    }
    let _ = canonical::<SuiteOrderShare>(bytes);
    if let Some(share) = canonical::<CertificateShare>(bytes) {
        let _ = accept_certificate_share(certificates, share.member, &share);
    }
});

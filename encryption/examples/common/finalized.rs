//! The token that shares ask for, for examples and tests.

use fairlane_types::{
    BlockId, Certificate, CertificateKind, ChainId, Commit, Committee, Epoch, Finalized, Height,
    SecretKey, SignerSet, View,
};

/// The token for a block, from a real certificate of a committee of four.
pub fn finalized(block: BlockId) -> Finalized {
    let keys: Vec<SecretKey> = (1..=4)
        .map(|seed| SecretKey::from_seed([seed; 32]))
        .collect();
    let committee = Committee::new(keys.iter().map(SecretKey::public).collect()).expect("4 keys");
    let chain = ChainId(1);
    let commit = Commit {
        epoch: Epoch(0),
        view: View(1),
        height: Height(1),
        block,
    };
    let certificate = Certificate {
        kind: CertificateKind::Final,
        epoch: commit.epoch,
        view: commit.view,
        height: commit.height,
        block,
        signers: committee.ids().collect(),
        dirty: SignerSet::default(),
        signatures: keys.iter().map(|key| commit.sign(key, chain)).collect(),
    };
    certificate
        .finalize(chain, &committee, &[1; 32])
        .expect("a valid certificate")
}

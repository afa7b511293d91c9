//! `fairlane verify` on sequence files: what the committee's attestations cover, and the rest.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use fairlane_client::sequence_file::{Record, SequenceWriter};
use fairlane_encryption::{
    Attestation, CERTIFICATE_BYTES, CertificateKey, CertificateSecret, ThresholdCertificate,
    accept_certificate_share, certify, deal_pairing_insecure, deal_suite_insecure,
    sign_attestation,
};
use fairlane_types::{
    BlockId, CertificateParams, ChainId, EncryptionParams, Epoch, Genesis, Height, Millis,
    Position, Root, Scheme, SecretKey, SeededRng, SequencedBlock, encode,
};

struct World {
    folder: tempfile::TempDir,
    genesis: Genesis,
    key: CertificateKey,
    secrets: Vec<CertificateSecret>,
}

impl World {
    fn new() -> Self {
        let mut rng = SeededRng::new(&[3; 32], b"deal");
        let (sealing, _) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), 4, &mut rng).unwrap();
        let (key, secrets) = deal_pairing_insecure(Epoch(0), 4, &mut rng).unwrap();
        let member = |i| SecretKey::from_seed([i; 32]).public();
        let genesis = Genesis {
            chain: ChainId(7),
            time: Millis(1_000),
            experiment: true,
            start: None,
            members: (1..=4).map(member).collect(),
            encryption: EncryptionParams::dealt(Scheme::Tdh2, sealing.id(), sealing.to_bytes()),
            certificates: Some(CertificateParams::dealt(encode(&key))),
            lanes: Default::default(),
            consensus: Default::default(),
            order: Default::default(),
        };
        let folder = tempfile::tempdir().unwrap();
        let json = serde_json::to_vec(&genesis).unwrap();
        std::fs::write(folder.path().join("genesis.json"), json).unwrap();
        Self {
            folder,
            genesis,
            key,
            secrets,
        }
    }

    /// Blocks of heights 1 to `count`; `salt` makes another sequence.
    fn blocks(&self, count: u64, salt: u64) -> Vec<SequencedBlock> {
        let mut parent_root = Root::default();
        let block = |height| {
            let block = SequencedBlock {
                chain: ChainId(7),
                epoch: Epoch(0),
                height: Height(height),
                block: BlockId::default(),
                time: Millis(1_000 + height + salt),
                parent_root,
                first_position: Position(0),
                items: Vec::new(),
                state: None,
                root: Root::default(),
            }
            .sealed();
            parent_root = block.root;
            block
        };
        (1..=count).map(block).collect()
    }

    fn attest(&self, block: &SequencedBlock) -> Record {
        let (chain, epoch, height, root) = (block.chain, block.epoch, block.height, block.root);
        let share = |secret: &CertificateSecret| {
            let share = sign_attestation(secret, chain, epoch, height, root);
            accept_certificate_share(&self.key, secret.member(), &share).unwrap()
        };
        let shares: Vec<_> = self.secrets[..3].iter().map(share).collect();
        let mut made = Attestation {
            epoch,
            height,
            root,
            certificate: ThresholdCertificate([0; CERTIFICATE_BYTES]),
        };
        let found = certify(&self.key, &made.subject(chain), &shares).unwrap();
        made.certificate = found.certificate.unwrap();
        Record::Attestation(made)
    }

    fn file(&self, records: &[Record]) {
        let mut writer = SequenceWriter::new(Vec::new(), self.genesis.hash()).unwrap();
        for record in records {
            writer.write(record).unwrap();
        }
        let path = self.folder.path().join("file");
        std::fs::write(path, writer.finish().unwrap()).unwrap();
    }

    /// Exit code, the line of JSON, and what was said beside it.
    fn verify(&self, trust: &[&str]) -> (Option<i32>, serde_json::Value, String) {
        let path = |name| -> std::path::PathBuf { Path::join(self.folder.path(), name) };
        let output = Command::new(env!("CARGO_BIN_EXE_fairlane"))
            .args(["--json", "verify"])
            .arg(path("file"))
            .args(trust)
            .current_dir(self.folder.path())
            .env_remove("FAIRLANE_GENESIS")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let first = out.lines().next().unwrap_or("null");
        let value: serde_json::Value = serde_json::from_str(first).unwrap();
        (output.status.code(), value["verify"].clone(), said + &out)
    }
}

#[test]
fn only_what_the_committee_attested_is_verified() {
    let world = World::new();
    let key = hex::encode(world.key.public_key());
    let by_genesis = ["--genesis", "genesis.json"];
    let by_key = ["--committee-key", &key];
    let blocks: Vec<Record> = world.blocks(6, 0).into_iter().map(Record::Block).collect();
    let Record::Block(fourth) = &blocks[3] else {
        unreachable!()
    };
    let Record::Block(last) = &blocks[5] else {
        unreachable!()
    };
    let (fourth, last) = (world.attest(fourth), world.attest(last));

    // To its last block.
    let whole = [
        &blocks[..4],
        std::slice::from_ref(&fourth),
        &blocks[4..],
        &[last],
    ]
    .concat();
    world.file(&whole);
    for trust in [by_genesis, by_key] {
        let (code, value, said) = world.verify(&trust);
        assert_eq!((code, &value["ok"]), (Some(0), &true.into()), "{said}");
        assert_eq!(value["not_covered"], 0);
    }

    // To the fourth: the rest may be anybody's.
    let tail = [&blocks[..4], std::slice::from_ref(&fourth), &blocks[4..]].concat();
    world.file(&tail);
    for trust in [by_genesis, by_key] {
        let (code, value, said) = world.verify(&trust);
        assert_eq!((code, &value["ok"]), (Some(5), &false.into()), "{said}");
        assert_eq!(value["not_covered"], 2);
        assert!(said.contains("covers blocks 5 to 6"), "{said}");
        let accepted = [&trust[..], &["--unattested"]].concat();
        let (code, value, said) = world.verify(&accepted);
        assert_eq!((code, &value["ok"]), (Some(0), &false.into()), "{said}");
    }

    // An invented sequence: nothing covers it, or what covers it is of another one.
    let invented: Vec<Record> = world.blocks(6, 9).into_iter().map(Record::Block).collect();
    world.file(&invented);
    let (code, value, said) = world.verify(&by_genesis);
    assert_eq!((code, &value["ok"]), (Some(5), &false.into()), "{said}");
    assert_eq!(value["not_covered"], 6);
    assert!(said.contains("covers blocks 1 to 6"), "{said}");
    world.file(&[&invented[..4], &[fourth]].concat());
    for trust in [by_genesis, by_key] {
        let (code, _, said) = world.verify(&[&trust[..], &["--unattested"]].concat());
        assert_eq!(code, Some(5), "{said}");
    }
}

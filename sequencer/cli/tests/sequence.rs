//! `fairlane verify` on sequence files: what the committee's attestations cover, what openings
//! show, and the rest.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use fairlane_client::sequence_file::{Record, SequenceWriter};
use fairlane_client::{Pin, SealOptions, Sealer};
use fairlane_encryption::{
    Attestation, CERTIFICATE_BYTES, CertificateKey, CertificateSecret, Opened, Suite, SuiteSecret,
    ThresholdCertificate, ThresholdScheme, accept_certificate_share, certify,
    deal_pairing_insecure, deal_suite_insecure, resolve, sign_attestation,
};
use fairlane_types::{
    BlockId, Certificate, CertificateKind, CertificateParams, ChainId, Commit, EncryptionParams,
    Envelope, Epoch, Finalized, Genesis, Height, Item, Micros, Millis, Outcome, Position, Root,
    Scheme, SecretKey, SeededRng, SequencedBlock, SignerSet, View, encode,
};

struct World {
    folder: tempfile::TempDir,
    genesis: Genesis,
    key: CertificateKey,
    secrets: Vec<CertificateSecret>,
    shares: Vec<SuiteSecret>,
}

impl World {
    fn new() -> Self {
        let mut rng = SeededRng::new(&[3; 32], b"deal");
        let (sealing, shares) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), 4, &mut rng).unwrap();
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
            shares,
        }
    }

    /// A block of two opened orders, and their envelopes.
    fn opened(&self) -> (SequencedBlock, Vec<Record>) {
        let mut rng = SeededRng::new(&[4; 32], b"seal");
        let pin = Pin::new(self.genesis.clone()).unwrap();
        let sealer = Sealer::new(&pin, SecretKey::from_seed([8; 32]));
        let (expiry, lane) = (Millis(9_000), None);
        let seal = |nonce| {
            let options = SealOptions {
                nonce,
                expiry,
                lane,
            };
            sealer.seal_bytes(b"an order", options, &mut rng).unwrap()
        };
        let envelopes: Vec<Envelope> = [1, 2].map(seal).into();
        let check = |e: &Envelope| Suite::check(pin.key(), &e.label.to_bytes(), &e.ciphertext);
        let list: Vec<_> = envelopes.iter().map(|e| check(e).unwrap()).collect();
        let token = finalized(&pin);
        let sets = self.shares.iter().map(|share| {
            let sealed = Suite::shares(share, BlockId::default(), &list, &mut rng);
            (share.member(), sealed.take(&token).unwrap())
        });
        let sets: Vec<_> = sets.collect();
        let sets: Vec<_> = sets.iter().map(|(member, set)| (*member, set)).collect();
        let found = resolve::<Suite, _>(pin.key(), &list, &sets, &[1; 32]).unwrap();
        let item = |(index, opened): (usize, Option<Opened>)| {
            let Some(Opened::Plain(plain)) = opened else {
                unreachable!("an honest ciphertext opens")
            };
            Item {
                position: Position(index as u64),
                label: envelopes[index].label.clone(),
                ct_id: envelopes[index].id(),
                stamp: Micros(0),
                outcome: Outcome::Opened {
                    payload: plain.payload,
                    opening: plain.opening,
                },
            }
        };
        let mut block = self.blocks(1, 0).remove(0);
        block.items = found.outcomes.into_iter().enumerate().map(item).collect();
        let envelopes = envelopes.into_iter().map(Record::Envelope);
        (block.sealed(), envelopes.collect())
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

/// The right to open the first block: all members have signed its place.
fn finalized(pin: &Pin) -> Finalized {
    let (epoch, view, height, block) = (Epoch(0), View(1), Height(1), BlockId::default());
    let commit = Commit {
        epoch,
        view,
        height,
        block,
    };
    let sign = |i| commit.sign(&SecretKey::from_seed([i; 32]), pin.genesis().chain);
    Certificate {
        kind: CertificateKind::Final,
        epoch,
        view,
        height,
        block,
        signers: SignerSet::from_iter(pin.committee().ids()),
        dirty: SignerSet(0),
        signatures: (1..=4).map(sign).collect(),
    }
    .finalize(pin.genesis().chain, pin.committee(), &[2; 32])
    .unwrap()
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

#[test]
fn openings_without_their_envelopes_prove_nothing() {
    let world = World::new();
    let (block, envelopes) = world.opened();
    let attestation = world.attest(&block);
    let file = |block: &SequencedBlock, envelopes: &[Record], attestation: &Record| {
        let block = Record::Block(block.clone());
        world.file(&[&[block], envelopes, std::slice::from_ref(attestation)].concat());
    };
    let trust = ["--genesis", "genesis.json"];
    let accepting = [&trust[..], &["--without-envelopes"]].concat();
    let counts = |value: &serde_json::Value| {
        let count = |name: &str| value[name].as_u64().unwrap();
        ["opened", "openings_checked", "openings_unchecked"].map(count)
    };

    file(&block, &envelopes, &attestation);
    let (code, value, said) = world.verify(&trust);
    assert_eq!((code, &value["ok"]), (Some(0), &true.into()), "{said}");
    assert_eq!(counts(&value), [2, 2, 0]);

    for kept in [0, 1] {
        file(&block, &envelopes[..kept], &attestation);
        let (code, value, said) = world.verify(&trust);
        assert_eq!((code, &value["ok"]), (Some(5), &false.into()), "{said}");
        assert_eq!(counts(&value), [2, kept as u64, 2 - kept as u64]);
        assert!(said.contains("could not be checked"), "{said}");
        let (code, value, said) = world.verify(&accepting);
        assert_eq!((code, &value["ok"]), (Some(0), &false.into()), "{said}");
        assert!(said.contains("could not be checked"), "{said}");
    }

    // A committee that signs what was not sealed: only the envelope shows it.
    let mut false_block = block.clone();
    let Outcome::Opened { payload, .. } = &mut false_block.items[0].outcome else {
        unreachable!()
    };
    *payload = b"another order".to_vec();
    let false_block = false_block.sealed();
    let attestation = world.attest(&false_block);
    file(&false_block, &[], &attestation);
    let (code, ..) = world.verify(&trust);
    assert_eq!(code, Some(5));
    file(&false_block, &envelopes, &attestation);
    let (code, _, said) = world.verify(&accepting);
    assert_eq!(code, Some(5), "{said}");
    assert!(!said.contains("could not be checked"), "{said}");

    // The committee's key alone says nothing of openings, and says so.
    let key = hex::encode(world.key.public_key());
    let (code, value, said) = world.verify(&["--committee-key", &key]);
    assert_eq!((code, &value["ok"]), (Some(0), &true.into()), "{said}");
    assert_eq!(counts(&value), [2, 0, 2]);
}

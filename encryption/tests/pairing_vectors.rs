//! Known answers over BLS12-381: `vectors/baek-zheng.json` for suite 0x02 and
//! `vectors/certificate.json` for beacon and attestations.
//!
//! `FAIRLANE_WRITE_VECTORS=1 cargo test -p fairlane-encryption --test pairing_vectors`
//! writes the files anew; without it they must be what the code makes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::rig::Stage;
use common::{ENTROPY, block, label, rng};
use fairlane_encryption::{
    BaekZheng, BaekZhengKey, CERTIFICATE_DST, CertificateKey, CertificateShare, Opened, Subject,
    ThresholdCertificate, ThresholdScheme, accept_certificate_share, certify,
    deal_pairing_insecure, resolve, sign_attestation,
};
use fairlane_types::{ChainId, Digest, Epoch, Height, MemberId, Root, encode};
use serde_json::{Value, json};

fn judge(name: &str, made: &Value) {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("FAIRLANE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(made).unwrap() + "\n").unwrap();
    }
    let read: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(*made == read, "vectors/{name} is not what the code makes");
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn read(name: &str) -> Value {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn baek_zheng_file_is_what_the_code_makes() {
    let mut stage = Stage::<BaekZheng>::new(4, 0);
    for (number, len) in [0, 200, 256].into_iter().enumerate() {
        let payload: Vec<u8> = (0..len).map(|k: usize| (k % 251) as u8).collect();
        let ciphertext = stage.encrypt(number as u64, &payload);
        stage.push(number as u64, ciphertext, payload);
    }
    let sets = stage.all_shares();
    let held: Vec<_> = sets.iter().map(|set| (set.member(), set)).collect();
    let opened = resolve::<BaekZheng, _>(&stage.key, &stage.list, &held, &ENTROPY).unwrap();
    let cases: Vec<Value> = opened
        .outcomes
        .iter()
        .enumerate()
        .map(|(k, outcome)| {
            let Some(Opened::Plain(plain)) = outcome else {
                panic!("opens")
            };
            json!({
                "label": hex::encode(label(k as u64)),
                "payload": hex::encode(&plain.payload),
                "sigma": hex::encode(plain.opening),
                "ciphertext": hex::encode(&stage.bytes[k]),
                "shares": sets.iter()
                    .map(|set| hex::encode(set.batch().shares[k]))
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    judge(
        "baek-zheng.json",
        &json!({
            "suite": "BZ-BLS12381-CHACHA20POLY1305",
            "note": "hex strings; secrets of a dealer, for tests only",
            "key": {
                "encoded": hex::encode(encode(&stage.key)),
                "key_id": hex::encode(stage.key.id().as_bytes()),
                "public_key": hex::encode(stage.key.public_key()),
                "secret_shares": stage.secrets
                    .iter()
                    .map(|secret| hex::encode(*secret.expose_secret()))
                    .collect::<Vec<_>>(),
            },
            "ciphertexts": cases,
        }),
    );
}

#[test]
fn baek_zheng_agrees_with_the_file() {
    let file = read("baek-zheng.json");
    let key: BaekZhengKey = borsh::from_slice(&bytes(&file["key"]["encoded"])).unwrap();
    assert_eq!(key.id().as_bytes()[..], bytes(&file["key"]["key_id"]));
    for case in file["ciphertexts"].as_array().unwrap() {
        let (label, ciphertext) = (bytes(&case["label"]), bytes(&case["ciphertext"]));
        assert!(BaekZheng::check(&key, &label, &ciphertext).is_ok());
        let sigma = bytes(&case["sigma"]).try_into().unwrap();
        let payload = bytes(&case["payload"]);
        let verified = BaekZheng::verify_opening(&key, &label, &ciphertext, &sigma, &payload);
        assert_eq!(verified, Ok(()));
    }
}

#[test]
fn certificate_file_is_what_the_code_makes_and_verifies() {
    let dealt = deal_pairing_insecure(Epoch(2), 4, &mut rng(31)).unwrap();
    let (key, secrets): (CertificateKey, _) = dealt;
    let (chain, epoch, height) = (ChainId(7), Epoch(2), Height(9));
    let root = Root(Digest([4; 32]));
    let attest = Subject::Attest {
        chain,
        epoch,
        height,
        root,
    };
    let beacon = Subject::Beacon {
        chain,
        epoch,
        height,
        block: block(4),
    };
    let shares: Vec<CertificateShare> = secrets
        .iter()
        .map(|secret| sign_attestation(secret, chain, epoch, height, root))
        .collect();
    let accepted: Vec<_> = shares
        .iter()
        .map(|share| accept_certificate_share(&key, share.member, share).unwrap())
        .collect();
    let certificate = certify(&key, &attest, &accepted)
        .unwrap()
        .certificate
        .unwrap();
    judge(
        "certificate.json",
        &json!({
            "ciphersuite": String::from_utf8_lossy(CERTIFICATE_DST),
            "public_key": hex::encode(key.public_key()),
            "verification_keys": (0..4)
                .map(|m| hex::encode(key.verification_key(MemberId(m)).unwrap()))
                .collect::<Vec<_>>(),
            "message": hex::encode(attest.message()),
            "beacon_message": hex::encode(beacon.message()),
            "shares": shares.iter().map(|s| hex::encode(s.signature)).collect::<Vec<_>>(),
            "certificate": hex::encode(certificate.0),
            "hash": hex::encode(certificate.beacon().0),
        }),
    );
    // Without a line of the crate: what any implementation of the ciphersuite says.
    let file = read("certificate.json");
    let public = blst::min_pk::PublicKey::key_validate(&bytes(&file["public_key"])).unwrap();
    let signature = blst::min_pk::Signature::from_bytes(&bytes(&file["certificate"])).unwrap();
    let message = bytes(&file["message"]);
    let verdict = signature.verify(true, &message, CERTIFICATE_DST, &[], &public, true);
    assert_eq!(verdict, blst::BLST_ERROR::BLST_SUCCESS);
    let again = ThresholdCertificate(bytes(&file["certificate"]).try_into().unwrap());
    assert!(again.verify(key.public_key(), &attest));
}

//! Known answers (ENCRYPTION "Tests to demand"): `vectors/tdh2.json` for other
//! implementations of suite 0x01, and RFC 9496 for the group below.
//!
//! `FAIRLANE_WRITE_VECTORS=1 cargo test -p fairlane-encryption --test vectors` writes the
//! file anew; without it the file must be what the code makes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, Recipe, SENDER, World, enc, finalized, hs, ids, label, lp, pad, rng};
use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as G;
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, traits::Identity};
use fairlane_encryption::{CtError, EncryptionKey, KeyShare, Plain, Tdh2, ThresholdScheme};
use fairlane_types::{MemberId, encode};
use serde_json::{Value, json};

fn read(name: &str) -> Value {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn bytes32(value: &Value) -> [u8; 32] {
    bytes(value).try_into().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Everything another implementation needs to check itself step by step.
fn make() -> Value {
    let mut world = World::new(4, 0);
    let mut cases = Vec::new();
    for (number, len) in [0, 1, 200, 255, 256, 1000, 4095].into_iter().enumerate() {
        let number = number as u64;
        let payload: Vec<u8> = (0..len).map(|k: usize| (k % 251) as u8).collect();
        let sigma: [u8; 32] = core::array::from_fn(|k| (k as u8) ^ (number as u8 * 17));
        let s = hs("vector nonce", &[&number.to_le_bytes()]);
        let recipe = Recipe::honest(&world.key, &label(number), &payload, sigma, s);
        let ciphertext = recipe.build();
        world.push(number, ciphertext.clone(), payload.clone());
        let [u, ub, r_point, rb] = recipe.points();
        cases.push(json!({
            "label": hex::encode(label(number)),
            "payload": hex::encode(payload),
            "sigma": hex::encode(sigma),
            "s": hex::encode(s.as_bytes()),
            "r": hex::encode(recipe.r.as_bytes()),
            "U": hex::encode(u),
            "Ub": hex::encode(ub),
            "R": hex::encode(r_point),
            "Rb": hex::encode(rb),
            "W": hex::encode(enc(recipe.w)),
            "ke": hex::encode(recipe.ke()),
            "body": hex::encode(recipe.body()),
            "e": hex::encode(recipe.challenge().as_bytes()),
            "z": hex::encode(recipe.z().as_bytes()),
            "ciphertext": hex::encode(ciphertext),
        }));
    }
    let batches: Vec<Value> = (0..4)
        .map(|member| {
            let batch = world.shares(member).batch().clone();
            json!({
                "member": member,
                "shares": batch.shares.iter().map(hex::encode).collect::<Vec<_>>(),
                "proof": hex::encode(batch.proof.to_bytes()),
                "encoded": hex::encode(encode(&batch)),
            })
        })
        .collect();
    // One ciphertext by the crate's own sampling of σ and s, pinned.
    let sealed = Tdh2::encrypt(&world.key, &label(99), b"pinned", &SENDER, &mut rng(99)).unwrap();
    json!({
        "suite": "TDH2-R255-SHA512-CHACHA20POLY1305",
        "note": "hex strings; integers little-endian; secrets of a dealer, for tests only",
        "second_generator": hex::encode(enc(common::hbar())),
        "key": {
            "epoch": world.key.epoch().0,
            "n": world.key.n(),
            "t": world.key.t(),
            "Y": hex::encode(world.key.y()),
            "verification_keys": (0..4)
                .map(|m| hex::encode(world.key.verification_key(MemberId(m)).unwrap()))
                .collect::<Vec<_>>(),
            "key_id": hex::encode(world.key.id().as_bytes()),
            "encoded": hex::encode(encode(&world.key)),
            "secret_shares": world.secrets
                .iter()
                .map(|share| hex::encode(*share.expose_secret()))
                .collect::<Vec<_>>(),
        },
        "block_id": hex::encode(world.block.as_bytes()),
        "ciphertexts": cases,
        "share_batches": batches,
        "refused": refused(&world),
        "sampled": { "rng": "ChaCha20, seed_from_u64(99)", "ciphertext": hex::encode(sealed) },
    })
}

/// Ciphertexts for label 0 that must be refused, with the reason.
fn refused(world: &World) -> Vec<Value> {
    let good = &world.bytes[0];
    let with = |at: usize, part: &[u8]| {
        let mut copy = good.clone();
        copy[at..at + part.len()].copy_from_slice(part);
        copy
    };
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let last = good[good.len() - 1] ^ 1;
    let cases = [
        ("Suite", with(0, &[2])),
        ("Length", good[..good.len() - 1].to_vec()),
        ("Length", with(161, &[0, 1])),
        ("IdentityU", with(1, &[0; 32])),
        ("NonCanonicalPoint", with(1, &[0xff; 32])),
        (
            "NonCanonicalPoint",
            with(97, &{
                let mut one = [0; 32];
                one[0] = 1;
                one
            }),
        ),
        (
            "NonCanonicalScalar",
            with(129, &hex::decode(order).unwrap()),
        ),
        ("BadProof", with(129, &[0; 32])),
        ("BadProof", with(good.len() - 1, &[last])),
    ];
    cases
        .into_iter()
        .map(|(error, bytes)| json!({ "error": error, "ciphertext": hex::encode(bytes) }))
        .collect()
}

#[test]
fn file_is_what_the_code_makes() {
    let made = make();
    if std::env::var_os("FAIRLANE_WRITE_VECTORS").is_some() {
        let path = format!("{}/vectors/tdh2.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    // assert! and not assert_eq!: a difference would print megabytes.
    assert!(
        made == read("tdh2.json"),
        "vectors/tdh2.json is not what the code makes"
    );
}

/// The crate against the file, with nothing computed by the restated scheme.
#[test]
fn crate_agrees_with_the_file() {
    let file = read("tdh2.json");
    let key: EncryptionKey = borsh::from_slice(&bytes(&file["key"]["encoded"])).unwrap();
    assert_eq!(key.id().as_bytes(), &bytes32(&file["key"]["key_id"]));
    let secrets: Vec<KeyShare> = list(&file["key"]["secret_shares"])
        .iter()
        .enumerate()
        .map(|(m, secret)| KeyShare::new(&key, MemberId(m as u8), &bytes32(secret)).unwrap())
        .collect();
    let cases = list(&file["ciphertexts"]);
    let items: Vec<_> = cases
        .iter()
        .map(|c| (bytes(&c["label"]), bytes(&c["ciphertext"])))
        .collect();
    let parsed: Vec<_> = Tdh2::check_batch(&key, &items, &ENTROPY)
        .into_iter()
        .map(|result| result.unwrap())
        .collect();
    let block = fairlane_types::BlockId(fairlane_types::Digest(bytes32(&file["block_id"])));
    let mut sets = Vec::new();
    for (secret, batch) in secrets.iter().zip(list(&file["share_batches"])) {
        let sealed = Tdh2::shares(secret, block, &parsed, &mut rng(1));
        let own = sealed.take(&finalized(block)).unwrap();
        let shares: Vec<[u8; 32]> = list(&batch["shares"]).iter().map(bytes32).collect();
        assert_eq!(own.batch().shares, shares);
        let received = borsh::from_slice(&bytes(&batch["encoded"])).unwrap();
        let received = Tdh2::accept(&key, block, parsed.len(), secret.member(), received).unwrap();
        assert!(Tdh2::verify_shares(&key, &parsed, &received).is_ok());
        sets.push(received);
    }
    for quorum in [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]] {
        let combiner = Tdh2::combiner(&key, &ids(&quorum)).unwrap();
        let used: Vec<_> = quorum.iter().map(|m| &sets[*m]).collect();
        let points = Tdh2::combine(&combiner, &used).unwrap();
        let opened = Tdh2::open(&key, &parsed, &points, &ENTROPY);
        for (k, case) in cases.iter().enumerate() {
            assert_eq!(points.encoded()[k], bytes32(&case["W"]));
            let want = Plain {
                payload: bytes(&case["payload"]),
                opening: bytes32(&case["sigma"]),
            };
            assert_eq!(opened[k], Some(want.clone()));
            let (label, ciphertext) = &items[k];
            let verified =
                Tdh2::verify_opening(&key, label, ciphertext, &want.opening, &want.payload);
            assert_eq!(verified, Ok(()));
        }
    }
    for case in list(&file["refused"]) {
        let error = Tdh2::check(&key, &items[0].0, &bytes(&case["ciphertext"])).unwrap_err();
        let name = match error {
            CtError::Suite { .. } => "Suite",
            CtError::Length(_) => "Length",
            CtError::NonCanonicalPoint => "NonCanonicalPoint",
            CtError::NonCanonicalScalar => "NonCanonicalScalar",
            CtError::IdentityU => "IdentityU",
            CtError::UnknownKey => "UnknownKey",
            CtError::BadProof => "BadProof",
        };
        assert_eq!(name, case["error"]);
    }
}

/// The batch proof of 6.6, recomputed from the document.
#[test]
fn batch_proofs_in_the_file_satisfy_6_6() {
    let file = read("tdh2.json");
    let (key_id, block) = (bytes(&file["key"]["key_id"]), bytes(&file["block_id"]));
    let us: Vec<Vec<u8>> = list(&file["ciphertexts"])
        .iter()
        .map(|c| bytes(&c["U"]))
        .collect();
    for batch in list(&file["share_batches"]) {
        let member = batch["member"].as_u64().unwrap();
        let index = (member as u16 + 1).to_le_bytes();
        let shares: Vec<Vec<u8>> = list(&batch["shares"]).iter().map(bytes).collect();
        let mut hasher = blake3::Hasher::new_derive_key("FAIRLANE V1 batch DLEQ weights");
        hasher.update(&key_id).update(&block).update(&index);
        for (u, share) in us.iter().zip(&shares) {
            hasher.update(u).update(share);
        }
        let mut stream = vec![0; 16 * us.len()];
        hasher.finalize_xof().fill(&mut stream);
        let weights: Vec<Scalar> = stream
            .chunks(16)
            .map(|chunk| Scalar::from(u128::from_le_bytes(chunk.try_into().unwrap())))
            .collect();
        let sum = |points: &[Vec<u8>]| -> RistrettoPoint {
            points
                .iter()
                .zip(&weights)
                .map(|(point, w)| common::dec(point) * w)
                .sum()
        };
        let (u_star, d_star) = (sum(&us), sum(&shares));
        let public = bytes(&file["key"]["verification_keys"][member as usize]);
        let proof = bytes(&batch["proof"]);
        let scalar = |at: usize| {
            let part: [u8; 32] = proof[at..at + 32].try_into().unwrap();
            Scalar::from_canonical_bytes(part).unwrap()
        };
        let (c, z) = (scalar(0), scalar(32));
        let (a, b) = (G * z - common::dec(&public) * c, u_star * z - d_star * c);
        let again = hs(
            "FAIRLANE-V1-DLEQ",
            &[
                &key_id,
                &block,
                &index,
                &public,
                &enc(u_star),
                &enc(d_star),
                &enc(a),
                &enc(b),
            ],
        );
        assert_eq!(again, c);
    }
}

/// The parts of 6.2 that the file pins, recomputed: key id, and Y from any t secrets.
#[test]
fn key_in_the_file_satisfies_6_2() {
    let file = read("tdh2.json");
    let key = &file["key"];
    let members: Vec<Vec<u8>> = list(&key["verification_keys"]).iter().map(bytes).collect();
    let parts = [
        &3_u64.to_le_bytes()[..],
        &4_u16.to_le_bytes(),
        &3_u16.to_le_bytes(),
        &bytes(&key["Y"]),
        &members.concat(),
    ];
    assert_eq!(
        common::sha("FAIRLANE-V1-KEYID", &parts)[..32],
        bytes(&key["key_id"])
    );
    for (member, secret) in members.iter().zip(list(&key["secret_shares"])) {
        let secret = Scalar::from_canonical_bytes(bytes32(secret)).unwrap();
        assert_eq!(enc(G * secret).to_vec(), *member);
    }
    // Q = {1, 2, 3} leaves out 4: c = 1−4, 2−4, 3−4.
    let half = [-3_i8, -2, -1]
        .iter()
        .zip(&members)
        .fold(RistrettoPoint::identity(), |sum, (c, member)| {
            sum - common::dec(member) * Scalar::from(c.unsigned_abs())
        });
    assert_eq!(enc(half + half).to_vec(), bytes(&key["Y"]));
    let case = &file["ciphertexts"][2];
    let r = hs(
        "FAIRLANE-V1-R",
        &[
            &bytes(&key["key_id"]),
            &lp(&bytes(&case["label"])),
            &bytes(&case["sigma"]),
        ],
    );
    assert_eq!(r.as_bytes().to_vec(), bytes(&case["r"]));
    assert_eq!(pad(&bytes(&case["payload"])).len(), 256);
}

/// RFC 9496, appendices A.1 to A.3, on whatever backend runs this test.
#[test]
fn rfc9496() {
    let file = read("rfc9496.json");
    let mut point = RistrettoPoint::identity();
    for multiple in list(&file["multiples_of_the_generator"]) {
        assert_eq!(enc(point), bytes32(multiple));
        assert_eq!(common::dec(&bytes(multiple)), point);
        point += G;
    }
    for encoding in list(&file["invalid_encodings"]) {
        assert_eq!(CompressedRistretto(bytes32(encoding)).decompress(), None);
    }
    for case in list(&file["one_way_map"]) {
        let wide: [u8; 64] = bytes(&case["input"]).try_into().unwrap();
        assert_eq!(
            enc(RistrettoPoint::from_uniform_bytes(&wide)),
            bytes32(&case["output"])
        );
    }
}

//! Threshold BLS certificates and the beacon (PROTOCOL §5).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use blst::min_pk;
use common::{block, cases, finalized, quorums, rng};
use fairlane_encryption::{
    AcceptedShare, BaekZhengKey, CERTIFICATE_DST, CertificateKey, CertificateSecret,
    CertificateShare, CombineError, KeyError, PairingKey, PairingShare, STATE_ATTESTATION_BYTES,
    ShareError, Signing, StateAttestation, StateRoots, Subject, ThresholdCertificate,
    accept_certificate_share, certify, deal_pairing_insecure, sign_attestation, sign_beacon,
    sign_state, threshold, verify_certificate_share,
};
use fairlane_types::{ChainId, Digest, Epoch, Height, MemberId, Root, encode};
use proptest::prelude::*;

const CHAIN: ChainId = ChainId(7);
const EPOCH: Epoch = Epoch(2);
const HEIGHT: Height = Height(9);

fn root() -> Root {
    Root(Digest([4; 32]))
}

fn attest() -> Subject {
    Subject::Attest {
        chain: CHAIN,
        epoch: EPOCH,
        height: HEIGHT,
        root: root(),
    }
}

fn beacon() -> Subject {
    Subject::Beacon {
        chain: CHAIN,
        epoch: EPOCH,
        height: HEIGHT,
        block: block(4),
    }
}

fn deal(n: usize) -> (CertificateKey, Vec<CertificateSecret>) {
    deal_pairing_insecure(EPOCH, n, &mut rng(n as u64)).unwrap()
}

/// A contract is written after these bytes.
#[test]
fn a_state_is_signed_under_a_tag_of_its_own_and_with_all_it_says() {
    let (key, secrets) = deal(4);
    let roots = StateRoots {
        genesis: Digest([1; 32]),
        state_root: Digest([2; 32]),
        receipts_root: Digest([3; 32]),
    };
    let shares: Vec<_> = secrets[1..]
        .iter()
        .map(|secret| {
            let share = sign_state(secret, CHAIN, EPOCH, HEIGHT, roots.digest());
            accept_certificate_share(&key, secret.member(), &share).unwrap()
        })
        .collect();
    let mut attested = StateAttestation {
        epoch: EPOCH,
        height: HEIGHT,
        roots,
        certificate: ThresholdCertificate([0; 96]),
    };
    let subject = attested.subject(CHAIN);
    let message = subject.message();
    assert_eq!(&message[..24], b"FAIRLANE V1 STATE\0\0\0\0\0\0\0");
    assert_eq!((message.len(), &message[48..]), (80, &roots.digest().0[..]));
    attested.certificate = certify(&key, &subject, &shares)
        .unwrap()
        .certificate
        .unwrap();
    let holds = |a: &StateAttestation, chain| a.verify(key.public_key(), chain);
    assert!(holds(&attested, CHAIN) && !holds(&attested, ChainId(8)));
    let bytes = encode(&attested);
    assert_eq!(bytes.len(), STATE_ATTESTATION_BYTES);
    // No byte of it can be another one.
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let other: StateAttestation = fairlane_types::decode(&other, bytes.len()).unwrap();
        assert!(!holds(&other, CHAIN), "byte {at}");
    }
}

fn attested(key: &CertificateKey, secret: &CertificateSecret) -> AcceptedShare {
    let share = sign_attestation(secret, CHAIN, EPOCH, HEIGHT, root());
    accept_certificate_share(key, secret.member(), &share).unwrap()
}

#[test]
fn every_quorum_gives_the_same_certificate() {
    for n in [1, 4, 7] {
        let (key, secrets) = deal(n);
        let shares: Vec<_> = secrets
            .iter()
            .map(|secret| attested(&key, secret))
            .collect();
        let mut found: Option<ThresholdCertificate> = None;
        for quorum in quorums(n, threshold(n)) {
            let used: Vec<_> = quorum.iter().map(|m| shares[*m].clone()).collect();
            let done = certify(&key, &attest(), &used).unwrap();
            assert_eq!((done.missing, &done.liars[..]), (0, &[][..]));
            let certificate = done.certificate.unwrap();
            assert!(certificate.verify(key.public_key(), &attest()));
            assert_eq!(*found.get_or_insert(certificate), certificate);
        }
        let certificate = found.unwrap();
        // Bound to everything it says, and to its kind.
        let Subject::Attest {
            chain,
            epoch,
            height,
            root,
        } = attest()
        else {
            panic!("attest")
        };
        let others = [
            Subject::Attest {
                chain: ChainId(8),
                epoch,
                height,
                root,
            },
            Subject::Attest {
                chain,
                epoch: Epoch(3),
                height,
                root,
            },
            Subject::Attest {
                chain,
                epoch,
                height: Height(10),
                root,
            },
            Subject::Attest {
                chain,
                epoch,
                height,
                root: Root(Digest([5; 32])),
            },
            beacon(),
            // The same 32 bytes, said of a state.
            Subject::State {
                chain,
                epoch,
                height,
                state: root.0,
            },
        ];
        for other in others {
            assert!(!certificate.verify(key.public_key(), &other));
        }
        let (foreign, _) = deal(n + 3);
        assert!(!certificate.verify(foreign.public_key(), &attest()));
    }
}

/// The signature is the one that `blst` makes with the whole secret: an ordinary signature
/// of Ethereum's ciphersuite.
#[test]
fn certificates_are_ordinary_signatures() {
    // n = 1: the share is the secret.
    let (key, secrets) = deal(1);
    let done = certify(&key, &attest(), &[attested(&key, &secrets[0])]).unwrap();
    let mut secret = *secrets[0].expose_secret();
    secret.reverse();
    let secret = min_pk::SecretKey::from_bytes(&secret).unwrap();
    assert_eq!(secret.sk_to_pk().to_bytes(), *key.public_key());
    let want = secret.sign(&attest().message(), CERTIFICATE_DST, &[]);
    assert_eq!(done.certificate.unwrap().0, want.to_bytes());
}

#[test]
fn beacon_shares_wait_for_finality_and_beacons_agree() {
    let (key, secrets) = deal(4);
    let shares: Vec<_> = secrets
        .iter()
        .map(|secret| {
            let sealed = sign_beacon(secret, CHAIN, EPOCH, HEIGHT, block(4));
            let sealed = sealed.take(&finalized(block(5))).unwrap_err();
            let share = sealed.take(&finalized(block(4))).unwrap();
            accept_certificate_share(&key, secret.member(), &share).unwrap()
        })
        .collect();
    let first = certify(&key, &beacon(), &shares[..3]).unwrap();
    let second = certify(&key, &beacon(), &shares[1..]).unwrap();
    let (first, second) = (first.certificate.unwrap(), second.certificate.unwrap());
    assert_eq!(first.beacon(), second.beacon());
    let attested: Vec<_> = secrets
        .iter()
        .map(|secret| attested(&key, secret))
        .collect();
    let attestation = certify(&key, &attest(), &attested)
        .unwrap()
        .certificate
        .unwrap();
    assert_ne!(attestation.beacon(), first.beacon());
}

#[test]
fn liars_are_named_and_cost_a_retry() {
    for n in [4, 7] {
        let (key, secrets) = deal(n);
        let f = (n - 1) / 3;
        let honest: Vec<_> = secrets
            .iter()
            .map(|secret| attested(&key, secret))
            .collect();
        let want = certify(&key, &attest(), &honest).unwrap().certificate;
        let mut shares = honest.clone();
        for (liar, secret) in secrets.iter().enumerate().take(f) {
            // A right share of something else.
            let share = sign_attestation(secret, CHAIN, EPOCH, Height(1), root());
            shares[liar] = accept_certificate_share(&key, secret.member(), &share).unwrap();
            assert_eq!(
                verify_certificate_share(&key, &attest(), &shares[liar]),
                Err(ShareError::BadBatchProof)
            );
        }
        let liars: Vec<_> = (0..f).map(|liar| MemberId(liar as u8)).collect();
        let done = certify(&key, &attest(), &shares).unwrap();
        assert_eq!(
            (done.certificate, &done.liars, done.missing),
            (want, &liars, 0)
        );
        // Liars that come last are never looked at.
        let late: Vec<_> = shares.iter().rev().cloned().collect();
        let done = certify(&key, &attest(), &late).unwrap();
        assert_eq!((done.certificate, done.liars.len()), (want, 0));
        // Without enough others they are named all the same, and nothing is certified.
        let few = certify(&key, &attest(), &shares[..threshold(n)]).unwrap();
        assert_eq!((few.certificate, few.missing), (None, f));
        assert_eq!(few.liars, liars);
        // One short; and a member twice is one member.
        let short = vec![honest[0].clone(); 3 * n];
        let done = certify(&key, &attest(), &short).unwrap();
        assert_eq!((done.certificate, done.missing), (None, threshold(n) - 1));
    }
}

#[test]
fn foreign_shares_are_refused() {
    let (key, secrets) = deal(4);
    let share = sign_attestation(&secrets[1], CHAIN, EPOCH, HEIGHT, root());
    let accept = |from, share: &CertificateShare| {
        accept_certificate_share(&key, MemberId(from), share).map(|_| ())
    };
    assert_eq!(accept(1, &share), Ok(()));
    let wrong = Err(ShareError::WrongMember(MemberId(1)));
    assert_eq!(accept(2, &share), wrong);
    let mut stranger = share.clone();
    stranger.member = MemberId(4);
    assert_eq!(
        accept(4, &stranger),
        Err(ShareError::WrongMember(MemberId(4)))
    );
    let mut identity = share.clone();
    identity.signature = [0; 96];
    identity.signature[0] = 0xc0;
    assert_eq!(accept(1, &identity), Err(ShareError::BadEncoding(0)));
    identity.signature = [0xff; 96];
    assert_eq!(accept(1, &identity), Err(ShareError::BadEncoding(0)));
    let (foreign, others) = deal(7);
    let theirs = sign_attestation(&others[1], CHAIN, EPOCH, HEIGHT, root());
    assert_eq!(accept(1, &theirs), Err(ShareError::WrongKey));
    let theirs = accept_certificate_share(&foreign, MemberId(1), &theirs).unwrap();
    assert_eq!(
        certify(&key, &attest(), &[theirs]),
        Err(CombineError::Mixed(MemberId(1)))
    );
    // Shares load for their own key only, and keys of one purpose are not of the other.
    let bytes = encode(&secrets[2]);
    let share: PairingShare<Signing> = borsh::from_slice(&bytes).unwrap();
    assert_eq!(share.belongs_to(&key), Ok(()));
    assert_eq!(
        share.belongs_to(&foreign),
        Err(KeyError::ShareMismatch {
            member: MemberId(2)
        })
    );
    let encryption: BaekZhengKey = borsh::from_slice(&encode(&key)).unwrap();
    assert_ne!(encryption.id(), key.id());
    let secret = share.expose_secret();
    assert!(CertificateSecret::new(&key, MemberId(2), &secret).is_ok());
    assert!(CertificateSecret::new(&key, MemberId(1), &secret).is_err());
    assert!(!format!("{share:?}").contains(&hex::encode(&secret[..4])));
}

#[test]
fn keys_that_are_none_are_refused() {
    let (key, _) = deal(4);
    let coefficients = key.coefficients().to_vec();
    let new =
        |n, coefficients| PairingKey::<Signing>::new(EPOCH, n, coefficients).map(|key| key.id());
    assert_eq!(new(4, coefficients.clone()), Ok(key.id()));
    assert!(matches!(
        new(7, coefficients.clone()),
        Err(KeyError::Threshold { .. })
    ));
    assert_eq!(
        new(0, coefficients.clone()),
        Err(KeyError::Members { got: 0 })
    );
    let mut identity = [0; 48];
    identity[0] = 0xc0;
    let mut none = coefficients.clone();
    none[0] = identity;
    assert_eq!(new(4, none), Err(KeyError::Identity));
    let mut none = coefficients.clone();
    none[1] = [0xff; 48];
    assert_eq!(new(4, none), Err(KeyError::NonCanonicalPoint));
    let reshared = PairingKey::<Signing>::reshared(key.id(), Epoch(3), 4, coefficients.clone());
    let reshared = reshared.unwrap();
    assert_eq!(reshared.id(), key.id());
    assert_ne!(reshared.sharing(), key.sharing());
    let again: CertificateKey = borsh::from_slice(&encode(&reshared)).unwrap();
    assert_eq!(
        (again.id(), again.sharing()),
        (key.id(), reshared.sharing())
    );
    assert_eq!(
        PairingKey::<Signing>::reshared(key.id(), EPOCH, 4, coefficients).unwrap_err(),
        KeyError::Inconsistent
    );
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn decoders_take_one_encoding(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        pick in 0_usize..4,
    ) {
        let (key, secrets) = deal(4);
        let share = sign_attestation(&secrets[0], CHAIN, EPOCH, HEIGHT, root());
        let certificate = ThresholdCertificate(share.signature);
        let mut bytes = [encode(&key), encode(&share), encode(&certificate), encode(&secrets[1])]
            [pick].clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(key) = borsh::from_slice::<CertificateKey>(&bytes) {
            prop_assert_eq!(encode(&key), &bytes[..]);
        }
        if let Ok(secret) = borsh::from_slice::<CertificateSecret>(&bytes) {
            prop_assert_eq!(encode(&secret), &bytes[..]);
        }
        if let Ok(share) = borsh::from_slice::<CertificateShare>(&bytes) {
            prop_assert_eq!(encode(&share), &bytes[..]);
            if let Ok(share) = accept_certificate_share(&key, share.member, &share) {
                let _ = verify_certificate_share(&key, &attest(), &share);
            }
        }
        if let Ok(certificate) = borsh::from_slice::<ThresholdCertificate>(&bytes) {
            prop_assert!(!certificate.verify(key.public_key(), &attest()));
        }
    }
}

//! Every decoder of this crate, on random bytes and on mutated valid encodings: no panic,
//! and whatever is accepted encodes to exactly the bytes it came from.

#![allow(clippy::unwrap_used, clippy::panic)]

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{
    Certificate, CertificateKind, ChainId, Committee, CtId, Digest, Envelope, Epoch, Height, Item,
    KeyId, LABEL_BYTES, LANE_NONE, Label, MemberId, MerkleProof, Micros, Millis, Order,
    OrderAction, Outcome, Position, PublicKey, Receipt, Root, SUITE_TDH2, SecretKey, Seq,
    SequencedBlock, Side, Signature, SignerSet, TimeInForce, View, decode, encode,
};
use proptest::prelude::*;

const LIMIT: usize = 1 << 16;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn label() -> Label {
    Label {
        suite: SUITE_TDH2,
        chain: ChainId(7),
        key_id: KeyId(Digest([3; 32])),
        sender: key(1).public(),
        nonce: 9,
        expiry: Millis(1_000),
        fee: 0,
        lane: LANE_NONE,
        reserved: [0; 19],
    }
}

fn envelope() -> Envelope {
    Envelope::sign(label(), vec![5; 200], &key(1))
}

fn certificate() -> Certificate {
    Certificate {
        kind: CertificateKind::Final,
        epoch: Epoch(0),
        view: View(4),
        height: Height(3),
        block: Default::default(),
        signers: SignerSet(0b0111),
        dirty: SignerSet(0),
        signatures: vec![Signature([1; 64]); 3],
    }
}

fn block() -> SequencedBlock {
    let outcomes = [
        Outcome::Expired,
        Outcome::DuplicateNonce,
        Outcome::Undecryptable,
        Outcome::Opened {
            payload: vec![1, 2, 3],
            opening: [4; 32],
        },
    ];
    let items = outcomes.into_iter().enumerate().map(|(i, outcome)| Item {
        position: Position(i as u64),
        label: label(),
        ct_id: envelope().id(),
        stamp: Micros(77),
        outcome,
    });
    SequencedBlock {
        chain: ChainId(7),
        epoch: Epoch(0),
        height: Height(1),
        block: Default::default(),
        time: Millis(12),
        parent_root: Root::default(),
        first_position: Position(0),
        items: items.collect(),
        state: Some(Digest([8; 32])),
        root: Root::default(),
    }
    .sealed()
}

fn receipt() -> Receipt {
    Receipt {
        chain: ChainId(7),
        epoch: Epoch(0),
        ct_id: CtId::default(),
        lane: MemberId(2),
        seq: Seq(5),
        entry: 6,
        stamp: Micros(8),
        signature: Signature::default(),
    }
    .signed(&key(2))
}

fn order() -> Order {
    Order::new(OrderAction::Place {
        market: 1,
        side: Side::Sell,
        price_ticks: 100,
        lots: 5,
        tif: TimeInForce::PostOnly,
        reduce_only: true,
        cloid: 11,
    })
}

fn committee() -> Committee {
    Committee::new((0..4).map(|i| key(i).public()).collect()).unwrap()
}

fn canonical<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes, LIMIT) {
        assert_eq!(encode(&value), bytes, "a second encoding was accepted");
    }
}

fn all(bytes: &[u8]) {
    canonical::<Label>(bytes);
    canonical::<Envelope>(bytes);
    canonical::<Certificate>(bytes);
    canonical::<SequencedBlock>(bytes);
    canonical::<Receipt>(bytes);
    canonical::<Order>(bytes);
    canonical::<Committee>(bytes);
    canonical::<MerkleProof>(bytes);
    canonical::<SignerSet>(bytes);
    canonical::<PublicKey>(bytes);
    if let Ok(order) = Order::from_bytes(bytes) {
        assert_eq!(order.to_bytes(), bytes);
    }
}

fn samples() -> Vec<Vec<u8>> {
    vec![
        encode(&label()),
        encode(&envelope()),
        encode(&certificate()),
        encode(&block()),
        encode(&receipt()),
        encode(&order()),
        encode(&committee()),
    ]
}

#[test]
fn valid_encodings_round_trip_and_reject_every_truncation_and_extension() {
    assert_eq!(encode(&label()).len(), LABEL_BYTES);
    assert_eq!(encode(&envelope()).len(), envelope().encoded_len());
    for sample in samples() {
        all(&sample);
        let mut longer = sample.clone();
        longer.push(0);
        all(&longer);
        for cut in 0..sample.len() {
            all(&sample[..cut]);
        }
    }
    assert!(decode::<Receipt>(&encode(&receipt()), 10).is_err());
    assert!(decode::<Receipt>(&[encode(&receipt()), vec![0]].concat(), LIMIT).is_err());
}

#[test]
fn receipts_and_envelopes_verify_and_fail_on_every_altered_byte() {
    receipt()
        .signature_check(&key(2).public())
        .verify()
        .unwrap();
    let bytes = encode(&receipt());
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let receipt: Receipt = decode(&altered, LIMIT).unwrap();
        assert!(
            receipt.signature_check(&key(2).public()).verify().is_err(),
            "byte {at}"
        );
    }
    let bytes = encode(&envelope());
    envelope().signature_check().verify().unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        if let Ok(envelope) = decode::<Envelope>(&altered, LIMIT) {
            assert!(envelope.signature_check().verify().is_err(), "byte {at}");
        }
    }
}

#[test]
fn certificates_need_a_quorum_of_members_with_valid_signatures() {
    use fairlane_types::{CertificateError, Commit};
    let (chain, committee) = (ChainId(7), committee());
    let base = certificate();
    let commit = Commit {
        epoch: base.epoch,
        view: base.view,
        height: base.height,
        block: base.block,
    };
    let signatures = (0..3).map(|i| commit.sign(&key(i), chain)).collect();
    let good = Certificate { signatures, ..base };
    let entropy = [9; 32];
    let token = good.finalize(chain, &committee, &entropy).unwrap();
    assert_eq!((token.block(), token.height()), (good.block, good.height));
    good.finalize(ChainId(8), &committee, &entropy).unwrap_err();

    let mut few = good.clone();
    few.signers.remove(MemberId(2));
    few.signatures.pop();
    assert_eq!(
        few.verify(chain, &committee, &entropy),
        Err(CertificateError::NoQuorum { have: 2, need: 3 })
    );
    let mut stranger = good.clone();
    stranger.signers = SignerSet(0b1_0011);
    assert_eq!(
        stranger.verify(chain, &committee, &entropy),
        Err(CertificateError::Signers)
    );
    let mut swapped = good.clone();
    swapped.signers = SignerSet(0b1011);
    assert_eq!(
        swapped.verify(chain, &committee, &entropy),
        Err(CertificateError::Signature)
    );
    let mut other = good.clone();
    other.kind = CertificateKind::Notarization;
    assert_eq!(
        other.finalize(chain, &committee, &entropy),
        Err(CertificateError::NotFinal)
    );
    assert_eq!(
        other.verify(chain, &committee, &entropy),
        Err(CertificateError::Signature)
    );
    let mut skip = good;
    skip.kind = CertificateKind::Skip;
    assert_eq!(
        skip.verify(chain, &committee, &entropy),
        Err(CertificateError::Shape)
    );
}

/// Small-order points and non-canonical encodings, on which acceptance rules differ
/// (Chalkias et al., SSR 2020): single and batch verification must say the same.
#[test]
fn single_and_batch_verification_agree_on_edge_cases() {
    use fairlane_types::{SigCheck, verify_batch, verify_each};
    let small_order = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let honest = key(3).public().check(
        fairlane_types::Domain::Vote,
        ChainId(1),
        Epoch(0),
        b"x",
        key(3).sign(fairlane_types::Domain::Vote, ChainId(1), Epoch(0), b"x"),
    );
    let mut accepted = 0;
    for a in small_order {
        for r in small_order {
            let key: PublicKey = a.parse().unwrap();
            let mut signature = Signature::default();
            signature.0[..32].copy_from_slice(&r.parse::<PublicKey>().unwrap().0);
            let check = SigCheck {
                key,
                message: b"edge".to_vec(),
                signature,
            };
            let single = check.verify().is_ok();
            accepted += usize::from(single);
            let pair = [honest.clone(), check];
            assert_eq!(verify_batch(&pair, &[1; 32]), single, "key {a}, R {r}");
            assert_eq!(
                verify_each(&pair, &[2; 32]),
                if single { vec![] } else { vec![1] }
            );
        }
    }
    // ZIP-215 is cofactored: every such pair is accepted, and nothing depends on a hash.
    assert_eq!(accepted, small_order.len() * small_order.len());
}

#[test]
fn bisection_names_exactly_the_bad_signatures() {
    use fairlane_types::verify_each;
    let mut checks: Vec<_> = (0..17u8).map(receipt_check).collect();
    for bad in [0, 5, 16] {
        checks[bad].signature.0[3] ^= 1;
    }
    assert_eq!(verify_each(&checks, &[7; 32]), vec![0, 5, 16]);
    assert!(verify_each(&[], &[7; 32]).is_empty());
}

fn receipt_check(i: u8) -> fairlane_types::SigCheck {
    receipt().signed(&key(i)).signature_check(&key(i).public())
}

#[test]
fn sequenced_blocks_chain_by_root_position_and_height() {
    let first = block();
    let mut second = block();
    second.height = Height(2);
    second.parent_root = first.root;
    second.first_position = first.next_position();
    for (i, item) in second.items.iter_mut().enumerate() {
        item.position = first.next_position().plus(i as u64);
    }
    let second = second.sealed();
    assert!(second.follows(&first));
    let mut forged = second.clone();
    forged.items[3].outcome = Outcome::Opened {
        payload: vec![9],
        opening: [4; 32],
    };
    assert!(!forged.follows(&first));
    assert!(!forged.sealed().follows(&second));
    let mut gap = second;
    gap.height = Height(3);
    assert!(!gap.sealed().follows(&first));
}

#[test]
fn orders_of_zero_price_or_size_or_unknown_version_are_refused() {
    use fairlane_types::OrderError;
    assert_eq!(Order::from_bytes(&order().to_bytes()), Ok(order()));
    let mut bytes = order().to_bytes();
    bytes[0] = 2;
    assert_eq!(Order::from_bytes(&bytes), Err(OrderError::Version(2)));
    let zero = Order::new(OrderAction::Place {
        market: 1,
        side: Side::Buy,
        price_ticks: 0,
        lots: 1,
        tif: TimeInForce::Gtc,
        reduce_only: false,
        cloid: 0,
    });
    assert_eq!(Order::from_bytes(&zero.to_bytes()), Err(OrderError::Zero));
}

proptest! {
    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        all(&bytes);
    }

    #[test]
    fn mutated_encodings(
        which in 0..7usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        tail in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = samples().swap_remove(which);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.extend(tail);
        all(&bytes);
    }
}

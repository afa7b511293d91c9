//! Frames from peers: random bytes and mutated valid ones give a message or a typed
//! error, never a panic, and nothing has two encodings.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use fairlane_consensus::{self as consensus, HintedSkip, Signed};
use fairlane_encryption::{
    Beacon, CertificateShare, KeyBatch, KeyPoint, StateAttestation, StateRoots, SuiteBatch,
    ThresholdCertificate,
};
use fairlane_mempool::{Batch, Holdings, LaneMessage};
use fairlane_replica::{
    AttestShare, BeaconShare, Class, Dealing, KeyMessage, Message, MessageError, ShareMessage,
};
use fairlane_types::{
    BlockId, CommitteeChange, Digest, Epoch, Height, KeyId, MemberId, MemberSignature, Micros,
    NextCommittee, QuorumWord, Seq, Signature, SignerSet, Skip, View, Vote, encode,
};
use proptest::prelude::*;

fn consensus(message: consensus::Message<fairlane_replica::CutPayload>) -> Message {
    Message::Consensus(Box::new(message))
}

fn samples() -> Vec<Message> {
    let signature = Signature([3; 64]);
    let vote = Vote {
        epoch: Epoch(0),
        view: View(4),
        block: Default::default(),
        dirty: true,
    };
    let skip = Skip {
        epoch: Epoch(0),
        view: View(5),
    };
    let batch = Batch {
        epoch: Epoch(0),
        lane: MemberId(1),
        seq: Seq(7),
        parent: Default::default(),
        stamp: Micros(99),
        entries: Vec::new(),
        payloads: Vec::new(),
        holdings: Holdings::of(&[(Seq(3), Default::default()); 4]),
        signature,
    };
    let shares: SuiteBatch = {
        // suite ‖ key ‖ block ‖ member ‖ two shares ‖ proof, all zero: it decodes or it does
        // not, and either way without a panic.
        let mut bytes = vec![0; 1 + 32 + 32 + 1];
        bytes.extend(2u32.to_le_bytes());
        bytes.extend([0; 64 + 64]);
        borsh::from_slice(&bytes).expect("zero scalars and any share bytes are canonical")
    };
    let shares = ShareMessage {
        height: Height(3),
        slice: 1,
        list: Digest([1; 32]),
        batch: shares,
        signature,
    };
    vec![
        consensus(consensus::Message::Vote(Signed {
            statement: vote,
            signature,
        })),
        consensus(consensus::Message::Skip(HintedSkip {
            skip: Signed {
                statement: skip,
                signature,
            },
            missing: SignerSet(5),
        })),
        consensus(consensus::Message::GetBlocks {
            from: Height(9),
            count: 3,
        }),
        Message::Lane(LaneMessage::Batch(Arc::new(batch))),
        Message::Lane(LaneMessage::GetPayloads(vec![Default::default(); 3])),
        Message::Shares(Arc::new(shares)),
        Message::Keys(Arc::new(KeyMessage {
            height: Height(3),
            slice: 2,
            batch: KeyBatch {
                key: KeyId::default(),
                block: BlockId::default(),
                member: MemberId(1),
                points: vec![KeyPoint {
                    order: 0,
                    point: [9; 32],
                }],
            },
        })),
        Message::GetShares {
            from: Height(2),
            count: 9,
        },
        Message::Emitted(Height(7)),
        Message::Attest(Arc::new(AttestShare {
            height: Height(7),
            share: CertificateShare {
                key: Default::default(),
                member: MemberId(2),
                signature: [3; 96],
            },
        })),
        Message::Dealing(Arc::new(Dealing {
            dealer: MemberId(2),
            deal: vec![7; 40],
            signature,
        })),
        Message::KeyMade(signature),
        Message::Beacon(Arc::new(BeaconShare {
            height: Height(7),
            share: CertificateShare {
                key: Default::default(),
                member: MemberId(2),
                signature: [3; 96],
            },
        })),
        Message::Beaconed(Box::new(Beacon {
            epoch: Epoch(1),
            height: Height(7),
            block: Default::default(),
            certificate: ThresholdCertificate([5; 96]),
        })),
        Message::Change(Arc::new(CommitteeChange {
            next: NextCommittee {
                chain: Default::default(),
                epoch: Epoch(1),
                key: fairlane_types::NextKey::Fresh,
                members: Vec::new(),
            },
            approved: Default::default(),
        })),
        Message::Handover(signature),
        Message::Handed(Arc::new(QuorumWord {
            signatures: vec![MemberSignature {
                member: MemberId(2),
                signature,
            }],
        })),
        Message::AttestState(Arc::new(AttestShare {
            height: Height(16),
            share: CertificateShare {
                key: Default::default(),
                member: MemberId(1),
                signature: [5; 96],
            },
        })),
        Message::AttestedState(Box::new(StateAttestation {
            epoch: Default::default(),
            height: Height(8),
            roots: StateRoots {
                genesis: Default::default(),
                state_root: Default::default(),
                receipts_root: Default::default(),
            },
            certificate: ThresholdCertificate([6; 96]),
        })),
    ]
}

fn any_class(bytes: &[u8]) {
    for class in Class::ALL {
        if let Ok(message) = Message::from_frame(class, bytes) {
            assert_eq!(message.to_frame(), bytes, "a second encoding was accepted");
            assert_eq!(message.class(), class);
        }
    }
}

#[test]
fn each_message_is_taken_on_its_own_stream_only() {
    for message in samples() {
        let frame = encode(&message);
        for class in Class::ALL {
            match Message::from_frame(class, &frame) {
                Ok(decoded) => assert_eq!((decoded, class), (message.clone(), message.class())),
                Err(error) => {
                    assert!(matches!(error, MessageError::Class { .. }), "{error}");
                    assert_ne!(class, message.class());
                }
            }
        }
        for cut in 0..frame.len() {
            any_class(&frame[..cut]);
        }
    }
}

proptest! {
    #[test]
    fn random_frames(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
        any_class(&bytes);
    }

    #[test]
    fn mutated_frames(
        which in 0..samples().len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        tail in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = samples().swap_remove(which).to_frame();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.extend(tail);
        any_class(&bytes);
    }
}

//! An epoch that ends, and what leads on from it, under nobody's signature.

use fairlane_encryption::{SuiteKey, SuiteSecret, deal_suite_insecure};
use fairlane_mempool::fair;
use fairlane_replica::EpochBase;
use fairlane_types::{
    ActiveKeys, BlockId, ChainId, CommitteeChange, Digest, EncryptionParams, Epoch, EpochStart,
    Genesis, Handover, Height, MemberId, Millis, NextCommittee, NextKey, NextMember, Position,
    QuorumWord, ReceiverBytes, Root, Scheme, SecretKey, SeededRng, Signature,
};

/// Key and shares of [`genesis`].
#[must_use]
pub fn keys() -> (SuiteKey, Vec<SuiteSecret>) {
    let mut rng = SeededRng::new(&[5; 32], b"epochs");
    deal_suite_insecure(Scheme::Tdh2, Epoch(0), 4, &mut rng).expect("four members")
}

/// Of the epoch that ends.
#[must_use]
pub fn genesis() -> Genesis {
    let key = keys().0;
    let members = (1..5).map(|seed| SecretKey::from_seed([seed; 32]).public());
    Genesis {
        chain: ChainId(1),
        time: Millis(1),
        experiment: true,
        start: None,
        members: members.collect(),
        encryption: EncryptionParams::dealt(Scheme::Tdh2, key.id(), key.to_bytes()),
        certificates: None,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    }
}

/// A change that nobody approved.
#[must_use]
pub fn change() -> CommitteeChange {
    let member = |seed: u8| NextMember {
        identity: SecretKey::from_seed([seed; 32]).public(),
        receiver: ReceiverBytes([seed; 32]),
        quic: "127.0.0.1:1".to_owned(),
        api: "http://127.0.0.1:2".to_owned(),
    };
    let next = NextCommittee {
        chain: ChainId(1),
        epoch: Epoch(1),
        key: NextKey::Kept,
        members: (11..15).map(member).collect(),
    };
    CommitteeChange {
        next,
        approved: word(),
    }
}

fn word() -> QuorumWord {
    let mut word = QuorumWord::default();
    for member in 0..3 {
        word.add(MemberId(member), Signature([1; 64]));
    }
    word
}

/// What the epoch after begins with, but for signatures and dealings.
#[must_use]
pub fn base() -> EpochBase {
    let (before, next) = (genesis(), change().next);
    let memory = fair::rule(4, 1, &before.order).memory();
    let start = EpochStart {
        epoch: Epoch(1),
        origin: before.origin(),
        before: before.hash(),
        height: Height(5),
        block: BlockId::default(),
        root: Root::default(),
        position: Position(0),
        committee: next.digest(),
        memory: Digest::default(),
        dealings: Digest::default(),
    };
    let old_keys = ActiveKeys {
        encryption: before.encryption.public_key.clone(),
        certificate: Vec::new(),
    };
    let key = keys().0.id();
    let genesis = before.next(&next, start, Millis(2), (key, &old_keys), None);
    let handover = Handover {
        genesis,
        word: word(),
    };
    EpochBase {
        handover,
        next,
        memory,
        old_keys,
        dealings: Vec::new(),
    }
}

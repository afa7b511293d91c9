//! What a committee says of the next one: only a quorum can, and only for what follows.

#![allow(clippy::unwrap_used)]

use fairlane_types::{
    ActiveKeys, BlockId, ChainId, CommitteeChange, Digest, EncryptionParams, Epoch, EpochStart,
    Genesis, Handover, HandoverError, Height, KeyId, MemberId, Millis, NextCommittee, NextKey,
    NextMember, Position, QuorumWord, ReceiverBytes, ReceiverReuse, Root, Scheme, SecretKey,
    UsedReceivers, decode, encode,
};
use proptest::prelude::*;

const CHAIN: ChainId = ChainId(9);

fn keys(from: u8, n: u8) -> Vec<SecretKey> {
    (from..from + n)
        .map(|seed| SecretKey::from_seed([seed; 32]))
        .collect()
}

fn first(members: &[SecretKey]) -> Genesis {
    Genesis {
        chain: CHAIN,
        time: Millis(1_000),
        experiment: true,
        start: None,
        members: members.iter().map(SecretKey::public).collect(),
        encryption: EncryptionParams::dealt(Scheme::Tdh2, KeyId::default(), vec![1]),
        certificates: None,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    }
}

/// Each member has another key for dealings in every epoch.
fn receiver(epoch: u64, key: &SecretKey) -> ReceiverBytes {
    let mut bytes = key.public().0;
    bytes[31] = epoch as u8;
    ReceiverBytes(bytes)
}

fn next(epoch: u64, members: &[SecretKey]) -> NextCommittee {
    let member = |key: &SecretKey| NextMember {
        identity: key.public(),
        receiver: receiver(epoch, key),
        quic: "host:1".to_owned(),
        api: "http://host:2".to_owned(),
    };
    NextCommittee {
        chain: CHAIN,
        epoch: Epoch(epoch),
        key: NextKey::Kept,
        members: members.iter().map(member).collect(),
    }
}

fn approved(change: NextCommittee, by: &[(usize, &SecretKey)]) -> CommitteeChange {
    let mut word = QuorumWord::default();
    for (id, key) in by {
        word.add(MemberId(*id as u8), change.approve(*key));
    }
    CommitteeChange {
        next: change,
        approved: word,
    }
}

/// The genesis after `before`, signed by its members `by`.
fn handed_over(before: &Genesis, to: &NextCommittee, by: &[(usize, &SecretKey)]) -> Handover {
    let start = EpochStart {
        epoch: before.epoch().next(),
        origin: before.origin(),
        before: before.hash(),
        height: before.base().plus(10),
        block: BlockId::default(),
        root: Root::default(),
        position: Position(3),
        committee: to.digest(),
        memory: Digest::default(),
        dealings: Digest::default(),
    };
    let keys = ActiveKeys {
        encryption: vec![2],
        certificate: Vec::new(),
    };
    let (id, key) = match to.key {
        NextKey::Kept => (KeyId::default(), None),
        NextKey::Fresh => {
            let id = KeyId(Digest([to.epoch.0 as u8; 32]));
            (id, before.encryption.key_id.map(|old| (old, &[7_u8][..])))
        }
    };
    let genesis = before.next(to, start, before.time.plus(5), (id, &keys), key);
    let mut word = QuorumWord::default();
    for (id, key) in by {
        let signature = Handover::sign(*key, before.epoch(), &genesis);
        word.add(MemberId(*id as u8), signature);
    }
    Handover { genesis, word }
}

fn quorum(keys: &[SecretKey], count: usize) -> Vec<(usize, &SecretKey)> {
    keys.iter().enumerate().take(count).collect()
}

#[test]
fn a_change_needs_a_quorum_of_the_present_committee() {
    let (old, new) = (keys(1, 4), keys(11, 7));
    let committee = first(&old).validate().unwrap();
    let good = approved(next(1, &new), &quorum(&old, 3));
    assert!(good.fits(CHAIN, Epoch(0), &committee));
    assert_eq!(good.verify(&committee), Ok(()));
    // Too few, the wrong ones, another epoch, another chain, one twice.
    assert!(!approved(next(1, &new), &quorum(&old, 2)).fits(CHAIN, Epoch(0), &committee));
    let strangers = approved(next(1, &new), &quorum(&new, 3));
    assert!(strangers.verify(&committee).is_err());
    assert!(!good.fits(CHAIN, Epoch(1), &committee));
    assert!(!good.fits(ChainId(8), Epoch(0), &committee));
    let mut twice = good.clone();
    twice.approved.signatures[1] = twice.approved.signatures[0];
    assert!(!twice.fits(CHAIN, Epoch(0), &committee) && twice.verify(&committee).is_err());
    // Approved for one committee, used for another.
    let mut other = good;
    other.next.members.pop();
    assert!(other.verify(&committee).is_err());
}

/// Follows hand-overs as a client does and returns the genesis of the last one.
fn follow_handovers(
    origin: &Genesis,
    handovers: impl IntoIterator<Item = Handover>,
) -> Result<Genesis, HandoverError> {
    let mut at = origin.clone();
    for handover in handovers {
        handover.verify(&at)?;
        at = handover.genesis;
    }
    Ok(at)
}

#[test]
fn hand_overs_lead_from_the_first_genesis_to_the_present_committee() {
    let (one, two, three) = (keys(1, 4), keys(11, 7), keys(31, 4));
    let origin = first(&one);
    let a = handed_over(&origin, &next(1, &two), &quorum(&one, 3));
    let b = handed_over(&a.genesis, &next(2, &three), &quorum(&two, 5));
    let at = follow_handovers(&origin, [a.clone(), b.clone()]).unwrap();
    assert_eq!((at.epoch(), at.origin()), (Epoch(2), origin.hash()));
    assert_eq!(at.base(), Height(20));
    assert_eq!(at.members.len(), 4);
    // Left out, signed by too few, or by the committee that comes.
    assert!(follow_handovers(&origin, [b.clone()]).is_err());
    let few = handed_over(&origin, &next(1, &two), &quorum(&one, 2));
    assert!(matches!(few.verify(&origin), Err(HandoverError::Word(_))));
    let own = handed_over(&origin, &next(1, &two), &quorum(&two, 3));
    assert!(own.verify(&origin).is_err());
    assert!(b.verify(&origin).is_err());
    // It may not go back, nor skip an epoch.
    let mut back = a;
    let start = back.genesis.start.as_mut().unwrap();
    start.height = Height(0);
    assert!(matches!(
        back.verify(&origin),
        Err(HandoverError::Follow(_))
    ));
}

/// A receiver key serves for one epoch and one member, whoever had it before.
#[test]
fn a_committee_needs_fresh_receiver_keys() {
    let members = keys(1, 4);
    let origin = first(&members);
    let a = handed_over(&origin, &next(1, &members), &quorum(&members, 3));
    let b = handed_over(&a.genesis, &next(2, &members), &quorum(&members, 3));
    let mut used = UsedReceivers::default();
    for genesis in [&origin, &a.genesis, &b.genesis] {
        assert_eq!(used.check(&next(genesis.epoch().0 + 1, &members)), Ok(()));
        used.add(genesis);
    }
    let third = next(3, &members);
    assert_eq!(used.check(&third), Ok(()));
    for epoch in [1, 2] {
        // Its own of an earlier epoch, and another member's.
        for whose in [2, 1] {
            let mut change = third.clone();
            change.members[2].receiver = receiver(epoch, &members[whose]);
            let reuse = ReceiverReuse::Earlier {
                identity: members[2].public(),
                epoch: Epoch(epoch),
            };
            assert_eq!(used.check(&change), Err(reuse));
        }
    }
    let mut change = third;
    change.members[3].receiver = change.members[0].receiver;
    let identity = members[3].public();
    assert_eq!(used.check(&change), Err(ReceiverReuse::Twice { identity }));
}

proptest! {
    /// Whatever byte is changed, it does not decode, or does not hold.
    #[test]
    fn a_changed_hand_over_never_holds(at in any::<proptest::sample::Index>(), flip in 1_u8..) {
        let (one, two) = (keys(1, 4), keys(11, 4));
        let origin = first(&one);
        let good = handed_over(&origin, &next(1, &two), &quorum(&one, 3));
        let mut bytes = encode(&good);
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(changed) = decode::<Handover>(&bytes, bytes.len()) {
            prop_assert!(changed == good || changed.verify(&origin).is_err());
        }
    }

    /// The same for a change of committee.
    #[test]
    fn a_changed_change_never_holds(at in any::<proptest::sample::Index>(), flip in 1_u8..) {
        let (one, two) = (keys(1, 4), keys(11, 4));
        let committee = first(&one).validate().unwrap();
        let good = approved(next(1, &two), &quorum(&one, 3));
        let mut bytes = encode(&good);
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(changed) = decode::<CommitteeChange>(&bytes, bytes.len()) {
            let holds = changed.fits(CHAIN, Epoch(0), &committee) && changed.verify(&committee).is_ok();
            prop_assert!(changed == good || !holds);
        }
    }
}

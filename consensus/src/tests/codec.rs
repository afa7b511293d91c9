//! Decoders meet anything: random bytes, and valid encodings with bytes changed, cut or
//! added. They answer with a value or an error, the encoding is canonical, and whatever
//! decodes the core survives.

use fairlane_types::{MemberId, View, decode, encode};
use proptest::prelude::*;

use super::solo::*;
use super::{CHAIN, Cut, committee, config};
use crate::{Block, Blocks, Evidence, Input, Message, SafetyRecord, Statement};

const LIMIT: usize = 1 << 20;

fn child(parent: &Block<Cut>, view: u64) -> Block<Cut> {
    block(view, &parent.header, view)
}

/// One of every wire message.
fn messages() -> Vec<Message<Cut>> {
    let a = block(1, &genesis(), 1);
    let b = child(&a, 3);
    let finals = [&a, &b].map(|x| crate::FinalBlock {
        header: x.header.clone(),
        payload: x.payload.clone(),
        certificate: (x.header.view == View(3)).then(|| final_certificate(x)),
    });
    let proposal = Statement::Proposal {
        block: b.clone(),
        justify: on(&a, &[2]),
    };
    vec![
        sign(leader(3), proposal),
        vote(MemberId(1), &a),
        commit(MemberId(2), &a),
        skip(MemberId(0), 1, &[3]),
        Message::Certificate(notarization(&a)),
        Message::GetBlock { block: a.id() },
        Message::Block {
            block: a.clone(),
            signature: None,
        },
        Message::GetCerts {
            from: View(1),
            to: View(9),
        },
        Message::Certs(vec![skip_certificate(1), notarization(&a)]),
        Message::GetBlocks {
            from: fairlane_types::Height(1),
            count: 7,
        },
        Message::Blocks(Blocks::collect(finals.clone(), 64)),
        Message::Blocks(Blocks::collect(finals, 1)),
    ]
}

fn records() -> Vec<SafetyRecord<Cut>> {
    let mut solo = Solo::new(leader(1));
    solo.feed(Input::Proposable(true));
    solo.fire(crate::Timer::Pace(View(1)));
    solo.feed(Input::PayloadBuilt {
        view: View(1),
        payload: Cut::default(),
        time: fairlane_types::Millis(1),
    });
    let id = solo.voted(1).unwrap();
    for member in (0..4).map(MemberId).filter(|m| *m != leader(1)) {
        let vote = fairlane_types::Vote {
            epoch: super::EPOCH,
            view: View(1),
            block: id,
            dirty: true,
        };
        solo.hear(member, sign(member, Statement::Vote(vote)));
    }
    solo.feed(Input::Proposable(true));
    solo.fire(crate::Timer::View(View(2)));
    assert_eq!(solo.records.len(), 5, "{:?}", solo.records);
    solo.records
}

/// Feeds a message to a core in the middle of things, from every member.
fn survives(message: &Message<Cut>) {
    let mut solo = Solo::new(follower(1..4));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(notarization(&a));
    for member in [0, 1, 2, 3, 4, 255].map(MemberId) {
        if member != solo.me() {
            solo.hear(member, message.clone());
        }
    }
    assert!(solo.halts.is_empty());
}

fn mutate(bytes: &mut Vec<u8>, edits: &[(u16, u8, u8)]) {
    for (at, value, kind) in edits {
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(*at) % bytes.len();
        match kind % 4 {
            0 => bytes[at] = *value,
            1 => bytes[at] ^= 1 << (value % 8),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, *value),
        }
    }
}

#[test]
fn every_message_and_record_round_trips() {
    for message in messages() {
        let bytes = encode(&message);
        assert_eq!(decode::<Message<Cut>>(&bytes, LIMIT).unwrap(), message);
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode::<Message<Cut>>(&longer, LIMIT).is_err());
        for cut in 0..bytes.len() {
            assert!(decode::<Message<Cut>>(&bytes[..cut], LIMIT).is_err());
        }
        survives(&message);
    }
    let records = records();
    for record in &records {
        let bytes = encode(record);
        assert_eq!(decode::<SafetyRecord<Cut>>(&bytes, LIMIT).unwrap(), *record);
    }
}

/// Every single byte of every message, changed.
#[test]
fn every_flipped_byte_is_survived() {
    for message in messages() {
        let bytes = encode(&message);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                if let Ok(changed) = decode::<Message<Cut>>(&bytes, LIMIT) {
                    assert_eq!(encode(&changed), bytes, "not canonical");
                    survives(&changed);
                }
            }
        }
    }
}

#[test]
fn evidence_verifies_with_real_keys_and_only_then() {
    use fairlane_types::{Committee, SecretKey, Signature};
    let keys: Vec<_> = (0..4).map(|i| SecretKey::from_seed([i + 1; 32])).collect();
    let members = Committee::new(keys.iter().map(SecretKey::public).collect()).unwrap();
    let (a, b) = (block(1, &genesis(), 1), block(1, &genesis(), 2));
    let liar = leader(1);
    let key = &keys[liar.index()];
    let signed = |statement: Statement<Cut>| statement.sign(key, CHAIN);
    let of =
        |message: Message<Cut>, unsign: fn(Message<Cut>) -> Statement<Cut>| signed(unsign(message));
    let unsign = |message: Message<Cut>| match message {
        Message::Vote(s) => Statement::Vote(s.statement),
        Message::Commit(s) => Statement::Commit(s.statement),
        Message::Skip(s) => Statement::Skip {
            skip: s.skip.statement,
            missing: s.missing,
        },
        _ => unreachable!(),
    };
    let (Message::Vote(v), Message::Vote(w)) =
        (of(vote(liar, &a), unsign), of(vote(liar, &b), unsign))
    else {
        unreachable!()
    };
    let (Message::Commit(c), Message::Commit(d)) =
        (of(commit(liar, &a), unsign), of(commit(liar, &b), unsign))
    else {
        unreachable!()
    };
    let Message::Skip(s) = of(skip(liar, 1, &[]), unsign) else {
        unreachable!()
    };
    let headers = [&a, &b].map(|x| {
        Box::new(crate::Signed {
            statement: x.header.clone(),
            signature: x.header.sign(key, CHAIN),
        })
    });
    let [x, y] = headers;
    use crate::{EvidenceError, Offence};
    for offence in [
        Offence::DoubleVote(v.clone(), w),
        Offence::DoubleCommit(c.clone(), d),
        Offence::CommitAndSkip(c, s.skip),
        Offence::DoubleProposal(x.clone(), y),
    ] {
        let evidence = Evidence {
            signer: liar,
            offence,
        };
        evidence.verify(CHAIN, &members).unwrap();
        let bytes = encode(&evidence);
        assert_eq!(decode::<Evidence>(&bytes, LIMIT).unwrap(), evidence);
        // It accuses nobody else, on no other chain, in no other committee.
        let other = Evidence {
            signer: leader(2),
            ..evidence.clone()
        };
        assert!(other.verify(CHAIN, &members).is_err());
        assert!(
            evidence
                .verify(fairlane_types::ChainId(8), &members)
                .is_err()
        );
        assert!(evidence.verify(CHAIN, &committee(4)).is_err());
    }
    let same = |offence| Evidence {
        signer: liar,
        offence,
    };
    for offence in [
        Offence::DoubleVote(v.clone(), v.clone()),
        Offence::DoubleProposal(x.clone(), x),
    ] {
        let verdict = same(offence).verify(CHAIN, &members);
        assert_eq!(verdict, Err(EvidenceError::NoContradiction));
    }
    let mut forged = v.clone();
    forged.statement.dirty = !forged.statement.dirty;
    forged.signature = Signature([7; 64]);
    let verdict = same(Offence::DoubleVote(v, forged)).verify(CHAIN, &members);
    assert_eq!(verdict, Err(EvidenceError::Signature));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = decode::<Message<Cut>>(&bytes, LIMIT) {
            prop_assert_eq!(encode(&message), bytes.clone());
            survives(&message);
        }
        if let Ok(record) = decode::<SafetyRecord<Cut>>(&bytes, LIMIT) {
            prop_assert_eq!(encode(&record), bytes.clone());
        }
        if let Ok(evidence) = decode::<Evidence>(&bytes, LIMIT) {
            let _ = evidence.checks(CHAIN, &committee(4));
        }
    }

    #[test]
    fn mutated_messages_never_panic(
        which in 0..12usize,
        edits in proptest::collection::vec(any::<(u16, u8, u8)>(), 1..6),
    ) {
        let mut bytes = encode(&messages()[which]);
        mutate(&mut bytes, &edits);
        if let Ok(message) = decode::<Message<Cut>>(&bytes, LIMIT) {
            prop_assert_eq!(encode(&message), bytes);
            survives(&message);
        }
    }

    #[test]
    fn mutated_records_never_panic(
        which in 0..5usize,
        edits in proptest::collection::vec(any::<(u16, u8, u8)>(), 1..6),
    ) {
        let records = records();
        let mut bytes = encode(&records[which]);
        mutate(&mut bytes, &edits);
        if let Ok(record) = decode::<SafetyRecord<Cut>>(&bytes, LIMIT) {
            let _ = (record.view(), record.entered(), record.epoch());
            let mut all = records;
            all[which] = record;
            let recovered = crate::Recovered { tip: super::origin(), records: all };
            if let Ok(mut core) = crate::Core::restore(config(4, Some(leader(1).0), true), recovered) {
                core.step(fairlane_types::Micros(5), Input::Start, &mut Vec::new());
            }
        }
    }
}

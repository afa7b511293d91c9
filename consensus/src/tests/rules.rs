//! C1–C6 and C8, one by one.

use fairlane_types::{CertificateKind, Height, MemberId, Micros, Millis, View};

use super::byzantine::another;
use super::solo::*;
use super::{Cut, config, origin};
use crate::config::{INLINE_SKIPS_MAX, LOOK_AHEAD_VIEWS};
use crate::{
    Core, Input, Message, Offence, PeerFault, Recovered, RestoreError, SafetyRecord, Statement,
    Timer, To, Verdict,
};

#[test]
fn c1_one_vote_per_view_whatever_comes() {
    let mut solo = Solo::new(follower(1..3));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    assert_eq!(solo.voted(1), Some(a.id()));
    solo.hear_proposal(&another(&a), on_genesis());
    solo.hear_proposal(&a, on_genesis());
    let votes = solo.said.iter().filter(|s| matches!(s, Statement::Vote(_)));
    assert_eq!(votes.count(), 1);
}

#[test]
fn c1_a_restart_does_not_vote_again() {
    let mut solo = Solo::new(follower(1..3));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.restart();
    assert_eq!(solo.voted(1), Some(a.id()), "the same vote is said again");
    solo.hear_proposal(&another(&a), on_genesis());
    let votes = solo.said.iter().filter(|s| matches!(s, Statement::Vote(_)));
    assert_eq!(votes.count(), 1);
}

#[test]
fn c2_no_commit_after_skip_even_across_a_restart() {
    for restart in [false, true] {
        let mut solo = Solo::new(follower(1..3));
        let a = block(1, &genesis(), 1);
        solo.hear_proposal(&a, on_genesis());
        solo.fire(Timer::View(View(1)));
        assert!(solo.skipped(1));
        if restart {
            solo.restart();
            assert!(solo.skipped(1), "the same skip is said again");
        }
        solo.hear_certificate(notarization(&a));
        assert_eq!(solo.core.view(), View(2));
        assert_eq!(solo.committed(1), None);
        assert_eq!(solo.core.marks().late_notarizations, 1);
    }
}

#[test]
fn c2_no_skip_after_commit_even_across_a_restart() {
    for restart in [false, true] {
        let mut solo = Solo::new(follower(1..3));
        let a = block(1, &genesis(), 1);
        solo.hear_proposal(&a, on_genesis());
        solo.hear_certificate(notarization(&a));
        assert_eq!(solo.committed(1), Some(a.id()));
        let timers: Vec<_> = solo.timers.keys().copied().collect();
        if restart {
            solo.restart();
            assert_eq!(solo.core.view(), View(2));
            assert_eq!(solo.committed(1), Some(a.id()));
        }
        solo.now = solo.now.plus(60_000_000);
        for timer in timers {
            solo.feed(Input::Timer(timer));
        }
        assert!(!solo.skipped(1));
    }
}

#[test]
fn c3_commits_need_the_block_and_its_notarization() {
    let mut solo = Solo::new(follower(1..3));
    let a = block(1, &genesis(), 1);
    solo.hear_certificate(notarization(&a));
    assert_eq!(solo.committed(1), None, "the height is not known yet");
    solo.now = solo.now.plus(20_000);
    solo.feed(Input::Timer(Timer::Fetch));
    let (to, request) = solo.requests().pop().unwrap();
    assert_eq!(request, Message::GetBlock { block: a.id() });
    let To::One(peer) = to else {
        panic!("one peer is asked")
    };
    let signature = None;
    let block = a.clone();
    solo.hear(peer, Message::Block { block, signature });
    assert_eq!(solo.committed(1), Some(a.id()));
    assert_eq!(solo.voted(1), None);
}

#[test]
fn c3_no_commit_once_a_skip_certificate_is_known() {
    let mut solo = Solo::new(follower(1..3));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(skip_certificate(1));
    solo.hear_certificate(notarization(&a));
    assert_eq!(solo.committed(1), None);
    assert_eq!(solo.core.view(), View(2));
}

#[test]
fn c3_no_commit_at_or_below_the_last_final_view() {
    let mut solo = Solo::new(follower(1..4));
    let a = block(1, &genesis(), 1);
    let b = block(2, &a.header, 2);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_proposal(&b, on(&a, &[]));
    solo.said.clear();
    solo.hear_certificate(final_certificate(&b));
    assert_eq!(solo.core.finalized().id(), b.id());
    solo.hear_certificate(notarization(&a));
    solo.hear_certificate(notarization(&b));
    assert!(solo.said.is_empty());
}

#[test]
fn c3_a_late_notarization_is_committed_after_votes_in_later_views() {
    // C2 is per view: nothing said in view 2 speaks about view 1, and a commit there only
    // helps. Here this member jumps over view 1 and learns of its block later.
    let mut solo = Solo::new(follower(1..4));
    let a = block(1, &genesis(), 1);
    let b = block(2, &a.header, 2);
    solo.hear_proposal(&b, on(&a, &[]));
    assert_eq!(
        solo.core.view(),
        View(2),
        "the parent's certificate leads here"
    );
    assert_eq!(solo.voted(2), None, "the parent is missing");
    let request = Message::GetBlock { block: a.id() };
    assert_eq!(solo.requests(), [(To::One(leader(2)), request)]);
    let signature = None;
    let block = a.clone();
    solo.hear(leader(2), Message::Block { block, signature });
    assert_eq!(solo.voted(2), Some(b.id()));
    assert_eq!(solo.committed(1), Some(a.id()));
}

#[test]
fn c4_every_view_between_must_be_skipped() {
    let mut solo = Solo::new(leader(3));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(notarization(&a));
    solo.hear_certificate(skip_certificate(4));
    assert_eq!(solo.core.view(), View(5));
    let b = block(5, &a.header, 2);
    solo.hear_proposal(&b, on(&a, &[3]));
    assert_eq!(solo.voted(5), None, "view 2 is not covered");
    let (to, request) = solo.requests().pop().unwrap();
    assert_eq!(to, To::One(leader(5)), "its leader must have it");
    let (from, upto) = (View(1), View(2));
    assert_eq!(request, Message::GetCerts { from, to: upto });
    solo.hear(leader(5), Message::Certs(vec![skip_certificate(2)]));
    assert_eq!(solo.voted(5), Some(b.id()));
}

#[test]
fn c4_unjustified_proposals_are_faults() {
    let a = block(1, &genesis(), 1);
    let b = block(3, &a.header, 2);
    let wrong = block(1, &genesis(), 9);
    let mut many = on(&a, &[2]);
    many.skips = vec![skip_certificate(2); INLINE_SKIPS_MAX + 1];
    let mut skip_as_parent = on(&a, &[2]);
    skip_as_parent.parent = Some(skip_certificate(1));
    for justify in [
        on_genesis(),
        on(&wrong, &[2]),
        on(&a, &[3]),
        on(&a, &[1]),
        on(&a, &[2, 2]),
        many,
        skip_as_parent,
    ] {
        let mut solo = Solo::new(follower(1..4));
        solo.hear_proposal(&a, on_genesis());
        solo.hear_certificate(skip_certificate(2));
        solo.hear_proposal(&b, justify);
        assert_eq!(solo.voted(3), None);
        let unjustified = matches!(solo.faults[..], [(_, PeerFault::Unjustified(_))]);
        assert!(unjustified, "{:?}", solo.faults);
    }
}

#[test]
fn c4_the_leader_prefers_the_newest_notarized_block() {
    // A notarization and a skip certificate of the same view: both parents are valid.
    let me = leader(2);
    let mut solo = Solo::new(me);
    let a = block(1, &genesis(), 1);
    solo.feed(Input::Proposable(true));
    solo.hear_certificate(skip_certificate(1));
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(notarization(&a));
    solo.fire(Timer::Pace(View(2)));
    assert_eq!(solo.builds[0].1, a.id());

    // Without the block, genesis will do: nothing can be final in view 1.
    let mut solo = Solo::new(me);
    solo.feed(Input::Proposable(true));
    solo.hear_certificate(skip_certificate(1));
    solo.hear_certificate(notarization(&a));
    solo.fire(Timer::Pace(View(2)));
    assert_eq!(solo.builds[0].1, genesis().id());

    // Without the skip certificate it will not.
    let mut solo = Solo::new(me);
    solo.feed(Input::Proposable(true));
    solo.hear_certificate(notarization(&a));
    solo.fire(Timer::Pace(View(2)));
    assert!(solo.builds.is_empty());
}

#[test]
fn c5_no_vote_after_skip_even_across_a_restart() {
    for restart in [false, true] {
        let mut solo = Solo::new(follower(1..3));
        solo.feed(Input::Proposable(true));
        solo.fire(Timer::Propose(View(1)));
        assert!(solo.skipped(1), "no proposal came");
        if restart {
            solo.restart();
        }
        solo.hear_proposal(&block(1, &genesis(), 1), on_genesis());
        assert_eq!(solo.voted(1), None);
    }
}

#[test]
fn c6_a_leader_proposes_once_even_across_a_restart() {
    let mut solo = Solo::new(leader(1));
    solo.feed(Input::Proposable(true));
    solo.fire(Timer::Pace(View(1)));
    assert_eq!(solo.builds.len(), 1);
    let built = |nonce| Input::PayloadBuilt {
        view: View(1),
        payload: Cut {
            nonce,
            bytes: Vec::new(),
        },
        time: Millis(5),
    };
    solo.feed(built(1));
    solo.feed(built(2));
    let proposals = |solo: &Solo| {
        let said = solo.said.iter();
        let blocks = said.filter_map(|s| match s {
            Statement::Proposal { block, .. } => Some(block.id()),
            _ => None,
        });
        blocks.collect::<Vec<_>>()
    };
    let first = proposals(&solo);
    assert_eq!(first.len(), 1);
    assert_eq!(solo.voted(1), Some(first[0]), "it votes for its own block");
    solo.restart();
    assert_eq!(proposals(&solo), first, "the same is proposed again");
    solo.feed(Input::Proposable(true));
    solo.feed(built(3));
    assert!(solo.builds.is_empty());
    assert_eq!(proposals(&solo), first);
}

#[test]
fn c6_a_crash_between_proposal_and_vote_still_votes() {
    let mut solo = Solo::new(leader(1));
    solo.feed(Input::Proposable(true));
    solo.fire(Timer::Pace(View(1)));
    let payload = Cut::default();
    let (view, time) = (View(1), Millis(5));
    solo.feed(Input::PayloadBuilt {
        view,
        payload,
        time,
    });
    solo.records
        .retain(|r| matches!(r, SafetyRecord::Proposed { .. }));
    solo.restart();
    assert!(solo.voted(1).is_some());
}

#[test]
fn c6_nobody_who_knows_two_headers_commits() {
    let mut solo = Solo::new(follower(1..3));
    let a = block(1, &genesis(), 1);
    let b = another(&a);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_proposal(&b, on_genesis());
    let Offence::DoubleProposal(x, y) = &solo.evidence[0].offence else {
        panic!("{:?}", solo.evidence)
    };
    assert_eq!((x.statement.id(), y.statement.id()), (a.id(), b.id()));
    solo.hear_certificate(notarization(&a));
    assert_eq!(solo.core.view(), View(2));
    assert_eq!(solo.committed(1), None);
}

#[test]
fn c6_the_other_header_may_come_with_a_fetched_block() {
    let mut solo = Solo::new(MemberId(3));
    let a = block(1, &genesis(), 1);
    let b = another(&a);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(notarization(&b));
    solo.now = solo.now.plus(20_000);
    solo.feed(Input::Timer(Timer::Fetch));
    let proposal = sign(
        b.header.proposer,
        Statement::Proposal {
            block: b.clone(),
            justify: on_genesis(),
        },
    );
    let Message::Proposal(proposal) = proposal else {
        unreachable!()
    };
    let signature = Some(proposal.signature);
    let block = b.clone();
    solo.hear(MemberId(0), Message::Block { block, signature });
    assert_eq!(solo.committed(1), None);
    assert_eq!(solo.evidence.len(), 1);
}

#[test]
fn c7_nothing_is_said_before_start_and_nothing_by_observers() {
    let mut voiceless = config(4, Some(follower(1..3).0), true);
    voiceless.voting = false;
    let mut outside = config(4, None, true);
    outside.me = None;
    for config in [voiceless, outside] {
        let mut solo = Solo::restored(config, origin(), Vec::new());
        solo.feed(Input::Proposable(true));
        let a = block(1, &genesis(), 1);
        solo.hear(
            a.header.proposer,
            sign(
                a.header.proposer,
                Statement::Proposal {
                    block: a.clone(),
                    justify: on_genesis(),
                },
            ),
        );
        solo.now = solo.now.plus(60_000_000);
        for timer in solo.timers.clone().into_keys() {
            solo.feed(Input::Timer(timer));
        }
        solo.hear(MemberId(1), Message::Certificate(notarization(&a)));
        solo.hear(MemberId(1), Message::Certificate(final_certificate(&a)));
        assert_eq!(solo.core.finalized().id(), a.id(), "it follows");
        assert!(solo.said.is_empty());
        assert!(solo.sent.is_empty());
    }
    let recovered = Recovered {
        tip: origin(),
        records: Vec::new(),
    };
    let mut core = Core::restore(config(4, Some(0), true), recovered).unwrap();
    let mut out = Vec::new();
    core.step(Micros(1), Input::Proposable(true), &mut out);
    assert!(out.is_empty());
}

#[test]
fn c7_a_contradictory_safety_record_is_refused() {
    let a = block(1, &genesis(), 1);
    let mut solo = Solo::new(follower(1..3));
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(notarization(&a));
    let mut other = Solo::new(follower(1..3));
    other.hear_proposal(&another(&a), on_genesis());
    other.fire(Timer::View(View(1)));
    let both = [solo.records.clone(), other.records.clone()].concat();
    for records in [both.clone(), both.into_iter().rev().collect()] {
        let recovered = Recovered {
            tip: origin(),
            records,
        };
        let refused = Core::restore(config(4, Some(0), true), recovered);
        assert!(matches!(refused, Err(RestoreError::Contradiction { .. })));
    }
}

#[test]
fn c7_all_members_restart_at_once_with_only_votes_said() {
    // The block lives in the voters' records alone, and that is enough.
    let a = block(1, &genesis(), 1);
    let mut solo = Solo::new(follower(1..3));
    solo.hear_proposal(&a, on_genesis());
    solo.restart();
    let others = (0..4).map(MemberId).filter(|m| *m != solo.me());
    for other in others.collect::<Vec<_>>() {
        solo.hear(other, vote(other, &a));
    }
    assert_eq!(solo.committed(1), Some(a.id()));
    let peer = MemberId(0);
    solo.hear(peer, Message::GetBlock { block: a.id() });
    let served = solo.sent.iter().any(|(to, m)| {
        *to == To::One(peer) && matches!(m, Message::Block { block, .. } if *block == a)
    });
    assert!(served);
}

#[test]
fn c8_votes_notarize_skips_skip_and_commits_finalize() {
    let mut solo = Solo::new(follower(1..4));
    let others: Vec<_> = (0..4).map(MemberId).filter(|m| *m != solo.me()).collect();
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.hear(others[0], vote(others[0], &a));
    assert_eq!(solo.core.view(), View(1));
    solo.hear(others[1], vote(others[1], &a));
    assert_eq!(solo.core.view(), View(2));
    assert_eq!(solo.committed(1), Some(a.id()));
    // The fourth vote changes nothing; the certificate is not sent to everybody.
    solo.hear(others[2], vote(others[2], &a));
    solo.hear_certificate(notarization(&a));
    let kind = CertificateKind::Notarization;
    assert!(solo.certificates_sent(kind, 1) <= 1);

    for other in &others[..2] {
        assert_eq!(solo.core.view(), View(2));
        solo.hear(*other, skip(*other, 2, &[]));
    }
    assert!(solo.skipped(2), "f + 1 others did: C9");
    assert_eq!(solo.core.view(), View(3));
    assert!(solo.certificates_sent(CertificateKind::Skip, 2) <= 1);

    let b = block(3, &a.header, 3);
    solo.hear_proposal(&b, on(&a, &[2]));
    for other in &others {
        solo.hear(*other, vote(*other, &b));
    }
    assert!(solo.finals.is_empty());
    for other in &others {
        solo.hear(*other, commit(*other, &b));
    }
    let told: Vec<_> = solo
        .finals
        .iter()
        .map(|f| (f.header.height, f.id(), f.certificate.is_some()))
        .collect();
    assert_eq!(
        told,
        [(Height(1), a.id(), false), (Height(2), b.id(), true)]
    );
    assert_eq!(solo.certificates_sent(CertificateKind::Final, 3), 0);
    assert_eq!(solo.core.view(), View(4));
    // All have shown that they are in view 2.
    solo.sent.clear();
    solo.fire(Timer::Tell);
    assert!(solo.sent.is_empty());
}

#[test]
fn c8_who_has_not_shown_to_be_in_the_view_is_told_of_it() {
    let mut leader_told = 0;
    for me in (0..4).map(MemberId) {
        if me == leader(1) || me == leader(2) {
            continue;
        }
        let mut solo = Solo::new(me);
        let others: Vec<_> = (0..4).map(MemberId).filter(|m| *m != me).collect();
        let a = block(1, &genesis(), 1);
        solo.hear_proposal(&a, on_genesis());
        for other in &others[..2] {
            solo.hear(*other, vote(*other, &a));
        }
        assert_eq!(solo.core.view(), View(2));
        let told = |solo: &Solo| -> Vec<(To, CertificateKind, View)> {
            let certificate = |(to, m): &(To, Message<Cut>)| match m {
                Message::Certificate(c) => Some((*to, c.kind, c.view)),
                _ => None,
            };
            solo.sent.iter().filter_map(certificate).collect()
        };
        // The leader of the view at once, by those that follow it in the ring; nobody else.
        let entry = |to| (To::One(to), CertificateKind::Notarization, View(1));
        let follows = [1, 2].map(|step| MemberId((leader(2).0 + step) % 4));
        let expected: Vec<_> = follows
            .contains(&me)
            .then(|| entry(leader(2)))
            .into_iter()
            .collect();
        assert_eq!(told(&solo), expected);
        leader_told += expected.len();
        solo.sent.clear();
        // One has committed in view 1, so it is in view 2; a vote in view 1 shows nothing.
        solo.hear(others[0], commit(others[0], &a));
        solo.fire(Timer::Tell);
        assert_eq!(told(&solo), [entry(others[1]), entry(others[2])]);
        // A certificate shows it too, and an early timer does nothing.
        solo.sent.clear();
        solo.hear(others[1], Message::Certificate(notarization(&a)));
        solo.feed(Input::Timer(Timer::Tell));
        assert!(told(&solo).is_empty());
        // In the next view it is the same again, with what leads there.
        for other in &others[..2] {
            solo.hear(*other, skip(*other, 2, &[]));
        }
        assert_eq!(solo.core.view(), View(3));
        solo.sent.clear();
        solo.now = solo.now.plus(1_000_000);
        solo.fire(Timer::Tell);
        let behind: Vec<_> = told(&solo)
            .into_iter()
            .map(|(_, kind, view)| (kind, view))
            .collect();
        assert_eq!(behind, [(CertificateKind::Skip, View(2)); 3]);
    }
    assert!(
        leader_told > 0,
        "f + 1 members tell the leader, one of them honest"
    );
}

#[test]
fn c8_a_member_far_behind_asks_who_is_ahead() {
    let mut solo = Solo::new(follower(1..3));
    let far = block(LOOK_AHEAD_VIEWS + 9, &genesis(), 1);
    let peer = leader(1);
    for _ in 0..3 {
        solo.hear(peer, vote(peer, &far));
    }
    let (from, to) = (View(1), View(1));
    let asked = (To::One(peer), Message::GetCerts { from, to });
    assert_eq!(solo.requests(), [asked], "once within a while");
}

#[test]
fn c13_time_never_runs_backwards() {
    let mut solo = Solo::new(follower(1..4));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    let mut b = block(2, &a.header, 2);
    b.header.time = Millis(a.header.time.0 - 1);
    solo.hear_proposal(&b, on(&a, &[]));
    assert_eq!(solo.voted(2), None);
    assert!(matches!(solo.faults[..], [(_, PeerFault::Unjustified(_))]));
    assert!(solo.skipped(2), "nothing can come of this view");
}

#[test]
fn an_invalid_payload_is_skipped_at_once() {
    let mut solo = Solo::new(follower(1..3));
    solo.verdict = Some(Verdict::Invalid);
    solo.hear_proposal(&block(1, &genesis(), 1), on_genesis());
    assert_eq!(solo.voted(1), None);
    assert!(solo.skipped(1));
    assert_eq!(solo.faults, [(leader(1), PeerFault::InvalidPayload)]);
}

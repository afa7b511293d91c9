//! C9–C12: timers, pacing, bounds, blame.

use fairlane_types::{CertificateKind, Height, MemberId, Micros, Signature, SignerSet, View};

use super::solo::*;
use super::syncing::run;
use super::{Cut, config, origin};
use crate::config::{CERTS_MAX, INACTIVE_VIEWS, LOOK_AHEAD_VIEWS, PEER_CERTS_MAX};
use crate::{
    Block, Core, Input, Message, Offence, Output, PeerFault, Recovered, Timer, To, Verdict,
};

#[test]
fn c9_the_leaders_time_runs_from_proposable_or_from_the_heartbeat() {
    let mut solo = Solo::new(follower(1..3));
    assert!(!solo.timers.contains_key(&Timer::Propose(View(1))));
    let start = solo.now;
    solo.fire(Timer::Pace(View(1)));
    assert_eq!(solo.now, start.plus(500_000), "max_interval");
    let propose = solo.timers[&Timer::Propose(View(1))];
    let delay = solo.core.delay().0;
    assert_eq!(propose, solo.now.plus(5_000 + 2 * delay));
    assert_eq!(solo.timers[&Timer::View(View(1))], propose.plus(delay));

    let mut solo = Solo::new(follower(1..3));
    solo.feed(Input::Proposable(true));
    let propose = solo.timers[&Timer::Propose(View(1))];
    assert_eq!(propose, solo.now.plus(5_000 + 2 * delay));
    // A proposal in time: the propose timer passes, the view timer does not.
    solo.hear_proposal(&block(1, &genesis(), 1), on_genesis());
    solo.fire(Timer::Propose(View(1)));
    assert!(!solo.skipped(1));
    solo.fire(Timer::View(View(1)));
    assert!(solo.skipped(1));
}

#[test]
fn c10_what_can_be_proposed_before_the_start_can_be_after_it() {
    let recovered = Recovered {
        tip: origin(),
        records: Vec::new(),
    };
    let mut core = Core::restore(config(4, Some(follower(1..3).0), true), recovered).unwrap();
    let mut out = Vec::new();
    core.step(Micros(1), Input::Proposable(true), &mut out);
    assert!(out.is_empty());
    core.step(Micros(1), Input::Start, &mut out);
    let armed = |output: &Output<Cut>| {
        let timer = Timer::Propose(View(1));
        matches!(output, Output::SetTimer { timer: set, .. } if *set == timer)
    };
    assert!(out.iter().any(armed), "not the heartbeat: {out:?}");
}

#[test]
fn c9_fetching_extends_the_view_once_and_names_the_lanes() {
    let mut solo = Solo::new(follower(1..3));
    let missing = SignerSet::from_iter([MemberId(2), MemberId(90)]);
    solo.verdict = Some(Verdict::Fetching { missing });
    solo.feed(Input::Proposable(true));
    let before = solo.timers[&Timer::View(View(1))];
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    let delay = solo.core.delay().0;
    assert_eq!(solo.timers[&Timer::View(View(1))], before.plus(delay));
    let verdict = Verdict::Fetching { missing };
    let block = a.id();
    solo.feed(Input::PayloadChecked { block, verdict });
    assert_eq!(solo.timers[&Timer::View(View(1))], before.plus(delay));
    solo.fire(Timer::View(View(1)));
    let Some(crate::Statement::Skip { missing, .. }) = solo.said.last() else {
        panic!("a skip")
    };
    assert_eq!(*missing, SignerSet::from_iter([MemberId(2)]));
}

#[test]
fn c9_fetched_in_time_is_voted_for() {
    let mut solo = Solo::new(follower(1..3));
    let missing = SignerSet::default();
    solo.verdict = Some(Verdict::Fetching { missing });
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    assert_eq!(solo.voted(1), None);
    let (block, verdict) = (a.id(), Verdict::Valid);
    solo.feed(Input::PayloadChecked { block, verdict });
    assert_eq!(solo.voted(1), Some(a.id()));
}

#[test]
fn c9_own_skips_make_timers_longer_even_when_every_view_is_notarized() {
    // Otherwise a Δ̂ that is a little too short would never finalize anything again.
    let mut solo = Solo::new(follower(1..3));
    solo.feed(Input::Proposable(true));
    let span = |solo: &Solo, view| solo.timers[&Timer::View(View(view))].0 - solo.now.0;
    let first = span(&solo, 1);
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.fire(Timer::View(View(1)));
    solo.hear_certificate(notarization(&a));
    assert_eq!(solo.core.view(), View(2));
    assert_eq!(span(&solo, 2) - 5_000, 2 * (first - 5_000));
}

/// Hears the skip of a member for a view.
fn gives_up(solo: &mut Solo, member: MemberId, view: u64) {
    solo.hear(member, skip(member, view, &[]));
}

#[test]
fn c9_f_plus_one_skips_pull_a_member_along_even_after_its_vote() {
    let mut solo = Solo::new(follower(1..3));
    let others: Vec<_> = (0..4).map(MemberId).filter(|m| *m != solo.me()).collect();
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    assert_eq!(solo.voted(1), Some(a.id()));
    gives_up(&mut solo, others[0], 1);
    gives_up(&mut solo, others[0], 1); // one member is one, however often it says it
    assert!(!solo.skipped(1), "f of them may be liars");
    gives_up(&mut solo, others[1], 1);
    assert!(solo.skipped(1));
    assert_eq!(solo.core.marks().joined_skips, 1);
    // With the own skip that makes a certificate.
    assert_eq!(solo.core.view(), View(2));
    solo.hear_certificate(notarization(&a));
    assert_eq!(solo.committed(1), None, "C2");
}

#[test]
fn c9_forged_skips_pull_nobody_along() {
    let mut solo = Solo::new(follower(1..3));
    let others: Vec<_> = (0..4).map(MemberId).filter(|m| *m != solo.me()).collect();
    gives_up(&mut solo, others[0], 1);
    let mut forged = skip(others[1], 1, &[]);
    if let Message::Skip(skip) = &mut forged {
        skip.skip.signature = Signature([7; 64]);
    }
    solo.hear(others[1], forged);
    assert!(!solo.skipped(1));
    assert_eq!(solo.faults, [(others[1], PeerFault::BadSignature)]);
    gives_up(&mut solo, others[2], 1);
    assert!(solo.skipped(1));
}

#[test]
fn c9_skips_heard_ahead_pull_along_on_entering_and_never_after_a_commit() {
    let mut solo = Solo::new(follower(1..4));
    let others: Vec<_> = (0..4).map(MemberId).filter(|m| *m != solo.me()).collect();
    for other in &others[..2] {
        gives_up(&mut solo, *other, 2);
    }
    assert!(solo.said.is_empty());
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(notarization(&a));
    assert!(solo.skipped(2));
    assert_eq!(solo.committed(1), Some(a.id()));
    // The view that it commit-voted is behind it: their giving up changes nothing.
    for other in &others {
        gives_up(&mut solo, *other, 1);
    }
    assert!(!solo.skipped(1));
}

#[test]
fn c9_a_stuck_member_says_it_again_with_the_certificate_that_led_here() {
    let mut solo = Solo::new(follower(1..4));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(notarization(&a));
    solo.feed(Input::Proposable(true));
    solo.fire(Timer::Propose(View(2)));
    assert!(solo.skipped(2));
    solo.sent.clear();
    for _ in 0..3 {
        solo.fire(Timer::Rebroadcast(View(2)));
    }
    let kinds: Vec<_> = solo
        .sent
        .iter()
        .map(|(to, message)| {
            assert_eq!(*to, To::All);
            match message {
                Message::Certificate(c) => (c.kind, c.view),
                Message::Skip(s) => (CertificateKind::Skip, s.skip.statement.view),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    let once = [
        (CertificateKind::Notarization, View(1)),
        (CertificateKind::Skip, View(2)),
    ];
    assert_eq!(kinds, [once, once, once].concat());
    assert_eq!(solo.said.iter().filter(|s| s.view() == View(2)).count(), 1);
}

#[test]
fn c9_a_peer_stuck_in_an_old_view_is_shown_the_way() {
    let mut solo = Solo::new(follower(1..4));
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    solo.hear_certificate(final_certificate(&a));
    solo.hear_certificate(skip_certificate(2));
    solo.sent.clear();
    let peer = leader(2);
    solo.hear(peer, skip(peer, 1, &[]));
    solo.hear(peer, skip(peer, 1, &[])); // not twice at once
    let kinds: Vec<_> = solo
        .sent
        .iter()
        .map(|(to, message)| match message {
            Message::Certificate(c) if *to == To::One(peer) => (c.kind, c.view),
            other => panic!("{other:?}"),
        })
        .collect();
    let way = [
        (CertificateKind::Skip, View(2)),
        (CertificateKind::Final, View(1)),
    ];
    assert_eq!(kinds, way);
}

#[test]
fn c9_an_inactive_leader_is_skipped_at_once() {
    let far = INACTIVE_VIEWS + 10;
    let me = (0..4).map(MemberId).find(|m| *m != leader(far)).unwrap();
    let mut solo = Solo::new(me);
    let silent = leader(far);
    for view in 1..far {
        for member in (0..4).map(MemberId).filter(|m| *m != silent) {
            solo.hear(member, skip(member, view, &[]));
        }
    }
    assert_eq!(solo.core.view(), View(far));
    assert!(solo.skipped(far));
    assert!(solo.core.marks().inactive_skips > 0);
    // One word from it, and its next view gets its time.
    let next = (far + 1..).find(|v| leader(*v) == silent).unwrap();
    solo.hear(silent, skip(silent, far, &[]));
    for view in far..next {
        for member in (0..4).map(MemberId).filter(|m| *m != silent) {
            solo.hear(member, skip(member, view, &[]));
        }
    }
    assert_eq!(solo.core.view(), View(next));
    assert!(!solo.skipped(next));
}

#[test]
fn c10_a_leader_proposes_when_it_can_and_at_the_heartbeat_otherwise() {
    let start = Solo::new(leader(1)).now;
    let mut solo = Solo::new(leader(1));
    solo.fire(Timer::Pace(View(1)));
    assert_eq!((solo.now, solo.builds.len()), (start.plus(500_000), 1));

    let mut solo = Solo::new(leader(1));
    solo.feed(Input::Proposable(true));
    assert!(solo.builds.is_empty(), "min_interval");
    solo.fire(Timer::Pace(View(1)));
    assert_eq!((solo.now, solo.builds.len()), (start.plus(5_000), 1));

    let mut solo = Solo::new(leader(1));
    solo.now = solo.now.plus(77_000);
    solo.feed(Input::Proposable(true));
    assert_eq!(solo.builds.len(), 1);

    // A level that falls again leaves the heartbeat in place.
    let mut solo = Solo::new(leader(1));
    solo.feed(Input::Proposable(true));
    solo.feed(Input::Proposable(false));
    solo.fire(Timer::Pace(View(1)));
    assert!(solo.builds.is_empty());
    solo.fire(Timer::Pace(View(1)));
    assert_eq!((solo.now, solo.builds.len()), (start.plus(500_000), 1));
}

#[test]
fn c11_votes_far_ahead_are_not_kept() {
    let mut solo = Solo::new(follower(1..3));
    let far = 1 + LOOK_AHEAD_VIEWS;
    let before = solo.core.clone();
    for member in (0..4).map(MemberId) {
        solo.hear(member, vote(member, &block(far + 1, &genesis(), 1)));
        solo.hear(member, commit(member, &block(u64::MAX, &genesis(), 1)));
        solo.hear(member, skip(member, u64::MAX, &[]));
    }
    assert_eq!(solo.core.marks().dropped, 12);
    assert_eq!(solo.checks, 0);
    assert_eq!(solo.core.view(), before.view());
    // A certificate from there is another matter.
    solo.hear_certificate(skip_certificate(far + 1_000));
    assert_eq!(solo.core.view(), View(far + 1_001));
}

#[test]
fn c11_nonsense_is_a_fault_and_changes_nothing() {
    let mut foreign = skip_certificate(1);
    foreign.epoch.0 += 1;
    let mut thin = skip_certificate(1);
    thin.signers.remove(MemberId(0));
    thin.signatures.pop();
    let mut stranger = skip_certificate(1);
    stranger.signers = SignerSet(0b1110_0000);
    let mut zero = skip_certificate(1);
    zero.view = View(0);
    let mut misfit = block(1, &genesis(), 1);
    misfit.header.proposer = leader(2);
    let mut rootless = block(1, &genesis(), 1);
    rootless.header.height = Height(0);
    let mut torn = block(1, &genesis(), 1);
    torn.payload.nonce += 1;
    let propose = |b: &Block<Cut>| {
        let (block, justify) = (b.clone(), on_genesis());
        sign(leader(1), crate::Statement::Proposal { block, justify })
    };
    let too_many = Message::Certs(vec![skip_certificate(1); CERTS_MAX + 1]);
    for (message, fault) in [
        (Message::Certificate(foreign), PeerFault::ForeignChain),
        (
            Message::Certificate(thin),
            PeerFault::BadCertificate("no quorum"),
        ),
        (
            Message::Certificate(stranger),
            PeerFault::BadCertificate("signers"),
        ),
        (
            Message::Certificate(zero),
            PeerFault::BadCertificate("view 0"),
        ),
        (propose(&misfit), PeerFault::NotLeader),
        (propose(&rootless), PeerFault::Malformed("header")),
        (propose(&torn), PeerFault::Malformed("payload digest")),
        (too_many, PeerFault::Malformed("certificates")),
        (
            skip(leader(1), 1, &[4]),
            PeerFault::Malformed("missing lanes"),
        ),
        (skip(leader(1), 0, &[]), PeerFault::Malformed("view 0")),
    ] {
        let mut solo = Solo::new(follower(1..3));
        let before = solo.core.clone();
        solo.hear(leader(1), message);
        assert_eq!(solo.faults, [(leader(1), fault)]);
        assert_eq!(solo.core, before);
        solo.hear(MemberId(77), vote(MemberId(1), &block(1, &genesis(), 1)));
        assert_eq!(solo.faults[1], (MemberId(77), PeerFault::NotMember));
    }
}

#[test]
fn c11_a_forged_certificate_keeps_no_good_one_out() {
    let mut solo = Solo::new(follower(1..3));
    solo.verifies = false;
    let mut forged = skip_certificate(1);
    forged.signatures[1] = Signature([9; 64]);
    let (liar, friend) = (leader(1), leader(2));
    solo.hear(liar, Message::Certificate(forged));
    solo.hear(friend, Message::Certificate(skip_certificate(1)));
    assert_eq!(solo.checks, 3, "one of a kind at a time");
    solo.verifies = true;
    let check = crate::CheckId(1);
    let bad = vec![1];
    solo.feed(Input::Verified { check, bad });
    let fault = PeerFault::BadCertificate("signature");
    assert_eq!(solo.faults, [(liar, fault)]);
    assert_eq!(solo.core.view(), View(2));
}

#[test]
fn c11_one_peer_cannot_fill_the_verification_queue() {
    let mut solo = Solo::new(follower(1..3));
    solo.verifies = false;
    for view in 1..=PEER_CERTS_MAX as u64 + 3 {
        solo.hear(leader(1), Message::Certificate(skip_certificate(view)));
    }
    assert_eq!(solo.checks, 3 * PEER_CERTS_MAX as u64);
    assert_eq!(solo.core.marks().dropped, 3);
    assert_eq!(solo.faults, []);
}

#[test]
fn c11_answers_that_nobody_asked_for_are_dropped() {
    let mut solo = Solo::new(follower(1..3));
    let a = block(1, &genesis(), 1);
    let before = solo.core.clone();
    let signature = None;
    solo.hear(
        leader(1),
        Message::Block {
            block: a.clone(),
            signature,
        },
    );
    solo.hear(leader(1), Message::Blocks(run(&[a], 1)));
    assert_eq!(solo.core, before);
    // Answers to checks that never were, and payloads that nobody builds.
    let check = crate::CheckId(99);
    let bad = vec![usize::MAX];
    solo.feed(Input::Verified { check, bad });
    solo.feed(Input::PayloadBuilt {
        view: View(9),
        payload: Cut::default(),
        time: fairlane_types::Millis(1),
    });
    assert_eq!(solo.core, before);
}

#[test]
fn c12_a_bad_vote_is_blamed_and_the_quorum_made_of_others() {
    let mut solo = Solo::new(follower(1..3));
    let others: Vec<_> = (0..4).map(MemberId).filter(|m| *m != solo.me()).collect();
    let a = block(1, &genesis(), 1);
    solo.hear_proposal(&a, on_genesis());
    let checks = solo.checks;
    let Message::Vote(mut bad) = vote(others[0], &a) else {
        unreachable!()
    };
    bad.signature = Signature([1; 64]);
    solo.hear(others[0], Message::Vote(bad));
    assert_eq!(solo.checks, checks, "no quorum, no check");
    solo.hear(others[1], vote(others[1], &a));
    assert_eq!(solo.checks, checks + 2, "the own vote needs none");
    assert_eq!(solo.faults, [(others[0], PeerFault::BadSignature)]);
    assert_eq!(solo.core.view(), View(1));
    solo.hear(others[2], vote(others[2], &a));
    assert_eq!(solo.checks, checks + 3);
    assert_eq!(solo.core.view(), View(2));
}

#[test]
fn evidence_comes_once_per_view_and_signer_from_messages_and_certificates() {
    let mut solo = Solo::new(follower(1..3));
    let liar = leader(2);
    let a = block(1, &genesis(), 1);
    let b = block(1, &genesis(), 2);
    for _ in 0..3 {
        solo.hear(liar, vote(liar, &a));
        solo.hear(liar, vote(liar, &b));
    }
    assert!(matches!(
        solo.evidence[..],
        [crate::Evidence {
            offence: Offence::DoubleVote(..),
            ..
        }]
    ));
    solo.hear(liar, commit(liar, &a));
    solo.hear(liar, skip(liar, 1, &[]));
    assert_eq!(solo.evidence.len(), 1, "one per view and signer");

    // Another told this member Commit(1), and others Skip(1): their certificate tells.
    let mut solo = Solo::new(MemberId(3));
    solo.hear(MemberId(0), commit(MemberId(0), &a));
    solo.hear(MemberId(1), Message::Certificate(skip_certificate(1)));
    assert_eq!(solo.evidence.len(), 1);
    assert_eq!(solo.evidence[0].signer, MemberId(0));
    assert!(matches!(
        solo.evidence[0].offence,
        Offence::CommitAndSkip(..)
    ));
}

#[test]
fn a_lane_named_by_f_plus_one_skippers_is_proposed_certified_only() {
    let me = leader(2);
    let mut solo = Solo::new(me);
    solo.feed(Input::Proposable(true));
    let others: Vec<_> = (0..4).map(MemberId).filter(|m| *m != me).collect();
    solo.hear(others[0], skip(others[0], 1, &[0, 1]));
    solo.hear(others[1], skip(others[1], 1, &[1]));
    solo.hear(others[2], skip(others[2], 1, &[]));
    assert_eq!(solo.core.view(), View(2));
    solo.fire(Timer::Pace(View(2)));
    let (view, parent, lanes) = solo.builds[0];
    assert_eq!((view, parent), (View(2), genesis().id()));
    assert_eq!(lanes, SignerSet::from_iter([MemberId(1)]));
}

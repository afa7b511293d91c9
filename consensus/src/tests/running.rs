//! C9–C12: timers, pacing, bounds, blame; and catching up.

use fairlane_types::{
    Certificate, CertificateKind, Height, MemberId, Micros, Signature, SignerSet, View,
};

use super::solo::*;
use super::{Cut, origin};
use crate::config::{CERTS_MAX, INACTIVE_VIEWS, LOOK_AHEAD_VIEWS, PEER_CERTS_MAX};
use crate::{Block, Blocks, FinalBlock, Input, Message, Offence, PeerFault, Timer, To, Verdict};

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
    assert_eq!(solo.faults, vec![(leader(1), PeerFault::Flood); 3]);
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

// ---- catching up ------------------------------------------------------------------------

/// A chain of notarized blocks in views 1…n.
fn chain(n: u64) -> Vec<Block<Cut>> {
    let mut chain: Vec<Block<Cut>> = Vec::new();
    for view in 1..=n {
        let parent = chain.last().map_or(genesis(), |b| b.header.clone());
        chain.push(block(view, &parent, view));
    }
    chain
}

fn finals(chain: &[Block<Cut>], certified: impl Fn(usize) -> bool) -> Vec<FinalBlock<Cut>> {
    let finals = chain.iter().enumerate().map(|(i, b)| FinalBlock {
        header: b.header.clone(),
        payload: b.payload.clone(),
        certificate: certified(i).then(|| final_certificate(b)),
    });
    finals.collect()
}

/// The last block alone is certified.
fn run(chain: &[Block<Cut>], count: u16) -> Blocks<Cut> {
    Blocks::collect(finals(chain, |i| i + 1 == chain.len()), count)
}

/// A member that knows the final certificate of the last block of `chain`, and has asked.
fn behind(chain: &[Block<Cut>]) -> Solo {
    let mut solo = Solo::new(follower(1..3));
    solo.hear_certificate(final_certificate(chain.last().unwrap()));
    assert_eq!(solo.core.view().0, chain.len() as u64 + 1);
    assert!(solo.core.is_catching_up());
    solo.now = solo.now.plus(20_000);
    solo.feed(Input::Timer(Timer::Fetch));
    solo
}

fn asked_blocks(solo: &Solo) -> Vec<(To, Height)> {
    let requests = solo.requests().into_iter();
    let blocks = requests.filter_map(|(to, m)| match m {
        Message::GetBlocks { from, .. } => Some((to, from)),
        _ => None,
    });
    blocks.collect()
}

#[test]
fn sync_adopts_a_certified_chain_and_nothing_else() {
    let chain = chain(20);
    let mut solo = behind(&chain);
    let (to, from) = asked_blocks(&solo)[0];
    assert_eq!(from, Height(1));
    let To::One(peer) = to else { panic!() };

    let good = run(&chain, 64);
    let mut bad: Vec<(Blocks<Cut>, &str)> = Vec::new();
    let mut edit = |what, change: &dyn Fn(&mut Blocks<Cut>)| {
        let mut blocks = good.clone();
        change(&mut blocks);
        bad.push((blocks, what));
    };
    edit("not a chain", &|b| {
        b.blocks.remove(3);
    });
    edit("not a chain", &|b| b.blocks[5].header.time.0 += 1);
    edit("payload digest", &|b| b.blocks[5].payload.nonce += 1);
    edit("signature", &|b| {
        let c = b.blocks[19].certificate.as_mut().unwrap();
        c.signatures[2] = Signature([3; 64]);
    });
    edit("certificate of another block", &|b| {
        b.blocks[9].certificate = b.blocks[19].certificate.clone();
    });
    edit("too many", &|b| b.blocks = vec![b.blocks[0].clone(); 65]);
    edit("a proof of nothing", &|b| {
        b.proof = b.blocks[19].certificate.clone();
    });
    for (blocks, what) in bad {
        solo.hear(peer, Message::Blocks(blocks));
        let fault = PeerFault::BadBlocks(what);
        assert_eq!(solo.faults.pop(), Some((peer, fault)));
        assert!(solo.finals.is_empty());
    }
    let mut thin = good.clone();
    thin.blocks[19].certificate = None;
    solo.hear(peer, Message::Blocks(thin)); // proves nothing, breaks nothing
    assert!(solo.finals.is_empty() && solo.faults.is_empty());

    solo.hear(peer, Message::Blocks(good));
    let heights: Vec<_> = solo.finals.iter().map(|b| b.header.height.0).collect();
    assert_eq!(heights, (1..=20).collect::<Vec<_>>());
    assert!(!solo.core.is_catching_up());
    assert!(solo.halts.is_empty());
}

#[test]
fn sync_follows_a_long_run_without_certificates_by_headers() {
    let chain = chain(200);
    let mut solo = behind(&chain);
    let To::One(peer) = asked_blocks(&solo)[0].0 else {
        panic!()
    };
    for start in [0, 64, 128, 192] {
        let blocks = run(&chain[start..], 64);
        let whole = blocks.blocks.len();
        assert_eq!(blocks.tail.len(), 200 - start - whole);
        solo.hear(peer, Message::Blocks(blocks));
        assert_eq!(solo.finals.len(), start + whole);
        solo.now = solo.now.plus(20_000);
        solo.feed(Input::Timer(Timer::Fetch));
    }
    assert_eq!(solo.core.finalized().id(), chain[199].id());
    assert!(solo.core.finalized().certificate.is_some());
}

#[test]
fn sync_asks_another_peer_when_one_does_not_answer() {
    let chain = chain(20);
    let mut solo = behind(&chain);
    for _ in 0..6 {
        solo.fire(Timer::Fetch);
    }
    let peers: std::collections::BTreeSet<_> = asked_blocks(&solo)
        .into_iter()
        .map(|(to, _)| format!("{to:?}"))
        .collect();
    assert_eq!(peers.len(), 3);
}

#[test]
fn sync_fetches_by_id_what_nobody_serves_by_height() {
    // All restarted: nobody has finalized this block, but its voters have it.
    let chain = chain(2);
    let mut solo = behind(&chain);
    for (index, wanted) in [(1, &chain[1]), (0, &chain[0])] {
        let request = Message::GetBlock { block: wanted.id() };
        solo.now = solo.now.plus(20_000);
        solo.feed(Input::Timer(Timer::Fetch));
        let asked = solo.requests().into_iter().any(|(_, m)| m == request);
        assert!(asked, "block {index}");
        let (block, signature) = (wanted.clone(), None);
        solo.hear(MemberId(0), Message::Block { block, signature });
    }
    assert_eq!(solo.finals.len(), 2);
    assert_eq!(solo.finals[0].certificate, None);
}

#[test]
fn requests_are_served_within_bounds() {
    let chain = chain(3);
    let mut solo = behind(&chain);
    let peer = MemberId(0);
    solo.hear(peer, Message::Blocks(run(&chain, 64)));
    assert_eq!(solo.finals.len(), 3);
    let ask = |solo: &mut Solo, from: u64, count| {
        solo.hear(
            peer,
            Message::GetBlocks {
                from: Height(from),
                count,
            },
        );
    };
    ask(&mut solo, 1, u16::MAX);
    ask(&mut solo, 0, 1);
    ask(&mut solo, 4, 1);
    ask(&mut solo, 2, 0);
    assert_eq!(solo.serves, [(peer, Height(1), 64)]);
    solo.sent.clear();
    // A block below the tip is still served by id, and old views by the tip's certificate.
    solo.hear(
        peer,
        Message::GetBlock {
            block: chain[1].id(),
        },
    );
    let (from, to) = (View(1), View(u64::MAX));
    solo.hear(peer, Message::GetCerts { from, to });
    let (from, to) = (View(9), View(2));
    solo.hear(peer, Message::GetCerts { from, to });
    assert!(matches!(
        &solo.sent[..],
        [(_, Message::Block { block, .. }), (_, Message::Certs(certs))]
            if *block == chain[1] && certs.len() == 1 && certs[0].view == View(3)
    ));
}

#[test]
fn more_than_f_liars_halt_the_core_for_good() {
    let chain = chain(3);
    let fork = block(2, &chain[0].header, 77);
    let contradictions: [(Certificate, Certificate); 4] = [
        (notarization(&chain[1]), notarization(&fork)),
        (final_certificate(&chain[1]), final_certificate(&fork)),
        (skip_certificate(2), final_certificate(&chain[1])),
        (notarization(&fork), final_certificate(&chain[1])),
    ];
    for (first, second) in contradictions {
        let mut solo = Solo::new(follower(1..3));
        solo.hear_certificate(first.clone());
        assert!(solo.halts.is_empty());
        solo.hear_certificate(second.clone());
        assert_eq!(solo.halts.len(), 1);
        assert_eq!(solo.halts[0].ours.as_ref(), Some(&first));
        assert_eq!(solo.halts[0].theirs, second);
        let before = (solo.said.len(), solo.sent.len());
        solo.now = Micros(u64::MAX);
        for timer in solo.timers.clone().into_keys() {
            solo.feed(Input::Timer(timer));
        }
        solo.hear_certificate(skip_certificate(9));
        assert_eq!(before, (solo.said.len(), solo.sent.len()));
    }
}

#[test]
fn a_restart_while_catching_up_goes_on() {
    let chain = chain(20);
    let mut solo = behind(&chain);
    solo.restart();
    assert_eq!(solo.core.view(), View(21));
    assert!(solo.core.is_catching_up());
    assert_eq!(solo.core.finalized().id(), origin().id());
    solo.now = solo.now.plus(20_000);
    solo.feed(Input::Timer(Timer::Fetch));
    solo.hear(MemberId(0), Message::Blocks(run(&chain, 64)));
    assert_eq!(solo.finals.len(), 20);
}

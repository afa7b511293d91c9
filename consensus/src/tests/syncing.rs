//! Catching up, serving, and what happens when finality itself is broken.

use fairlane_types::{Certificate, Height, MemberId, Micros, Signature, View};

use super::solo::*;
use super::{Cut, origin};
use crate::{Block, Blocks, FinalBlock, Input, Message, PeerFault, Timer, To};

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
pub(crate) fn run(chain: &[Block<Cut>], count: u16) -> Blocks<Cut> {
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

/// Waits until it asks this peer for final blocks again.
fn until_asked(solo: &mut Solo, peer: MemberId) {
    let asked = |solo: &Solo| {
        let to_peer = |(to, _): &&(To, Height)| *to == To::One(peer);
        asked_blocks(solo).iter().filter(to_peer).count()
    };
    let before = asked(solo);
    for _ in 0..6 {
        if asked(solo) > before {
            return;
        }
        solo.fire(Timer::Fetch);
    }
    panic!("{peer} is not asked");
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
        solo.hear(peer, Message::Blocks(blocks.clone()));
        let fault = PeerFault::BadBlocks(what);
        assert_eq!(solo.faults.pop(), Some((peer, fault)));
        assert!(solo.finals.is_empty());
        // It was asked once, and this was its answer.
        solo.hear(peer, Message::Blocks(blocks));
        assert!(solo.faults.is_empty());
        until_asked(&mut solo, peer);
    }
    let mut thin = good.clone();
    thin.blocks[19].certificate = None;
    solo.hear(peer, Message::Blocks(thin)); // proves nothing, breaks nothing
    assert!(solo.finals.is_empty() && solo.faults.is_empty());

    until_asked(&mut solo, peer);
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
    for start in [0, 64, 128, 192] {
        let To::One(peer) = asked_blocks(&solo).last().unwrap().0 else {
            panic!()
        };
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
    until_asked(&mut solo, peer);
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
    until_asked(&mut solo, MemberId(0));
    solo.hear(MemberId(0), Message::Blocks(run(&chain, 64)));
    assert_eq!(solo.finals.len(), 20);
}

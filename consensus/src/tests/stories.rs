//! Stories with a point, told on the whole network.

use fairlane_types::{MemberId, View};

use super::byzantine::Liar;
use super::net::{Net, Weather};
use crate::{Message, Timer};

#[test]
fn fair_weather_skips_nothing_and_is_fast() {
    for n in [4, 7] {
        let mut net = Net::new(5, n, &[], 1);
        net.start_all();
        net.run(10_000_000);
        net.expect_sound("fair weather");
        for index in 0..usize::from(n) {
            let marks = net.core(index).marks();
            assert_eq!((marks.skips, marks.skip_certificates), (0, 0));
            assert_eq!((marks.blames, marks.catch_ups), (0, 0));
        }
        // A block every two hops of 1–8 ms, two syncs of 0.1–3 ms and min_interval 5 ms.
        assert!(net.lowest() > 400, "{} blocks in 10 s", net.lowest());
    }
}

#[test]
fn a_dead_leader_costs_little_once_everybody_knows() {
    let mut net = Net::new(6, 4, &[(2, Liar::Silent)], 0);
    net.start_all();
    net.run(20_000_000);
    net.expect_sound("one is dead");
    let marks = net.core(0).marks();
    assert!(marks.inactive_skips > 10, "{marks:?}");
    assert!(net.lowest() > 400, "{} blocks in 20 s", net.lowest());
}

#[test]
fn an_idle_chain_beats_its_heart() {
    let mut net = Net::new(7, 4, &[], 0);
    net.proposable = false;
    net.start_all();
    net.run(10_000_000);
    net.expect_sound("idle");
    let height = net.lowest();
    assert!((15..=21).contains(&height), "{height} heartbeats in 10 s");
    assert_eq!(net.core(0).marks().skips, 0);
}

/// Only q = n − f members are alive; in one view some of them commit and the others skip.
/// There is neither a final nor a skip certificate, and yet no deadlock: whoever committed
/// holds the notarization, and it leads everyone into the next view.
#[test]
fn a_view_half_committed_and_half_skipped_is_left() {
    for restart in [false, true] {
        let mut net = Net::new(8, 4, &[(3, Liar::Silent)], 0);
        net.start_all();
        net.run(300_000);
        let at = net.core(0).view().plus(2);
        // From this view on members 1 and 2 hear no votes and no certificates.
        net.filter = Some(Box::new(move |_, to, message| {
            let late = match message {
                Message::Vote(v) => v.statement.view >= at,
                Message::Certificate(c) => c.view >= at,
                _ => false,
            };
            to == MemberId(0) || !late
        }));
        net.run(3_000_000);
        net.expect_sound("withheld");
        let stuck: Vec<View> = (0..3).map(|i| net.core(i).view()).collect();
        assert!(stuck[1] <= stuck[0] && stuck[2] <= stuck[0], "{stuck:?}");
        if restart {
            for index in 0..3 {
                net.crash(index);
                net.restart_after(index, 10_000);
            }
            net.run(20_000);
        }
        net.filter = None;
        net.expect_progress(10, 30_000_000, "after the split view");
    }
}

/// Everything is lost after the votes were said: no certificate exists anywhere.
#[test]
fn all_restart_at_once_again_and_again() {
    for seed in 0..20 {
        let mut net = Net::new(seed, 4, &[], 0);
        net.start_all();
        for round in 0..12 {
            net.run(5_000 + seed * 3_700 + round * 7_919);
            for index in 0..4 {
                net.crash(index);
                net.restart_after(index, 1_000);
            }
        }
        net.run(2_000);
        net.expect_progress(10, 30_000_000, "after restarts of all");
    }
}

#[test]
fn a_member_cut_off_for_long_catches_up() {
    let mut net = Net::new(9, 4, &[], 1);
    net.start_all();
    net.run(500_000);
    net.groups[1] = 1; // a member
    net.groups[4] = 2; // and the observer
    net.run(60_000_000);
    let ahead = net.height(0);
    assert!(ahead > 1_000 && net.height(1) < 200 && net.height(4) < 200);
    net.groups = vec![0; 5];
    net.expect_progress(10, 5_000_000, "after a minute in the dark");
    assert!(net.core(1).marks().catch_ups > 10);
    assert_eq!(net.core(1).marks().blames, 0);
}

#[test]
fn a_restarted_observer_follows_from_its_disk() {
    let mut net = Net::new(10, 4, &[], 1);
    net.start_all();
    net.run(2_000_000);
    net.crash(4);
    net.run(2_000_000);
    net.start(4);
    net.expect_progress(10, 5_000_000, "the observer is back");
}

/// Slow links: Δ̂ starts far below the real delay, and finds it.
#[test]
fn timers_find_a_delay_that_nobody_told_them() {
    let mut net = Net::new(11, 4, &[], 0);
    net.weather = Weather {
        delay: (300_000, 400_000),
        ..Weather::FAIR
    };
    net.start_all();
    net.expect_progress(20, 120_000_000, "slow links");
    let delay = net.core(0).delay().0;
    assert!((350_000..=2_000_000).contains(&delay), "{delay}");
    let before = net.core(0).marks().skips;
    net.expect_progress(20, 60_000_000, "slow links, measured");
    assert_eq!(net.core(0).marks().skips, before);
}

/// A timer that fires when nobody wants it changes nothing.
#[test]
fn stale_timers_change_nothing() {
    let mut net = Net::new(12, 4, &[], 0);
    net.start_all();
    net.run(1_000_000);
    let view = net.core(0).view();
    let before = net.core(0).clone();
    for old in [View(1), view.prev(), view.next()] {
        for timer in [
            Timer::Pace(old),
            Timer::Propose(old),
            Timer::View(old),
            Timer::Rebroadcast(old),
        ] {
            net.step(0, crate::Input::Timer(timer));
        }
    }
    assert_eq!(net.core(0), &before);
}

/// Every sort of liar, alone, for a while: never harm, and progress under attack.
#[test]
fn one_liar_of_each_kind_does_no_harm() {
    for liar in Liar::ALL {
        for seed in 0..8 {
            let member = (seed % 4) as u8;
            let mut net = Net::new(seed + 100, 4, &[(member, liar)], 0);
            net.start_all();
            net.run(1_000_000);
            net.expect_progress(20, 60_000_000, &format!("{liar:?} {seed}"));
            if liar == Liar::Equivocator || liar == Liar::DoubleTalker {
                assert!(!net.all_evidence.is_empty(), "{liar:?} leaves no evidence");
            }
            for evidence in &net.all_evidence {
                assert_eq!(
                    evidence.signer,
                    MemberId(member),
                    "an honest one is accused"
                );
            }
        }
    }
}

//! Committees that change under load and faults: no order is lost, none is doubled, and the
//! sequence goes on (PROTOCOL §6).

use fairlane_simnet::epochs::{Epochs, Lie};
use fairlane_types::Scheme;

fn calm(seed: u64, committees: Vec<Vec<usize>>) -> Epochs {
    Epochs {
        seed,
        committees,
        orders: 60,
        faults: false,
        liars: Vec::new(),
        scheme: Scheme::Tdh2,
        ceremony: false,
        torn: false,
        fresh: Vec::new(),
    }
}

/// 4 → 7 → 4, the same four again, and four others: nothing goes wrong.
#[test]
fn committees_hand_over() {
    let plans = [
        vec![vec![0, 1, 2, 3], (0..7).collect(), vec![3, 4, 5, 6]],
        vec![vec![0, 1, 2, 3], vec![0, 1, 2, 3]],
        vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]],
    ];
    for (seed, committees) in plans.into_iter().enumerate() {
        let last = committees.len() as u64 - 1;
        let report = calm(seed as u64, committees).run();
        assert!(report.passed(), "{report}");
        assert_eq!(report.epoch, last);
        assert!(report.acknowledged > 20, "{report}");
    }
}

/// Seeds that broke a rule once: a member behind its peers at the boundary; an order that a
/// leaving member alone had; a boundary that was notarized before a crash and not committed.
#[test]
fn what_was_found_stays_fixed() {
    for seed in [0, 37, 1_035, 1_042] {
        let mut plan = Epochs {
            torn: false,
            fresh: Vec::new(),
            ..Epochs::of_seed(seed)
        };
        // There was one liar at most.
        plan.liars.truncate(1);
        let report = plan.run();
        assert!(report.passed(), "{report}");
        assert_eq!(report.epoch, 2, "{report}");
    }
}

/// Machines are killed once they are in an epoch and before they erase what reads the shares
/// of the one before: all of them go on, and in the end nobody has an old secret.
#[test]
fn secrets_of_earlier_epochs_go_whenever_a_machine_is_killed() {
    let (mut torn, mut erased, mut searched, mut emptied) = (0, 0, 0, 0);
    for (seed, ceremony) in [(30, false), (31, true), (32, true)] {
        let committees = vec![vec![0, 1, 2, 3], vec![2, 1, 4, 5], vec![5, 0, 1, 2]];
        let report = Epochs {
            torn: true,
            ceremony,
            ..calm(seed, committees)
        }
        .run();
        assert!(report.passed(), "{report}");
        assert_eq!(report.epoch, 2, "{report}");
        torn += report.torn;
        erased += report.erased;
        searched += report.searched;
        emptied += report.emptied;
    }
    assert!(torn > 3, "{torn} kills");
    assert!(erased > 20, "{erased} secrets erased");
    assert!(searched > 8, "{searched} old shares were looked for");
    assert!(emptied > 20, "{emptied} blocks without their dealings");
}

/// Every epoch has a key of its own. Orders under way come out under the key they are sealed to,
/// the others are sealed again, and after the grace nobody has a share of a key before; also
/// where the chain rests by then, and where machines are killed before they erase it.
#[test]
fn fresh_keys_take_over_and_the_ones_before_go() {
    let (mut late, mut resealed, mut forgotten, mut mixed) = (0, 0, 0, 0);
    for (seed, ceremony, torn) in [(50, false, false), (51, true, true), (52, false, true)] {
        let committees = vec![vec![0, 1, 2, 3], (0..7).collect(), vec![3, 4, 5, 6]];
        let report = Epochs {
            torn,
            ceremony,
            fresh: vec![true, true],
            orders: 120,
            ..calm(seed, committees)
        }
        .run();
        assert!(report.passed(), "{report}");
        assert_eq!((report.epoch, report.renewed), (2, 2), "{report}");
        late += report.opened_late;
        resealed += report.resealed;
        forgotten += report.forgotten;
        mixed += report.mixed;
    }
    assert!(late > 0, "nothing was opened with a former key");
    assert!(resealed > 20, "{resealed} orders sealed again");
    // By members while they run; one that is killed meanwhile does it when it starts, uncounted.
    assert!(forgotten > 3 * (7 + 4) - 6, "{forgotten} shares erased");
    assert!(mixed > 0, "no block held orders of two keys");
}

/// A change that keeps the key follows one that made it afresh, and the other way round.
#[test]
fn keys_may_be_kept_or_fresh() {
    for (seed, fresh) in [(60, [true, false]), (61, [false, true])] {
        let committees = vec![vec![0, 1, 2, 3], vec![2, 1, 4, 5], vec![5, 0, 1, 2]];
        let report = Epochs {
            fresh: fresh.to_vec(),
            ..calm(seed, committees)
        }
        .run();
        assert!(report.passed(), "{report}");
        assert_eq!((report.epoch, report.renewed), (2, 1), "{report}");
    }
}

/// One machine of every committee lies about dealings or about the next epoch.
#[test]
fn a_liar_changes_nothing() {
    for (seed, lie) in Lie::ALL.into_iter().enumerate() {
        let committees = vec![vec![0, 1, 2, 3], vec![2, 1, 4, 5]];
        let report = Epochs {
            liars: vec![(1, lie)],
            fresh: vec![lie == Lie::FalseContribution],
            ..calm(20 + seed as u64, committees)
        }
        .run();
        assert!(report.passed(), "{lie:?}: {report}");
        assert!(report.lies > 0, "{lie:?}: {report}");
        if matches!(lie, Lie::FalseDealing | Lie::FalseContribution) {
            assert!(report.dealings_refused > 0, "nobody judged a false dealing");
        }
    }
}

/// f of every committee lie at once, with crashes: two of seven; one of the four that leave and one
/// of the four others that come (THREATS A27).
#[test]
fn f_liars_of_every_committee_change_nothing() {
    use Lie::{FalseContribution, FalseDealing, FalseWord, Withhold};
    let grow = || vec![vec![0, 1, 2, 3], (0..7).collect(), vec![3, 4, 5, 6]];
    let disjoint = || vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![0, 1, 2, 3]];
    let plans = [
        (grow(), [(1, FalseContribution), (5, FalseDealing)], true),
        (grow(), [(0, Withhold), (4, Withhold)], false),
        (
            disjoint(),
            [(1, FalseDealing), (6, FalseContribution)],
            true,
        ),
        (disjoint(), [(2, Withhold), (5, FalseWord)], true),
    ];
    let (mut carried, mut crashes) = (0, 0);
    for (seed, (committees, liars, fresh)) in plans.into_iter().enumerate() {
        let report = Epochs {
            faults: true,
            ceremony: seed < 3,
            liars: liars.to_vec(),
            fresh: vec![fresh; 2],
            ..calm(80 + seed as u64, committees)
        }
        .run();
        assert!(report.passed(), "{liars:?}: {report}");
        assert_eq!(report.epoch, 2, "{liars:?}: {report}");
        assert!(report.lies > 0, "{liars:?}: {report}");
        assert!(report.released > 10, "{liars:?}: {report}");
        carried += report.carried;
        crashes += report.crashes;
    }
    assert!(crashes > 0, "no machine crashed");
    assert!(carried > 0, "no order was withheld at a boundary");
}

/// Sixteen hand over to sixteen others, five of each lying about dealings.
#[test]
fn sixteen_hand_over_to_sixteen_others() {
    let lie = |machine: usize| match machine % 3 {
        0 => Lie::NoDealing,
        1 => Lie::FalseContribution,
        _ => Lie::Withhold,
    };
    let liars = (0..5).chain(16..21);
    let report = Epochs {
        liars: liars.map(|machine| (machine, lie(machine))).collect(),
        fresh: vec![true],
        ..calm(90, vec![(0..16).collect(), (16..32).collect()])
    }
    .run();
    assert!(report.passed(), "{report}");
    assert_eq!((report.epoch, report.renewed), (1, 1), "{report}");
    assert!(report.released > 0, "{report}");
}

/// Keys of scheme baek-zheng are made, dealt on and renewed like those of the other. Few orders:
/// each costs every member pairings.
#[test]
fn committees_of_the_other_scheme_hand_over() {
    let grow = || vec![vec![0, 1, 2, 3], (0..7).collect(), vec![3, 4, 5, 6]];
    let disjoint = || vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]];
    let (mut late, mut refused, mut forgotten) = (0, 0, 0);
    for (seed, committees, fresh, liars) in [
        (
            110,
            grow(),
            vec![true, true],
            vec![(1, Lie::FalseContribution)],
        ),
        (111, disjoint(), vec![true], vec![(2, Lie::FalseDealing)]),
        (112, disjoint(), vec![false], vec![]),
    ] {
        let last = committees.len() as u64 - 1;
        let report = Epochs {
            scheme: Scheme::BaekZheng,
            ceremony: true,
            orders: 24,
            faults: seed != 112,
            liars,
            fresh,
            ..calm(seed, committees)
        }
        .run();
        assert!(report.passed(), "{report}");
        assert_eq!(report.epoch, last, "{report}");
        assert!(report.acknowledged > 8, "{report}");
        late += report.opened_late;
        refused += report.dealings_refused;
        forgotten += report.forgotten;
    }
    assert!(late > 0, "nothing was opened with a former key");
    assert!(refused > 0, "nobody judged a false dealing");
    assert!(forgotten > 0, "no share of a former key was erased");
}

/// A member that was away during the first ceremony learnt of it and of a change in one run of
/// blocks, and kept the dealings for the change (20271). A run ended while a liar had not erased its
/// share of a former key, which was judged as if it were honest (20079).
#[test]
fn seeds_that_found_something_hold() {
    for seed in [20_271, 20_079] {
        let report = Epochs::of_seed(seed).run();
        assert!(report.passed(), "{seed}: {report}");
    }
}

/// A liar alone has the signatures of a quorum, its own among them. It shows them to one member and is
/// gone; that member left without what the next epoch begins with, and those who had it lacked a
/// signature for ever (41004).
#[test]
fn a_word_that_a_liar_shows_to_one_member_reaches_all() {
    for seed in [41_004, 41_023] {
        let report = Epochs::of_seed(seed).run();
        assert!(report.passed(), "{seed}: {report}");
        assert!(report.last_words > 0, "{seed}: {report}");
    }
    // Others that may not have come to the boundary yet, too.
    for seed in 0..2 {
        let mut plan = Epochs::of_seed(0x6_1000 + seed);
        (plan.faults, plan.liars) = (true, vec![(1, Lie::LastWord)]);
        let report = plan.run();
        assert!(report.passed(), "{report}");
    }
}

/// A member that still made the first keys took a dealing to the next ones for a false one, and one that
/// came for the first keys was taken for one when the next were being dealt.
#[test]
fn who_is_behind_in_a_ceremony_is_not_blamed_and_blames_nobody() {
    let mut plan = Epochs::of_seed(50_150);
    plan.faults = true;
    plan.liars = vec![(1, Lie::LastWord)];
    let report = plan.run();
    assert!(report.passed(), "{report}");
}

/// Fresh seeds, with crashes, cuts and liars; one of them twice.
#[test]
fn seeds_hold_and_repeat_themselves() {
    let mut carried = 0;
    for seed in 0x600..0x606 {
        let report = Epochs::of_seed(seed).run();
        assert!(report.passed(), "{report}");
        carried += report.carried;
    }
    assert!(
        carried > 0,
        "no order went over from one epoch into the next"
    );
    let (one, two) = (Epochs::of_seed(0x607).run(), Epochs::of_seed(0x607).run());
    assert_eq!(one.trace_hash, two.trace_hash);
}

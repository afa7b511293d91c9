//! Committees that change under load and faults: no order is lost, none is doubled, and the
//! sequence goes on (PROTOCOL §6).

use fairlane_simnet::epochs::Epochs;

fn calm(seed: u64, committees: Vec<Vec<usize>>) -> Epochs {
    Epochs {
        seed,
        committees,
        orders: 40,
        faults: false,
        liar: None,
        ceremony: false,
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
        print!("{report}");
        assert!(report.passed(), "{report}");
        assert_eq!(report.epoch, last);
        assert!(report.acknowledged > 20);
    }
}

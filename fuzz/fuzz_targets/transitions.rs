//! What the clearing house does: blocks of any payloads give receipts, whatever state they meet,
//! and the sums hold after each (EXECUTION §2.5, invariants 1 to 4, 6 and 8).
#![no_main]

use fairlane_execution::{Clearing, Execution, House, Reject, Status};
use fairlane_fuzz::clearing::{Step, block, genesis, steps};
use fairlane_types::Root;
use libfuzzer_sys::fuzz_target;

#[path = "../../execution/tests/common/short.rs"]
mod short;

fn check(house: &House) {
    let core = house.core();
    let mut money = core.fees + core.withdrawn + core.insurance + core.funding - core.bad_debt;
    let mut held = vec![(0i64, 0u64); core.markets.len()];
    for account in house.accounts() {
        money += account.collateral;
        for p in &account.positions {
            money -= p.cost;
            held[p.market as usize].0 += p.lots;
            held[p.market as usize].1 += p.lots.max(0) as u64;
        }
    }
    assert_eq!(money, core.deposited, "money is made or lost");
    assert!(core.insurance >= 0 && core.bad_debt >= 0);
    for (number, (sum, long)) in held.into_iter().enumerate() {
        let (market, book) = house.market(number as u32).unwrap();
        assert_eq!((sum, long), (0, market.open_interest));
        assert_ne!(market.status, Status::Frozen, "an invariant does not hold");
        let auction = matches!(market.status, Status::Auction { .. });
        if let (Some(bid), Some(ask)) = (book.best(true), book.best(false)) {
            assert!(bid < ask || auction, "crossed: {bid} {ask}");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let genesis = genesis(*first);
    let mut clearing = Clearing::new(&genesis, Root::default()).unwrap();
    let (mut parent, mut time_ms) = (Root::default(), 0);
    for step in steps(rest) {
        let (blocks, payloads) = match step {
            Step::Block(payloads, later_ms) => {
                time_ms += later_ms;
                (1, payloads)
            }
            Step::Idle(blocks) => (blocks, Vec::new()),
        };
        for _ in 0..blocks {
            time_ms += 100;
            let next = block(clearing.head().0.next(), time_ms, parent, &payloads);
            parent = next.root;
            let done = clearing
                .apply(&next)
                .expect("a block that follows is executed");
            assert_eq!(done.receipts.len(), next.items.len());
            for receipt in &done.receipts {
                let known = receipt.code == 0 || Reject::of(receipt.code).is_some();
                assert!(known && (receipt.code == 0 || receipt.fills.is_empty()));
            }
            check(clearing.house());
            short::check_short(&clearing);
        }
    }
    let mut other = Clearing::new(&genesis, Root::default()).unwrap();
    let root = other
        .restore(&clearing.snapshot())
        .expect("its own snapshot");
    assert_eq!(root, clearing.head().1);
});

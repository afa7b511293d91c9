use fairlane_types::{
    BlockId, ChainId, CtId, Digest, Epoch, Item, KeyId, Label, Micros, Millis, Outcome, Position,
    SecretKey,
};
use proptest::prelude::*;

use super::*;
use crate::importing;

/// A sequence whose blocks have one item with so many bytes each.
fn sequence(sizes: &[usize]) -> Vec<SequencedBlock> {
    let mut blocks: Vec<SequencedBlock> = Vec::new();
    for size in sizes {
        let last = blocks.last();
        let position = last.map_or(Position(0), SequencedBlock::next_position);
        let item = Item {
            position,
            label: Label {
                suite: 1,
                chain: ChainId(1),
                key_id: KeyId::default(),
                sender: SecretKey::from_seed([1; 32]).public(),
                nonce: 0,
                expiry: Millis(0),
                fee: 0,
                lane: 0,
                reserved: [0; 19],
            },
            ct_id: CtId(Digest([*size as u8; 32])),
            stamp: Micros(0),
            outcome: Outcome::Opened {
                payload: vec![7; *size],
                opening: [0; 32],
            },
        };
        let block = SequencedBlock {
            chain: ChainId(1),
            epoch: Epoch(0),
            height: Height(blocks.len() as u64 + 1),
            block: BlockId::default(),
            time: Millis(0),
            parent_root: last.map_or(Root::default(), |last| last.root),
            first_position: position,
            items: vec![item],
            state: None,
            root: Root::default(),
        };
        blocks.push(block.sealed());
    }
    blocks
}

fn covered(blocks: &[SequencedBlock]) -> Covered {
    let last = blocks.last().unwrap();
    Covered {
        missing: (last.height, last.root),
        stretches: BTreeMap::new(),
    }
}

/// A chain of blocks that fit each other, from another beginning.
fn invented(blocks: &[SequencedBlock]) -> Vec<SequencedBlock> {
    let mut parent = Root(Digest([9; 32]));
    let mut all = blocks.to_vec();
    for block in &mut all {
        block.parent_root = parent;
        *block = block.clone().sealed();
        parent = block.root;
    }
    all
}

#[test]
fn blocks_that_lead_elsewhere_are_refused_and_never_written() {
    let blocks = sequence(&[10; 8]);
    let mut known = covered(&blocks);
    let made_up = invented(&blocks);
    assert!(made_up.windows(2).all(|pair| pair[1].follows(&pair[0])));
    assert!(known.down(&made_up).is_err());
    assert!(importing(None, &made_up, &known).is_err());
    // Not known yet, so not taken either.
    assert!(importing(None, &blocks, &known).is_err());
    known.down(&blocks[3..]).unwrap();
    assert!(known.down(&made_up[..3]).is_err());
    known.down(&blocks[..3]).unwrap();
    assert!(importing(None, &blocks, &known).is_ok());
    assert!(importing(Some(&blocks[1]), &blocks[2..], &known).is_ok());
    assert!(importing(Some(&made_up[1]), &blocks[2..], &known).is_err());
    assert!(importing(None, &[], &known).is_err());
}

#[test]
fn what_lies_above_the_boundary_is_not_covered() {
    let blocks = sequence(&[10; 8]);
    let mut known = covered(&blocks[..6]);
    assert!(known.down(&blocks).is_err());
    known.down(&blocks[..6]).unwrap();
    assert!(importing(None, &blocks, &known).is_err());
    assert!(importing(None, &blocks[..6], &known).is_ok());
    assert_eq!(known.end_of_stretch(Height(7)), None);
    assert!(known.down(&[]).is_err(), "there is nothing below the first");
}

#[test]
fn a_long_block_stands_alone_and_several_are_refused() {
    let long = STRETCH_BYTES_MAX + 1;
    let blocks = sequence(&[10, long, 10]);
    let mut known = covered(&blocks);
    assert!(known.down(&blocks).is_err());
    known.down(&blocks[2..]).unwrap();
    known.down(&blocks[1..2]).unwrap();
    known.down(&blocks[..1]).unwrap();
    let ends = [1, 2, 3].map(|height| known.end_of_stretch(Height(height)));
    assert_eq!(ends, [1, 2, 3].map(|height| Some(Height(height))));
    let many = sequence(&vec![1; STRETCH_BLOCKS_MAX + 1]);
    assert!(covered(&many).down(&many).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the blocks are cut on the way down: the way up takes exactly them, and the
    /// roots kept are as few as the limits allow.
    #[test]
    fn the_way_up_is_the_way_down(
        sizes in prop::collection::vec(prop_oneof![4 => 1_usize..400, 1 => 900_000_usize..1_200_000], 1..60),
        cuts in prop::collection::vec(1_usize..9, 60),
        damaged in any::<prop::sample::Index>(),
    ) {
        let blocks = sequence(&sizes);
        let mut known = covered(&blocks);
        let mut end = blocks.len();
        for cut in cuts.into_iter().chain(std::iter::repeat(1)) {
            if end == 0 {
                break;
            }
            let from = end.saturating_sub(cut);
            let mut other = blocks[from..end].to_vec();
            let at = damaged.index(other.len());
            other[at].time = Millis(5);
            prop_assert!(known.down(&other).is_err());
            other[at] = other[at].clone().sealed();
            prop_assert!(known.down(&other).is_err());
            match known.down(&blocks[from..end]) {
                Ok(()) => end = from,
                Err(_) => {
                    prop_assert!(end - from > 1, "one block always goes");
                    known.down(&blocks[end - 1..end]).unwrap();
                    end -= 1;
                }
            }
            prop_assert_eq!(known.missing(), Height(end as u64));
        }
        let kept: Vec<_> = known.stretches.values().collect();
        for pair in kept.windows(2) {
            let blocks = pair[0].blocks + pair[1].blocks;
            let bytes = pair[0].bytes + pair[1].bytes;
            prop_assert!(blocks > STRETCH_BLOCKS_MAX || bytes > STRETCH_BYTES_MAX);
        }
        let (mut taken, mut from) = (Vec::<SequencedBlock>::new(), Height(1));
        while let Some(end) = known.end_of_stretch(from) {
            let part = &blocks[from.0 as usize - 1..end.0 as usize];
            let writes = importing(taken.last(), part, &known);
            prop_assert!(writes.is_ok());
            taken.extend_from_slice(part);
            from = end.next();
        }
        prop_assert_eq!(taken, blocks);
    }
}

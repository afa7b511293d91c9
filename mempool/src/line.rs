//! Digests and stamps of the batches that a lane has in a row, found by number in constant
//! time: whoever understands what others acknowledge looks them up all the time.

use std::collections::VecDeque;

use fairlane_types::{BatchDigest, Micros, Seq};

/// A run of batches without gaps.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Number after the last one.
    next: Seq,
    heads: VecDeque<(BatchDigest, Micros)>,
}

impl Line {
    /// Digest and stamp of a batch, if it is in the run.
    pub fn at(&self, seq: Seq) -> Option<(BatchDigest, Micros)> {
        let back = usize::try_from(self.next.0.checked_sub(seq.0)?).ok()?;
        let index = self.heads.len().checked_sub(back)?;
        self.heads.get(index).copied()
    }

    /// Adds a batch; one that does not follow the last one begins a new run.
    pub fn push(&mut self, seq: Seq, digest: BatchDigest, stamp: Micros) {
        if seq != self.next {
            self.heads.clear();
        }
        self.heads.push_back((digest, stamp));
        self.next = seq.next();
    }

    /// Drops everything above `last`.
    pub fn cut(&mut self, last: Seq) {
        while self.next > last.next() && self.heads.pop_back().is_some() {
            self.next = self.next.prev();
        }
    }

    /// Drops all but the `most` newest.
    pub fn trim(&mut self, most: usize) {
        let over = self.heads.len().saturating_sub(most);
        self.heads.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlane_types::Digest;
    use std::collections::BTreeMap;

    /// Against a tree: gaps, cuts and trims at every place.
    #[test]
    fn a_line_is_a_tree_without_gaps() {
        let entry = |seq: u64, version: u64| {
            let digest = BatchDigest(Digest([(seq * 7 + version) as u8; 32]));
            (digest, Micros(seq))
        };
        let mut state = 7u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let (mut line, mut tree, mut next) = (Line::default(), BTreeMap::new(), 1u64);
        for step in 0..3_000 {
            match draw(12) {
                0 => {
                    let last = next.saturating_sub(draw(6));
                    line.cut(Seq(last));
                    tree.retain(|seq, _| *seq <= last);
                    next = next.min(last + 1).max(1);
                }
                1 => {
                    line.trim(8);
                    while tree.len() > 8 {
                        tree.pop_first();
                    }
                }
                2 if draw(5) == 0 => {
                    next += 3;
                    tree.clear();
                    line.push(Seq(next), entry(next, step).0, entry(next, step).1);
                    tree.insert(next, entry(next, step));
                    next += 1;
                }
                _ => {
                    let (digest, stamp) = entry(next, step);
                    line.push(Seq(next), digest, stamp);
                    tree.insert(next, (digest, stamp));
                    next += 1;
                }
            }
            for seq in next.saturating_sub(14)..next + 3 {
                assert_eq!(line.at(Seq(seq)), tree.get(&seq).copied(), "{seq}");
            }
        }
        assert_eq!(line.at(Seq(u64::MAX)), None);
    }
}

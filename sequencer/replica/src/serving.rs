//! Final blocks for a peer that is behind: a run from disk, and headers beyond it up to
//! the certificate that proves it (PROTOCOL §7).

use fairlane_consensus::{self as consensus, Blocks, UNFINAL_VIEWS_MAX};
use fairlane_mempool::Cut;
use fairlane_types::{Height, MemberId, decode};

use crate::boundary::{Effect, Peers};
use crate::keys::height_key;
use crate::payload::{CutPayload, FinalBlock};
use crate::replica::Replica;
use crate::under_way::Reading;
use crate::{Message, Row, Table};

/// Rows read beyond a run at first: the next certificate is seldom further away.
const TAIL_ROWS: usize = 16;
/// Rows read at a time when it is.
const MORE_ROWS: usize = 1_024;
/// Bytes of final blocks read at a time.
const SERVE_BYTES: usize = 8 << 20;
/// Largest stored block that is served: with a dealing of all keys to 100 members, and room.
const BLOCK_BYTES_MAX: usize = 2 << 20;

/// A run being read.
#[derive(Debug)]
pub(crate) struct Serving {
    to: MemberId,
    from: Height,
    count: usize,
    bytes: usize,
    /// Consecutive blocks; those beyond `count` without their payload.
    run: Vec<FinalBlock>,
}

impl Serving {
    pub const fn new(to: MemberId, from: Height, count: u16) -> Self {
        Self {
            to,
            from,
            count: count as usize,
            bytes: 0,
            run: Vec::new(),
        }
    }

    /// Takes rows in; whether more must be read to reach a certificate.
    fn extend(&mut self, rows: &[Row]) -> bool {
        for (_, row) in rows {
            let Ok(mut block) = decode::<FinalBlock>(row, BLOCK_BYTES_MAX) else {
                return false;
            };
            if self.run.len() >= self.count {
                block.payload = CutPayload::of(Cut::default());
            }
            let proven = block.certificate.is_some();
            self.bytes += row.len();
            self.run.push(block);
            if self.bytes >= SERVE_BYTES {
                // Dealings are long; the rest goes with the next request.
                self.count = self.count.min(self.run.len());
            }
            if proven && self.run.len() >= self.count {
                return false;
            }
        }
        let most = self.count as u64 + UNFINAL_VIEWS_MAX;
        !rows.is_empty() && (self.run.len() as u64) < most
    }
}

impl Replica {
    pub(crate) fn read_run(&mut self, serving: Serving, out: &mut Vec<Effect>) {
        // Earlier epochs are nothing to a member of this one, and their dealings are gone.
        if serving.from <= self.genesis.base() {
            return;
        }
        let next = serving.from.plus(serving.run.len() as u64);
        let rows = match serving.run.is_empty() {
            true => serving.count + TAIL_ROWS,
            false => MORE_ROWS,
        };
        let range = (
            Table::Blocks,
            height_key(next),
            height_key(Height(u64::MAX)),
        );
        self.load(range, (rows, SERVE_BYTES), Reading::Blocks(serving), out);
    }

    pub(crate) fn run_read(&mut self, mut serving: Serving, rows: &[Row], out: &mut Vec<Effect>) {
        if serving.extend(rows) {
            return self.read_run(serving, out);
        }
        let Serving { to, count, run, .. } = serving;
        let blocks = Blocks::collect(run, count as u16);
        if !blocks.blocks.is_empty() {
            let message = consensus::Message::Blocks(blocks);
            self.send(Peers::One(to), Message::Consensus(Box::new(message)), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::{
        BlockHeader, BlockId, Certificate, CertificateKind, ChainId, Digest, Epoch, Micros, Millis,
        SignerSet, View, encode,
    };

    use super::*;

    fn row(height: u64, proven: bool) -> Row {
        let header = BlockHeader {
            chain: ChainId(1),
            epoch: Epoch(0),
            view: View(height),
            height: Height(height),
            parent_view: View(height - 1),
            parent: BlockId::default(),
            proposer: MemberId(0),
            time: Millis(Micros(height).0),
            payload: Digest::default(),
        };
        let certificate = proven.then(|| Certificate {
            kind: CertificateKind::Final,
            epoch: Epoch(0),
            view: View(height),
            height: Height(height),
            block: header.id(),
            signers: SignerSet(7),
            dirty: SignerSet(0),
            signatures: Vec::new(),
        });
        let block = FinalBlock {
            header,
            payload: CutPayload::of(Cut::genesis(4)),
            certificate,
        };
        (height_key(Height(height)), encode(&block))
    }

    #[test]
    fn a_run_is_read_on_until_a_certificate_proves_it() {
        let mut serving = Serving::new(MemberId(1), Height(1), 4);
        // A certificate inside the run does not prove its end.
        let first: Vec<_> = (1..=20).map(|height| row(height, height == 2)).collect();
        assert!(serving.extend(&first));
        let more: Vec<_> = (21..=700)
            .map(|height| row(height, height == 600))
            .collect();
        assert!(!serving.extend(&more));
        assert_eq!(serving.run.len(), 600);
        assert!(
            serving.run[4..]
                .iter()
                .all(|b| b.payload.cut.heads.is_empty())
        );
        let blocks = Blocks::collect(serving.run, 4);
        assert_eq!((blocks.blocks.len(), blocks.tail.len()), (4, 596));
        assert!(blocks.proof.is_some());
    }

    #[test]
    fn the_end_of_the_table_ends_it() {
        let mut serving = Serving::new(MemberId(1), Height(1), 4);
        assert!(serving.extend(&[row(1, true), row(2, false)]));
        assert!(!serving.extend(&[]));
        assert_eq!(Blocks::collect(serving.run, 4).blocks.len(), 2);
    }
}

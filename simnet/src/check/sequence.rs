//! S6, S7, S9, S10 and S12 of the emitted sequence.

use std::collections::BTreeMap;

use fairlane_types::{
    CtId, Domain, Height, Item, Millis, Outcome, PublicKey, Receipt, Root, SequencedBlock,
};

use crate::marks::Mark;
use crate::workload::{Kind, Trade};

use super::{Notes, Rule};

#[derive(Debug)]
pub struct Sequence {
    /// Blocks from height 1, as the first member emitted them.
    blocks: Vec<SequencedBlock>,
    /// Per member: next height to be emitted, and the height durable on its disk.
    next: Vec<u64>,
    durable: Vec<BTreeMap<u64, Root>>,
    /// Per member what is on its disk above the tip: a consumer reads it there even if the
    /// process died before it offered it.
    unseen: Vec<BTreeMap<u64, SequencedBlock>>,
    /// Where each order came out, or was left out.
    heights: BTreeMap<CtId, u64>,
    /// Accounts and nonces that were used up, and until when they are (finalized time).
    burned: BTreeMap<(PublicKey, u64), Millis>,
    /// Acknowledged orders, and the members whose word counts that said so.
    acknowledged: BTreeMap<CtId, u128>,
    /// What traders sealed; `None` where nothing can be opened.
    sealed: BTreeMap<CtId, Option<Vec<u8>>>,
}

impl Sequence {
    pub fn new(n: usize, trades: &[Trade]) -> Self {
        let mut sequence = Self {
            blocks: Vec::new(),
            next: vec![1; n],
            durable: vec![BTreeMap::new(); n],
            unseen: vec![BTreeMap::new(); n],
            heights: BTreeMap::new(),
            burned: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            sealed: BTreeMap::new(),
        };
        sequence.expect(trades);
        sequence
    }

    /// What traders will send.
    pub fn expect(&mut self, trades: &[Trade]) {
        self.sealed.extend(trades.iter().map(|trade| {
            let payload = (trade.kind != Kind::Unopenable).then(|| trade.payload.clone());
            (trade.envelope.id(), payload)
        }));
    }

    /// What was sealed in an order.
    pub fn sealed(&mut self, id: CtId, payload: &[u8]) {
        self.sealed.insert(id, Some(payload.to_vec()));
    }

    pub fn durable(&mut self, node: usize, block: &SequencedBlock, honest: bool) {
        let height = block.height.0;
        self.durable[node].insert(height, block.root);
        if honest && height > self.tip() {
            self.unseen[node].insert(height, block.clone());
        }
    }

    /// M6: what leaves one disk is on no honest member's way any more. What a liar says of
    /// itself is believed: of twins one may be behind the other.
    pub fn pruned(&self, node: usize, below: Height, honest: &[bool], notes: &mut Notes) {
        notes.mark(Mark::Pruned);
        let tip = |durable: &BTreeMap<u64, Root>| durable.last_key_value().map_or(0, |(h, _)| *h);
        let behind = |(d, honest): (_, &bool)| *honest && tip(d) < below.prev().0;
        if let Some(behind) = self.durable.iter().zip(honest).position(behind) {
            let what = format!("pruned below {below}, which member {behind} has not emitted");
            notes.break_rule(Rule::Retention, node, what);
        }
    }

    /// Root at a height that somebody has emitted.
    pub fn root_at(&self, height: Height) -> Option<Root> {
        let at = usize::try_from(height.0).ok()?.checked_sub(1)?;
        self.blocks.get(at).map(|block| block.root)
    }

    /// S6: an attested root is that of the sequence.
    pub fn attested(&mut self, node: usize, height: Height, root: Root, notes: &mut Notes) {
        notes.mark(Mark::Attested);
        if self.root_at(height) != Some(root) {
            let what = format!("attested a root of height {height} that nobody emitted");
            notes.break_rule(Rule::Sequence, node, what);
        }
    }

    pub fn forgot(&mut self, node: usize) {
        self.durable[node].clear();
        self.unseen[node].clear();
        self.disown(node);
    }

    /// S9 binds who is not faulty: a receipt rests on one disk, and this one is lost.
    pub fn disown(&mut self, node: usize) {
        self.acknowledged.retain(|_, members| {
            *members &= !(1 << node);
            *members != 0
        });
    }

    /// After a restart emission goes on behind what is on disk.
    ///
    /// Returns what nobody has offered: it counts as emitted.
    pub fn started(&mut self, node: usize, notes: &mut Notes) -> Vec<SequencedBlock> {
        let mut unseen = std::mem::take(&mut self.unseen[node]);
        let mut offered = Vec::new();
        while let Some(block) = unseen.remove(&(self.tip() + 1)) {
            self.first(node, &block, notes);
            offered.push(block);
        }
        self.next[node] = self.durable[node]
            .last_key_value()
            .map_or(1, |(h, _)| h + 1);
        offered
    }

    pub fn acknowledged(&mut self, node: usize, receipt: &Receipt) {
        *self.acknowledged.entry(receipt.ct_id).or_default() |= 1 << node;
    }

    pub fn emitted(&mut self, node: usize, block: &SequencedBlock, notes: &mut Notes) {
        let height = block.height.0;
        if height != self.next[node] {
            let what = format!("emitted {height} when {} was due", self.next[node]);
            notes.break_rule(Rule::Sequence, node, what);
            return;
        }
        self.next[node] += 1;
        self.unseen[node].retain(|unseen, _| *unseen > height);
        if self.durable[node].get(&height) != Some(&block.root) {
            notes.break_rule(
                Rule::PersistFirst,
                node,
                format!("emitted {height} before it was durable"),
            );
        }
        match self.blocks.get(height as usize - 1) {
            Some(known) if known != block => {
                notes.break_rule(
                    Rule::Sequence,
                    node,
                    format!("another sequence at height {height}"),
                );
            }
            Some(_) => {}
            None => self.first(node, block, notes),
        }
    }

    /// The first emission of a height.
    fn first(&mut self, node: usize, block: &SequencedBlock, notes: &mut Notes) {
        let (parent_root, position) = self.blocks.last().map_or((Root::default(), 0), |last| {
            (last.root, last.first_position.0 + last.items.len() as u64)
        });
        let rooted = self.blocks.is_empty() || block.parent_root == parent_root;
        if !rooted || block.first_position.0 != position || root_of(block) != block.root.0.0 {
            notes.break_rule(
                Rule::Sequence,
                node,
                format!("height {} does not chain", block.height),
            );
        }
        for (index, item) in block.items.iter().enumerate() {
            if item.position.0 != position + index as u64 {
                notes.break_rule(Rule::Sequence, node, "positions have gaps");
            }
            if self.heights.insert(item.ct_id, block.height.0).is_some() {
                notes.break_rule(Rule::Twice, node, format!("{} came out twice", item.ct_id));
            }
            self.outcome(node, block.time, item, notes);
        }
        self.blocks.push(block.clone());
    }

    fn outcome(&mut self, node: usize, time: Millis, item: &Item, notes: &mut Notes) {
        let sealed = self.sealed.get(&item.ct_id);
        let opened = match &item.outcome {
            Outcome::Opened { payload, .. } => Some(Some(payload.clone())),
            Outcome::Undecryptable => Some(None),
            Outcome::Expired | Outcome::DuplicateNonce => None,
        };
        let Some(opened) = opened else { return };
        if opened.is_none() {
            notes.mark(Mark::Undecryptable);
        }
        let wrong = match sealed {
            Some(sealed) if *sealed == opened => None,
            Some(_) => Some("opened to something else than was sealed"),
            // A4: a copy of somebody's ciphertext under another name.
            None => Some("is nobody's order"),
        };
        if let Some(wrong) = wrong {
            notes.break_rule(Rule::Plaintext, node, format!("{} {wrong}", item.ct_id));
        }
        // A nonce is free again once the order that used it is past its expiry.
        let account = (item.label.sender, item.label.nonce);
        let used = self.burned.insert(account, item.label.expiry);
        if used.is_some_and(|until| until >= time) {
            let what = format!("nonce {} of one sender was executed twice", account.1);
            notes.break_rule(Rule::Twice, node, what);
        }
    }

    /// The rule gives these no item at a height: they had one before, or expired for good.
    pub fn left_out(&mut self, height: Height, stale: &[CtId], notes: &mut Notes) {
        for id in stale {
            notes.mark(Mark::Stale);
            self.heights.entry(*id).or_insert(height.0);
        }
    }

    pub fn contains(&self, id: &CtId) -> bool {
        self.heights.contains_key(id)
    }

    /// Whether an acknowledged order is nowhere in the sequence.
    pub fn lost(&self) -> bool {
        self.acknowledged
            .keys()
            .any(|id| !self.heights.contains_key(id))
    }

    pub fn owed(&self, node: usize) -> usize {
        let next = self.next[node];
        let emitted = |id: &&CtId| self.heights.get(id).is_some_and(|height| *height < next);
        self.acknowledged.len() - self.acknowledged.keys().filter(emitted).count()
    }

    pub fn height(&self, node: usize) -> u64 {
        self.next[node] - 1
    }

    pub const fn tip(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub fn items(&self) -> usize {
        self.heights.len()
    }

    pub fn root(&self) -> [u8; 32] {
        self.blocks.last().map_or([0; 32], |block| block.root.0.0)
    }
}

/// The root from its definition: a Merkle tree split at the largest power of two, under
/// the header of the block.
fn root_of(block: &SequencedBlock) -> [u8; 32] {
    fn tree(leaves: &[[u8; 32]]) -> [u8; 32] {
        let Some(first) = leaves.first() else {
            return Domain::MerkleNode.hash(&[]).0;
        };
        if leaves.len() == 1 {
            return *first;
        }
        let mut left = 1;
        while left * 2 < leaves.len() {
            left *= 2;
        }
        let both = [tree(&leaves[..left]), tree(&leaves[left..])].concat();
        Domain::MerkleNode.hash(&both).0
    }
    let leaves: Vec<_> = block
        .items
        .iter()
        .map(|item| Domain::MerkleLeaf.hash(&fairlane_types::encode(item)).0)
        .collect();
    let mut bytes = Vec::new();
    for part in [
        fairlane_types::encode(&(block.chain, block.epoch, block.parent_root, block.height)),
        fairlane_types::encode(&(block.block, block.time, block.first_position, block.state)),
        tree(&leaves).to_vec(),
    ] {
        bytes.extend(part);
    }
    Domain::SequenceRoot.hash(&bytes).0
}

//! The final tip and the tree of blocks above it.

use std::collections::BTreeMap;

use fairlane_types::{BlockHeader, BlockId, Height, Signature, View};

use crate::config::{BLOCKS_PER_VIEW_MAX, RECENT_BLOCKS};
use crate::message::{Block, FinalBlock, Payload};

/// A block above the tip, authentic: its leader's signature or a certificate vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node<P> {
    pub(crate) block: Block<P>,
    /// The leader's signature over the header; unverified if it came with a fetched block.
    pub(crate) signature: Option<Signature>,
}

/// How a block hangs on the tip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// All ids from the tip (excluded) to the block, ascending.
    Path(Vec<BlockId>),
    /// The highest block missing below it, and its height if known.
    Missing(BlockId, Option<Height>),
    /// It does not descend from the tip.
    Conflict,
}

/// What happened to a block put into the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// It is there now, alone in its view.
    First,
    /// It is there now, next to another block of its view: the leader equivocated (C6).
    Second,
    /// It was there, or there is no room in its view (C11).
    Unchanged,
}

/// Final tip and tree. Bounded: blocks of one view are at most [`BLOCKS_PER_VIEW_MAX`], and
/// views at most [`UNFINAL_VIEWS_MAX`](crate::config::UNFINAL_VIEWS_MAX).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chain<P> {
    tip: FinalBlock<P>,
    tip_id: BlockId,
    /// The last few blocks below the tip, oldest first.
    recent: Vec<(BlockId, Block<P>)>,
    nodes: BTreeMap<BlockId, Node<P>>,
    views: BTreeMap<View, Vec<BlockId>>,
}

impl<P: Payload> Chain<P> {
    pub(crate) fn new(tip: FinalBlock<P>) -> Self {
        Self {
            tip_id: tip.id(),
            tip,
            recent: Vec::new(),
            nodes: BTreeMap::new(),
            views: BTreeMap::new(),
        }
    }

    pub(crate) fn tip(&self) -> &FinalBlock<P> {
        &self.tip
    }
    pub(crate) fn tip_id(&self) -> BlockId {
        self.tip_id
    }
    pub(crate) fn tip_view(&self) -> View {
        self.tip.header.view
    }
    pub(crate) fn height(&self) -> Height {
        self.tip.header.height
    }

    /// Header of a block above the tip, or of the tip.
    pub(crate) fn header(&self, id: BlockId) -> Option<&BlockHeader> {
        if id == self.tip_id {
            return Some(&self.tip.header);
        }
        self.nodes.get(&id).map(|node| &node.block.header)
    }

    /// Block above the tip, or the tip.
    pub(crate) fn block(&self, id: BlockId) -> Option<Block<P>> {
        if id == self.tip_id {
            return Some(self.tip.block());
        }
        self.nodes.get(&id).map(|node| node.block.clone())
    }

    pub(crate) fn has(&self, id: BlockId) -> bool {
        id == self.tip_id || self.nodes.contains_key(&id)
    }

    pub(crate) fn node(&self, id: BlockId) -> Option<&Node<P>> {
        self.nodes.get(&id)
    }

    /// For a peer that asks by id: recently final blocks are served as well.
    pub(crate) fn serve(&self, id: BlockId) -> Option<(Block<P>, Option<Signature>)> {
        if let Some(node) = self.nodes.get(&id) {
            return Some((node.block.clone(), node.signature));
        }
        if id == self.tip_id {
            return Some((self.tip.block(), None));
        }
        let (_, block) = self.recent.iter().find(|(recent, _)| *recent == id)?;
        Some((block.clone(), None))
    }

    /// Puts in an authentic block above the tip.
    pub(crate) fn insert(&mut self, block: Block<P>, signature: Option<Signature>) -> Insert {
        let id = block.id();
        let view = block.header.view;
        if view <= self.tip_view() || self.nodes.contains_key(&id) {
            return Insert::Unchanged;
        }
        let of_view = self.views.entry(view).or_default();
        if of_view.len() >= BLOCKS_PER_VIEW_MAX {
            return Insert::Unchanged;
        }
        of_view.push(id);
        let second = of_view.len() > 1;
        self.nodes.insert(id, Node { block, signature });
        if second {
            Insert::Second
        } else {
            Insert::First
        }
    }

    /// Keeps the leader's signature with its block.
    pub(crate) fn sign(&mut self, id: BlockId, signature: Signature) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.signature.get_or_insert(signature);
        }
    }

    /// The blocks of a view.
    pub(crate) fn of_view(&self, view: View) -> &[BlockId] {
        self.views.get(&view).map_or(&[], Vec::as_slice)
    }

    /// Makes room in a view for a certified block: whatever is not `keep` goes.
    pub(crate) fn make_room(&mut self, view: View, keep: impl Fn(BlockId) -> bool) {
        if let Some(of_view) = self.views.get_mut(&view)
            && of_view.len() >= BLOCKS_PER_VIEW_MAX
            && let Some(at) = of_view.iter().position(|id| !keep(*id))
        {
            let id = of_view.remove(at);
            self.nodes.remove(&id);
        }
    }

    /// How `id` hangs on the tip.
    pub(crate) fn link(&self, id: BlockId) -> Link {
        let mut path = Vec::new();
        let (mut at, mut height) = (id, None);
        while at != self.tip_id {
            let Some(node) = self.nodes.get(&at) else {
                return Link::Missing(at, height);
            };
            let header = &node.block.header;
            // Heights and views were checked by the honest voters of a certified block;
            // for anything else they are only claims, and the walk must end.
            let falls = height.is_none_or(|h| header.height == h);
            if header.height <= self.height() || !falls {
                return Link::Conflict;
            }
            path.push(at);
            at = header.parent;
            height = Some(header.height.prev());
            if header.height == self.height().next() && at != self.tip_id {
                return Link::Conflict;
            }
        }
        path.reverse();
        Link::Path(path)
    }

    /// Takes a block out of the tree, to be final.
    pub(crate) fn take(&mut self, id: BlockId) -> Option<Block<P>> {
        self.nodes.remove(&id).map(|node| node.block)
    }

    /// The child of the tip becomes the tip.
    pub(crate) fn advance(&mut self, next: FinalBlock<P>) {
        let id = next.id();
        let old = core::mem::replace(&mut self.tip, next);
        self.recent.push((self.tip_id, old.block()));
        self.tip_id = id;
        if self.recent.len() > RECENT_BLOCKS {
            self.recent.remove(0);
        }
    }

    /// Forgets what finality has decided.
    pub(crate) fn prune(&mut self) {
        let tip_view = self.tip_view();
        self.nodes.retain(|_, n| n.block.header.view > tip_view);
        self.views.retain(|view, _| *view > tip_view);
    }
}

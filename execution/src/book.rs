//! One market's resting orders: an arena of nodes, a price ladder of 64-tick pages with a
//! bitmap each, and a queue threaded through the nodes of a price. No operation allocates
//! once the arenas have grown. Time priority is the place in the queue; it equals the
//! order of [`Resting::seq`], so a book is rebuilt from its orders sorted by it.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

/// Index of "no node".
const NONE: u32 = u32::MAX;
/// Ticks in a page, one bit each.
const PAGE_TICKS: u64 = 64;
/// Remembered pages of a side, so that the index is asked for new places only.
const HOT_PAGES: usize = 64;

/// A resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Resting {
    /// Dense number of its account.
    pub account: u32,
    /// Buy, or sell.
    pub buy: bool,
    /// May only shrink a position.
    pub reduce_only: bool,
    /// Price in ticks.
    pub ticks: u64,
    /// Lots left; never 0.
    pub lots: u64,
    /// The account's own number for it.
    pub cloid: u64,
    /// Priority among all orders, ascending.
    pub seq: u64,
    /// Last height it rests at; 0 for no end.
    pub until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    order: Resting,
    prev: u32,
    next: u32,
}

/// An order before lots were taken off it, and its neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) order: Resting,
    lots: u64,
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    head: u32,
    tail: u32,
    lots: u64,
}

#[derive(Clone, Debug)]
struct Page {
    bits: u64,
    levels: [Level; PAGE_TICKS as usize],
}

const EMPTY: Level = Level {
    head: NONE,
    tail: NONE,
    lots: 0,
};

/// One side's prices.
#[derive(Clone, Debug)]
struct Ladder {
    buy: bool,
    pages: Vec<Page>,
    free: Vec<u32>,
    index: BTreeMap<u64, u32>,
    hot: [(u64, u32); HOT_PAGES],
    /// Page number and slot of the best page.
    best: Option<(u64, u32)>,
}

impl Ladder {
    fn new(buy: bool) -> Self {
        Self {
            buy,
            pages: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            hot: [(u64::MAX, NONE); HOT_PAGES],
            best: None,
        }
    }

    fn page(&mut self, number: u64) -> Option<u32> {
        let hot = &mut self.hot[(number % HOT_PAGES as u64) as usize];
        if hot.0 != number {
            *hot = (number, *self.index.get(&number)?);
        }
        Some(hot.1)
    }

    fn page_or_new(&mut self, number: u64) -> u32 {
        if let Some(slot) = self.page(number) {
            return slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.pages.push(Page {
                bits: 0,
                levels: [EMPTY; PAGE_TICKS as usize],
            });
            (self.pages.len() - 1) as u32
        });
        self.index.insert(number, slot);
        self.hot[(number % HOT_PAGES as u64) as usize] = (number, slot);
        let better = self.best.is_none_or(|(best, _)| {
            if self.buy {
                number > best
            } else {
                number < best
            }
        });
        if better {
            self.best = Some((number, slot));
        }
        slot
    }

    fn drop_page(&mut self, number: u64, slot: u32) {
        self.index.remove(&number);
        self.free.push(slot);
        self.hot[(number % HOT_PAGES as u64) as usize] = (u64::MAX, NONE);
        let next = if self.buy {
            self.index.last_key_value()
        } else {
            self.index.first_key_value()
        };
        self.best = next.map(|(number, slot)| (*number, *slot));
    }

    fn best(&self) -> Option<u64> {
        let (number, slot) = self.best?;
        let bits = self.pages[slot as usize].bits;
        let bit = if self.buy {
            63 - bits.leading_zeros()
        } else {
            bits.trailing_zeros()
        };
        Some(number * PAGE_TICKS + u64::from(bit))
    }

    /// Slot of a page; the best one is known without asking the index.
    fn find(&self, number: u64) -> Option<u32> {
        match self.best {
            Some((best, slot)) if best == number => Some(slot),
            _ => self.index.get(&number).copied(),
        }
    }

    /// First order of a price.
    fn head(&self, ticks: u64) -> u32 {
        let slot = self.find(ticks / PAGE_TICKS);
        slot.map_or(NONE, |slot| {
            self.pages[slot as usize].levels[(ticks % PAGE_TICKS) as usize].head
        })
    }

    /// Price that follows `ticks` away from the best.
    fn after(&self, ticks: u64) -> Option<u64> {
        let (number, bit) = (ticks / PAGE_TICKS, ticks % PAGE_TICKS);
        let bits = self.pages[self.find(number)? as usize].bits;
        let rest = if self.buy {
            bits & ((1 << bit) - 1)
        } else {
            bits & !(u64::MAX >> (63 - bit))
        };
        let (number, bits) = if rest != 0 {
            (number, rest)
        } else {
            let next = if self.buy {
                self.index.range(..number).next_back()
            } else {
                self.index.range(number + 1..).next()
            };
            next.map(|(n, s)| (*n, self.pages[*s as usize].bits))?
        };
        let bit = if self.buy {
            63 - bits.leading_zeros()
        } else {
            bits.trailing_zeros()
        };
        Some(number * PAGE_TICKS + u64::from(bit))
    }
}

/// A price-time order book. It knows nothing of accounts' money.
#[derive(Clone, Debug)]
pub struct Book {
    nodes: Vec<Node>,
    free: Vec<u32>,
    bids: Ladder,
    asks: Ladder,
    len: usize,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            bids: Ladder::new(true),
            asks: Ladder::new(false),
            len: 0,
        }
    }
}

impl Book {
    /// Number of resting orders.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing rests.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Best price of a side, in ticks.
    #[must_use]
    pub fn best(&self, buy: bool) -> Option<u64> {
        if buy { &self.bids } else { &self.asks }.best()
    }

    /// The order in a slot, if it is one of this book's.
    pub(crate) fn get(&self, slot: u32) -> Option<&Resting> {
        self.nodes.get(slot as usize).map(|node| &node.order)
    }

    /// The order in a slot that [`Self::insert`] gave.
    #[must_use]
    pub fn order(&self, slot: u32) -> &Resting {
        &self.nodes[slot as usize].order
    }

    /// Puts an order, whose priority is behind all others', into its price's queue; gives its
    /// slot.
    pub fn insert(&mut self, order: Resting) -> u32 {
        let node = Node {
            order,
            prev: NONE,
            next: NONE,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.nodes[slot as usize] = node;
                slot
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        let ladder = if order.buy {
            &mut self.bids
        } else {
            &mut self.asks
        };
        let page = ladder.page_or_new(order.ticks / PAGE_TICKS);
        let page = &mut ladder.pages[page as usize];
        let bit = order.ticks % PAGE_TICKS;
        page.bits |= 1 << bit;
        let level = &mut page.levels[bit as usize];
        level.lots += order.lots;
        let prev = std::mem::replace(&mut level.tail, slot);
        if prev == NONE {
            level.head = slot;
        } else {
            self.nodes[prev as usize].next = slot;
        }
        self.nodes[slot as usize].prev = prev;
        self.len += 1;
        slot
    }

    /// Takes lots off an order; at none left it leaves the book. Gives what is left.
    pub fn reduce(&mut self, slot: u32, lots: u64) -> u64 {
        let node = &mut self.nodes[slot as usize];
        node.order.lots -= lots;
        let (order, prev, next) = (node.order, node.prev, node.next);
        let ladder = if order.buy {
            &mut self.bids
        } else {
            &mut self.asks
        };
        let (number, bit) = (order.ticks / PAGE_TICKS, order.ticks % PAGE_TICKS);
        let at = ladder
            .page(number)
            .expect("invariant: a resting order's page is there");
        let page = &mut ladder.pages[at as usize];
        let level = &mut page.levels[bit as usize];
        level.lots -= lots;
        if order.lots > 0 {
            return order.lots;
        }
        if prev == NONE {
            level.head = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next == NONE {
            level.tail = prev;
        } else {
            self.nodes[next as usize].prev = prev;
        }
        if level.head == NONE {
            page.bits &= !(1 << bit);
            if page.bits == 0 {
                ladder.drop_page(number, at);
            }
        }
        self.free.push(slot);
        self.len -= 1;
        0
    }

    /// Takes an order out.
    pub fn remove(&mut self, slot: u32) {
        self.reduce(slot, self.order(slot).lots);
    }

    /// What gives an order its lots and its place back after [`Self::reduce`], said before that.
    pub(crate) fn place_of(&self, slot: u32, lots: u64) -> Place {
        let Node { order, prev, next } = self.nodes[slot as usize];
        Place {
            slot,
            order,
            lots,
            prev,
            next,
        }
    }

    /// Takes [`Self::reduce`] back. What came after it must be taken back already: then the
    /// neighbours are those of before, and the slot is the one that was freed last.
    pub(crate) fn put_back(&mut self, place: &Place) {
        let Place {
            slot,
            order,
            lots,
            prev,
            next,
        } = *place;
        let ladder = if order.buy {
            &mut self.bids
        } else {
            &mut self.asks
        };
        let page = ladder.page_or_new(order.ticks / PAGE_TICKS);
        let page = &mut ladder.pages[page as usize];
        let bit = order.ticks % PAGE_TICKS;
        let level = &mut page.levels[bit as usize];
        level.lots += lots;
        if lots < order.lots {
            self.nodes[slot as usize].order.lots = order.lots;
            return;
        }
        page.bits |= 1 << bit;
        let freed = self.free.pop();
        debug_assert_eq!(freed, Some(slot), "taken back out of turn");
        self.nodes[slot as usize] = Node { order, prev, next };
        if prev == NONE {
            level.head = slot;
        } else {
            self.nodes[prev as usize].next = slot;
        }
        if next == NONE {
            level.tail = slot;
        } else {
            self.nodes[next as usize].prev = slot;
        }
        self.len += 1;
    }

    /// The slots that an order of the other side meets down to `limit`, best first, until
    /// `visit` says false.
    pub fn walk(&self, buy: bool, limit: u64, mut visit: impl FnMut(u32, &Resting) -> bool) {
        let ladder = if buy { &self.bids } else { &self.asks };
        let mut price = ladder.best();
        while let Some(ticks) = price {
            if (buy && ticks < limit) || (!buy && ticks > limit) {
                return;
            }
            let mut slot = ladder.head(ticks);
            while slot != NONE {
                let node = &self.nodes[slot as usize];
                if !visit(slot, &node.order) {
                    return;
                }
                slot = node.next;
            }
            price = ladder.after(ticks);
        }
    }

    /// Price and lots of every level of a side, best first.
    #[must_use]
    pub fn levels(&self, buy: bool) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        self.each_level(buy, if buy { 0 } else { u64::MAX }, |ticks, lots| {
            all.push((ticks, lots));
            true
        });
        all
    }

    /// Lots of a side down to a price, counted until there are so many.
    #[must_use]
    pub fn lots_to(&self, buy: bool, limit: u64, enough: u64) -> u64 {
        let mut sum: u64 = 0;
        self.each_level(buy, limit, |_, lots| {
            sum = sum.saturating_add(lots);
            sum < enough
        });
        sum
    }

    /// Visits levels down to a price, best first, until `visit` says false.
    fn each_level(&self, buy: bool, limit: u64, mut visit: impl FnMut(u64, u64) -> bool) {
        let ladder = if buy { &self.bids } else { &self.asks };
        let mut price = ladder.best();
        while let Some(ticks) = price {
            if (buy && ticks < limit) || (!buy && ticks > limit) {
                return;
            }
            if let Some(slot) = ladder.find(ticks / PAGE_TICKS) {
                let level = ladder.pages[slot as usize].levels[(ticks % PAGE_TICKS) as usize];
                if !visit(ticks, level.lots) {
                    return;
                }
            }
            price = ladder.after(ticks);
        }
    }
}

//! What a transaction of several steps may have to take back. Accounts are kept as they
//! were before their first change, with their orders; a book is its accounts' orders in
//! the order of their priority, so that nothing else of it need be kept.

use crate::account::Account;
use crate::book::Resting;
use crate::house::House;

/// An account before its first change, and its orders with their markets.
struct Kept {
    account: u32,
    was: Account,
    orders: Vec<(u32, Resting)>,
}

/// The state before, as far as steps changed it.
pub(crate) struct Journal {
    accounts: Vec<Kept>,
    fees: i128,
    fills: u64,
    funding: i128,
    next_seq: u64,
    interest: Vec<u64>,
}

impl Clone for Journal {
    // Never open between transactions.
    fn clone(&self) -> Self {
        Self {
            accounts: Vec::new(),
            fees: self.fees,
            fills: self.fills,
            funding: self.funding,
            next_seq: self.next_seq,
            interest: Vec::new(),
        }
    }
}

impl House {
    /// Does `steps` or nothing.
    pub(crate) fn atomically<E>(
        &mut self,
        steps: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.journal = Some(Journal {
            accounts: Vec::new(),
            fees: self.core.fees,
            fills: self.core.fills,
            funding: self.core.funding,
            next_seq: self.core.next_seq,
            interest: self.core.markets.iter().map(|m| m.open_interest).collect(),
        });
        let result = steps(self);
        if let (Some(journal), true) = (self.journal.take(), result.is_err()) {
            self.take_back(journal);
        }
        result
    }

    /// Keeps an account as it is, if a journal is open and does not have it. Before the
    /// first change of the account or of its orders.
    #[inline]
    pub(crate) fn keep(&mut self, account: u32) {
        if self.journal.is_some() {
            self.keep_in_journal(account);
        }
    }

    fn keep_in_journal(&mut self, account: u32) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        if journal.accounts.iter().any(|kept| kept.account == account) {
            return;
        }
        let was = self.accounts[account as usize].clone();
        let orders = was.positions.iter().flat_map(|p| {
            let book = &self.books[p.market as usize];
            let order = |slot: u32| (p.market, *book.order(slot));
            p.orders.iter().map(move |(_, slot)| order(*slot))
        });
        let orders = orders.collect();
        journal.accounts.push(Kept {
            account,
            was,
            orders,
        });
    }

    fn take_back(&mut self, journal: Journal) {
        for kept in &journal.accounts {
            let positions = std::mem::take(&mut self.accounts[kept.account as usize].positions);
            for position in positions {
                for (_, slot) in position.orders {
                    let book = &mut self.books[position.market as usize];
                    self.expiries.remove(&book.order(slot).expiry());
                    book.remove(slot);
                }
            }
        }
        for kept in journal.accounts {
            let Kept {
                account,
                mut was,
                orders,
            } = kept;
            for position in &mut was.positions {
                position.orders.clear();
            }
            self.accounts[account as usize] = was;
            for (market, order) in orders {
                let slot = self.books[market as usize].insert(order);
                self.note_expiry(market, &order);
                self.position(account, market).add_order(order.cloid, slot);
            }
        }
        self.core.fees = journal.fees;
        self.core.fills = journal.fills;
        self.core.funding = journal.funding;
        self.core.next_seq = journal.next_seq;
        for (market, interest) in self.core.markets.iter_mut().zip(journal.interest) {
            market.open_interest = interest;
        }
    }
}

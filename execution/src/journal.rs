//! What a transaction of several steps may have to take back. Accounts are kept as they were
//! before their first change; changes of a book are taken back one by one, the last first, each
//! without a search: what a transaction undoes costs no more than what it did.

use std::collections::BTreeMap;

use crate::account::Account;
use crate::book::Place;
use crate::house::House;

/// A change of a market's book.
enum Step {
    /// Lots taken off an order.
    Reduced(Place),
    /// An order put into this slot.
    Inserted(u32),
}

/// The state before, as far as steps changed it.
pub(crate) struct Journal {
    /// By number.
    accounts: BTreeMap<u32, Account>,
    /// With their markets.
    steps: Vec<(u32, Step)>,
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
            accounts: BTreeMap::new(),
            steps: Vec::new(),
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
            accounts: BTreeMap::new(),
            steps: Vec::new(),
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
        if let Some(journal) = &mut self.journal {
            let accounts = &self.accounts;
            let was = || accounts[account as usize].clone();
            journal.accounts.entry(account).or_insert_with(was);
        }
    }

    /// Keeps the place of an order that lots are about to be taken off.
    #[inline]
    pub(crate) fn keep_place(&mut self, market: u32, slot: u32, lots: u64) {
        if let Some(journal) = &mut self.journal {
            let place = self.books[market as usize].place_of(slot, lots);
            journal.steps.push((market, Step::Reduced(place)));
        }
    }

    /// Notes an order that was put into its book.
    #[inline]
    pub(crate) fn keep_inserted(&mut self, market: u32, slot: u32) {
        if let Some(journal) = &mut self.journal {
            journal.steps.push((market, Step::Inserted(slot)));
        }
    }

    fn take_back(&mut self, journal: Journal) {
        for (market, step) in journal.steps.into_iter().rev() {
            let book = &mut self.books[market as usize];
            match step {
                Step::Inserted(slot) => {
                    self.expiries.remove(&book.order(slot).expiry());
                    book.remove(slot);
                }
                Step::Reduced(place) => {
                    book.put_back(&place);
                    self.note_expiry(market, &place.order);
                }
            }
        }
        for (account, was) in journal.accounts {
            self.accounts[account as usize] = was;
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

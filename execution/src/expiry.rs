//! Orders that rest up to a height. Those due go after that block's transactions, by
//! (height, priority).

use crate::book::Resting;
use crate::event::Event;
use crate::house::House;

/// Where an order that expires is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    account: u32,
    pub(crate) market: u32,
    cloid: u64,
}

impl Resting {
    /// Its key among all that expire.
    pub(crate) const fn expiry(&self) -> (u64, u64) {
        (self.until, self.seq)
    }
}

impl House {
    /// Notes a resting order that expires.
    pub(crate) fn note_expiry(&mut self, market: u32, order: &Resting) {
        if order.until > 0 {
            let expiring = Expiring {
                account: order.account,
                market,
                cloid: order.cloid,
            };
            self.expiries.insert(order.expiry(), expiring);
        }
    }

    /// Takes out the orders whose last height is `height`.
    pub(crate) fn expire(&mut self, height: u64, events: &mut Vec<Event>) {
        while let Some((key, due)) = self.expiries.first_key_value() {
            if key.0 > height {
                return;
            }
            let Expiring {
                account,
                market,
                cloid,
            } = *due;
            let key = *key;
            let slot = self.held(account, market).and_then(|p| p.order(cloid));
            if let Some(slot) = slot {
                self.take_out(market, slot);
                events.push(Event::Expired {
                    account,
                    market,
                    cloid,
                });
            }
            self.expiries.remove(&key);
        }
    }
}

//! An account's standing at the marks.

use crate::account::{Health, Position};
use crate::house::House;

impl House {
    /// An account's standing at the marks.
    #[must_use]
    pub fn health(&self, account: u32) -> Health {
        self.health_with(account, None)
    }

    /// The same with one position replaced.
    pub(crate) fn health_with(&self, account: u32, instead: Option<&Position>) -> Health {
        let account = &self.accounts[account as usize];
        let mut health = Health {
            equity: account.collateral,
            ..Health::default()
        };
        let mut placed = false;
        for position in &account.positions {
            let position = match instead {
                Some(other) if other.market == position.market => {
                    placed = true;
                    other
                }
                _ => position,
            };
            let market = &self.core.markets[position.market as usize];
            health.add(position, market);
        }
        if let (false, Some(position)) = (placed, instead) {
            let market = &self.core.markets[position.market as usize];
            health.add(position, market);
        }
        health
    }
}

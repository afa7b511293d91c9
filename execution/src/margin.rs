//! An account's standing at the marks.

use crate::account::{Health, Position};
use crate::house::{House, Market};
use crate::units::micro;

impl House {
    /// An account's standing at the marks.
    #[must_use]
    pub fn health(&self, account: u32) -> Health {
        self.health_with(account, None)
    }

    /// The same with one position replaced.
    pub(crate) fn health_with(&self, account: u32, instead: Option<&Position>) -> Health {
        let mut health = Health {
            equity: self.accounts[account as usize].collateral,
            ..Health::default()
        };
        self.each_position(account, instead, |position, market| {
            health.add(position, market);
        });
        health
    }

    /// Whether [`Self::health_with`] covers the initial margin and so much × ppm more, and nothing
    /// but that: asked for every order and every fill.
    pub(crate) fn covers_initial(
        &self,
        account: u32,
        instead: Option<&Position>,
        more_micro: i128,
    ) -> bool {
        let equity = self.accounts[account as usize].collateral;
        let (mut equity, mut initial) = (equity, more_micro);
        self.each_position(account, instead, |position, market| {
            equity += position.profit(market);
            initial += position.initial_micro(market);
        });
        micro(equity) >= initial
    }

    fn each_position(
        &self,
        account: u32,
        instead: Option<&Position>,
        mut visit: impl FnMut(&Position, &Market),
    ) {
        let mut placed = false;
        for position in &self.accounts[account as usize].positions {
            let position = match instead {
                Some(other) if other.market == position.market => {
                    placed = true;
                    other
                }
                _ => position,
            };
            visit(position, &self.core.markets[position.market as usize]);
        }
        if let (false, Some(position)) = (placed, instead) {
            visit(position, &self.core.markets[position.market as usize]);
        }
    }
}

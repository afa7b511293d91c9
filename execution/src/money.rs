//! Money in and out: deposits, withdrawals, transfers. What leaves is free collateral;
//! profit that is not realised does not count (Mango, 2022).

use fairlane_types::PublicKey;

use crate::Reject;
use crate::house::{ByPrefix, House};
use crate::params::ACCOUNTS_MAX;
use crate::units::{PPM, QUOTE_MAX};

impl House {
    /// Takes free collateral: profit that is not realised does not count (Mango, 2022).
    pub(crate) fn debit(&mut self, account: u32, amount: u64) -> Result<(), Reject> {
        // What its positions are worth is not known: nothing leaves against them.
        if !self.is_priced(account) {
            return Err(Reject::Unpriced);
        }
        let health = self.health(account);
        let collateral = self.accounts[account as usize].collateral;
        let ripe = collateral - self.unripe(account);
        let free = (ripe + health.losses) * PPM - health.initial_micro;
        if amount == 0 || i128::from(amount) * PPM > free {
            return Err(Reject::Amount);
        }
        self.accounts[account as usize].collateral -= i128::from(amount);
        self.touch(account);
        Ok(())
    }

    pub(crate) fn credit(&mut self, to: PublicKey, amount: u64) {
        let id = match self.keys.get(&ByPrefix(to)) {
            Some(id) => *id,
            None => self.open_account(to),
        };
        self.accounts[id as usize].collateral += i128::from(amount);
        self.touch(id);
    }

    pub(crate) fn deposit(
        &mut self,
        sender: &PublicKey,
        to: PublicKey,
        amount: u64,
        number: u64,
    ) -> Result<(), Reject> {
        if self.core.bridge.as_ref() != Some(sender) || number != self.core.deposits {
            return Err(Reject::Forbidden);
        }
        if amount == 0 {
            return Err(Reject::Amount);
        }
        let full = !self.keys.contains_key(&ByPrefix(to)) && self.accounts.len() >= ACCOUNTS_MAX;
        if full || self.core.deposited + i128::from(amount) > QUOTE_MAX {
            return Err(Reject::Full);
        }
        self.core.deposits += 1;
        self.core.deposited += i128::from(amount);
        self.credit(to, amount);
        Ok(())
    }
}

//! Token buckets per sender at the edge (M5).

use std::collections::BTreeMap;

use fairlane_types::{Micros, PublicKey};

use crate::Quota;

/// Senders with a bucket that is not full.
pub(crate) const SENDERS_MAX: usize = 100_000;

/// Buckets hold millionths of an order, so that one microsecond adds `per_second`.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    buckets: BTreeMap<PublicKey, (u64, Micros)>,
}

impl Quotas {
    /// Takes one order from the sender's bucket.
    ///
    /// # Errors
    /// Microseconds until there is one.
    pub fn take(&mut self, quota: &Quota, sender: &PublicKey, now: Micros) -> Result<(), u64> {
        const ORDER: u64 = 1_000_000;
        let full = u64::from(quota.burst.max(1)) * ORDER;
        let rate = u64::from(quota.per_second.max(1));
        let level = |&(tokens, at): &(u64, Micros)| {
            let gained = now.0.saturating_sub(at.0).saturating_mul(rate);
            tokens.saturating_add(gained).min(full)
        };
        if !self.buckets.contains_key(sender) && self.buckets.len() >= SENDERS_MAX {
            // A full bucket is as good as none.
            self.buckets.retain(|_, bucket| level(bucket) < full);
            if self.buckets.len() >= SENDERS_MAX {
                return Err(ORDER);
            }
        }
        let tokens = self.buckets.get(sender).map_or(full, level);
        match tokens.checked_sub(ORDER) {
            Some(left) => {
                // A clock that steps back gains nothing.
                let at = self.buckets.get(sender).map_or(now, |b| b.1.max(now));
                self.buckets.insert(*sender, (left, at));
                Ok(())
            }
            None => Err((ORDER - tokens).div_ceil(rate)),
        }
    }

    /// What [`Quotas::take`] would say, without taking.
    pub fn check(&self, quota: &Quota, sender: &PublicKey, now: Micros) -> Result<(), u64> {
        match self.buckets.get(sender) {
            None => Ok(()),
            Some(bucket) => {
                let mut one = Self::default();
                one.buckets.insert(*sender, *bucket);
                one.take(quota, sender, now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_gets_its_burst_and_then_its_rate() {
        let quota = Quota {
            per_second: 10,
            burst: 3,
        };
        let (mut quotas, key) = (Quotas::default(), PublicKey([7; 32]));
        for _ in 0..3 {
            assert_eq!(quotas.take(&quota, &key, Micros(0)), Ok(()));
        }
        assert_eq!(quotas.check(&quota, &key, Micros(0)), Err(100_000));
        assert_eq!(quotas.take(&quota, &key, Micros(40_000)), Err(60_000));
        assert_eq!(quotas.take(&quota, &key, Micros(100_000)), Ok(()));
        assert_eq!(quotas.take(&quota, &PublicKey([8; 32]), Micros(0)), Ok(()));
        assert!(quotas.take(&quota, &key, Micros(0)).is_err());
    }
}

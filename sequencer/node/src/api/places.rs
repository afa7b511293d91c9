//! Places for connections and streams: so many in all, and so many for one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what is taken.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    each_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    each: BTreeMap<IpAddr, usize>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    whose: IpAddr,
}

impl Places {
    pub(crate) fn new(max: usize, each_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            each_max,
            taken: Mutex::default(),
        })
    }

    /// Takes a place, if there is one for this address.
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let whose = whose(from);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let each = taken.each.get(&whose).copied().unwrap_or(0);
        if taken.all >= self.max || each >= self.each_max {
            return None;
        }
        taken.all += 1;
        taken.each.insert(whose, each + 1);
        Some(Place {
            places: self.clone(),
            whose,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = self.places.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(each) = taken.each.get_mut(&self.whose) {
            *each -= 1;
            if *each == 0 {
                taken.each.remove(&self.whose);
            }
        }
    }
}

/// Whom an address counts for: in IPv6 whoever has one has its network of 64 bits.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_so_many_for_each_and_for_all_and_come_back() {
        let places = Places::new(4, 2);
        let one = places.take(ip("10.0.0.1")).unwrap();
        // The same address, written as IPv6.
        let two = places.take(ip("::ffff:10.0.0.1")).unwrap();
        assert!(places.take(ip("10.0.0.1")).is_none());
        // One network of IPv6 is one client.
        let six = places.take(ip("2001:db8::1")).unwrap();
        let seven = places.take(ip("2001:db8::ffff:0:0:2")).unwrap();
        assert!(places.take(ip("10.0.0.2")).is_none(), "all are taken");
        drop(six);
        assert!(places.take(ip("10.0.0.1")).is_none());
        let other = places.take(ip("10.0.0.2")).unwrap();
        drop(one);
        let again = places.take(ip("10.0.0.1")).unwrap();
        drop((two, seven, other, again));
        let taken = places.taken.lock().unwrap();
        assert!(
            taken.all == 0 && taken.each.is_empty(),
            "nothing is left over"
        );
    }
}

//! Bounds on what strangers can make this node do before they have shown a key: an
//! address is proven by a retry packet first (stateless), then handshakes are bounded at
//! once and per second for each address, and at once in all (A29).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::failure::lock;

/// Handshakes under way at once.
pub const HANDSHAKES_OPEN_MAX: usize = 256;
/// Handshakes under way at once from one address.
pub const HANDSHAKES_OPEN_PER_ADDRESS_MAX: u32 = 32;
/// Handshakes per second from one address, in the long run.
pub const HANDSHAKES_PER_S_PER_ADDRESS_MAX: f64 = 16.0;
/// Handshakes from one address at once after a pause.
const HANDSHAKES_BURST_PER_ADDRESS: f64 = 128.0;
/// Addresses remembered; beyond it those that have been quiet are forgotten.
const ADDRESSES_MAX: usize = 4_096;

struct Address {
    open: u32,
    tokens: f64,
    at: Instant,
}

impl Address {
    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + gained * HANDSHAKES_PER_S_PER_ADDRESS_MAX)
            .min(HANDSHAKES_BURST_PER_ADDRESS);
        self.at = now;
    }
}

#[derive(Default)]
struct State {
    addresses: BTreeMap<IpAddr, Address>,
    open: usize,
}

/// Admits handshakes.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

/// One admitted handshake; its place is free again when dropped.
pub(super) struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    /// Admits a handshake of a proven address, or not.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Pass> {
        let address = network_of(address);
        let mut state = lock(&self.state);
        if state.open >= HANDSHAKES_OPEN_MAX {
            return None;
        }
        if state.addresses.len() >= ADDRESSES_MAX && !state.addresses.contains_key(&address) {
            state.addresses.retain(|_, entry| {
                entry.refill(now);
                entry.open > 0 || entry.tokens < HANDSHAKES_BURST_PER_ADDRESS
            });
            if state.addresses.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        let entry = state.addresses.entry(address).or_insert(Address {
            open: 0,
            tokens: HANDSHAKES_BURST_PER_ADDRESS,
            at: now,
        });
        entry.refill(now);
        if entry.open >= HANDSHAKES_OPEN_PER_ADDRESS_MAX || entry.tokens < 1.0 {
            return None;
        }
        entry.tokens -= 1.0;
        entry.open += 1;
        state.open += 1;
        Some(Pass {
            gate: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.open = state.open.saturating_sub(1);
        if let Some(entry) = state.addresses.get_mut(&self.address) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}

/// A host has its whole /64 in IPv6.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(
            || {
                let mut segments = v6.segments();
                segments[4..].fill(0);
                IpAddr::from(segments)
            },
            IpAddr::V4,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn one_address_is_bounded_at_once_and_per_second() {
        let gate = Arc::new(Gate::default());
        let now = Instant::now();
        let mut passes: Vec<_> = (0..).map_while(|_| gate.admit(v4(1), now)).collect();
        assert_eq!(passes.len() as u32, HANDSHAKES_OPEN_PER_ADDRESS_MAX);
        assert!(gate.admit(v4(2), now).is_some(), "others are not affected");
        passes.clear();
        let burst = (0..).map_while(|_| gate.admit(v4(1), now)).count() as f64;
        assert_eq!(
            burst,
            HANDSHAKES_BURST_PER_ADDRESS - f64::from(HANDSHAKES_OPEN_PER_ADDRESS_MAX)
        );
        let later = now + Duration::from_secs(1);
        let refilled = (0..).map_while(|_| gate.admit(v4(1), later)).count() as f64;
        assert_eq!(refilled, HANDSHAKES_PER_S_PER_ADDRESS_MAX);
    }

    #[test]
    fn all_addresses_together_are_bounded_in_number_and_memory() {
        let gate = Arc::new(Gate::default());
        let now = Instant::now();
        let passes: Vec<_> = (0..10_000).filter_map(|n| gate.admit(v4(n), now)).collect();
        assert_eq!(passes.len(), HANDSHAKES_OPEN_MAX);
        drop(passes);
        for n in 0..3 * ADDRESSES_MAX as u32 {
            drop(gate.admit(v4(n), now));
        }
        assert!(lock(&gate.state).addresses.len() <= ADDRESSES_MAX);
        let later = now + Duration::from_secs(60);
        assert!(
            gate.admit(v4(u32::MAX), later).is_some(),
            "quiet ones are forgotten"
        );
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:1.2.3.4"), v4(0x0102_0304));
    }
}

//! What is missing, whom to ask, and when to ask another. The list of wants is derived
//! from the state after every step; this only paces the asking.

use std::collections::BTreeMap;

use fairlane_types::{BlockId, Height, MemberId, Micros, SignerSet, View};

/// Something this member lacks. At most a handful exist at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Want {
    /// A certified block that never came.
    Block(BlockId),
    /// Certificates of views between the parent and the current view.
    Certs { from: View, to: View },
    /// Final blocks from this height on.
    Blocks(Height),
}

/// A want with the peers that should have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) want: Want,
    /// Asked first.
    pub(crate) prefer: SignerSet,
    /// Blocks the vote of this view: asked without grace.
    pub(crate) urgent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Request {
    /// Peers asked so far.
    attempt: u32,
    /// When to ask the next.
    due: Micros,
    /// Peers that were asked and have not answered since.
    open: SignerSet,
}

/// Requests under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fetch {
    requests: BTreeMap<Want, Request>,
    timer: Option<Micros>,
}

impl Fetch {
    /// The timer fired: the next one must be set anew.
    pub(crate) fn awake(&mut self) {
        self.timer = None;
    }
    /// Whether this was asked for.
    pub(crate) fn asked(&self, want: Want) -> bool {
        self.requests.get(&want).is_some_and(|r| r.attempt > 0)
    }
    /// A peer sends final blocks; whether it was asked. Each request is answered once: who
    /// sends false ones without end keeps no answer of another peer out.
    pub(crate) fn blocks_from(&mut self, peer: MemberId) -> bool {
        let blocks = |want: &&Want| matches!(want, Want::Blocks(_));
        let Some(want) = self.requests.keys().find(blocks).copied() else {
            return false;
        };
        let Some(request) = self.requests.get_mut(&want) else {
            return false;
        };
        let asked = request.open.contains(peer);
        request.open.remove(peer);
        asked
    }
    /// Peers asked so far for the final blocks that are missing.
    pub(crate) fn blocks_attempts(&self) -> u32 {
        let blocks =
            |(want, r): (&Want, &Request)| matches!(want, Want::Blocks(_)).then_some(r.attempt);
        self.requests.iter().find_map(blocks).unwrap_or(0)
    }

    /// Brings the requests in line with `needs`: returns what to send now, to whom, and the
    /// new timer if it has to move.
    pub(crate) fn update(
        &mut self,
        now: Micros,
        needs: &[Need],
        me: Option<MemberId>,
        n: usize,
        grace: Micros,
        retry: Micros,
    ) -> (Vec<(Want, MemberId)>, Option<Micros>) {
        self.requests
            .retain(|want, _| needs.iter().any(|need| need.want == *want));
        let mut send = Vec::new();
        for need in needs {
            let request = self.requests.entry(need.want).or_insert(Request {
                attempt: 0,
                due: if need.urgent { now } else { now.plus(grace.0) },
                open: SignerSet::default(),
            });
            if need.urgent && request.attempt == 0 {
                request.due = request.due.min(now);
            }
            if now < request.due {
                continue;
            }
            let round = request.attempt / n.max(1) as u32;
            if let Some(peer) = peer(need.prefer, request.attempt, me, n) {
                request.open.insert(peer);
                send.push((need.want, peer));
            }
            request.attempt = request.attempt.saturating_add(1);
            request.due = now.plus(retry.0.saturating_mul(1 << round.min(6)));
        }
        let next = self.requests.values().map(|r| r.due).min();
        let moved = next.is_some() && next != self.timer;
        self.timer = next;
        (send, next.filter(|_| moved))
    }
}

/// The `attempt`-th peer: those preferred first, each asker starting elsewhere; then all.
fn peer(prefer: SignerSet, attempt: u32, me: Option<MemberId>, n: usize) -> Option<MemberId> {
    let start = me.map_or(0, |m| m.index() + 1);
    let ring = || {
        (0..n)
            .map(|i| MemberId(((start + i) % n) as u8))
            .filter(|m| Some(*m) != me)
    };
    let first = ring().filter(|m| prefer.contains(*m));
    let rest = ring().filter(|m| !prefer.contains(*m));
    let peers: Vec<_> = first.chain(rest).collect();
    let at = attempt as usize % peers.len().max(1);
    peers.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_asked_in_turn_the_preferred_first() {
        let prefer = SignerSet::from_iter([MemberId(0), MemberId(1)]);
        let asked: Vec<_> = (0..6)
            .filter_map(|a| peer(prefer, a, Some(MemberId(1)), 4))
            .map(|m| m.0)
            .collect();
        assert_eq!(asked, [0, 2, 3, 0, 2, 3]);
        assert_eq!(peer(prefer, 0, None, 4), Some(MemberId(0)));
    }

    #[test]
    fn requests_follow_needs_and_are_retried_with_others() {
        let mut fetch = Fetch::default();
        let need = Need {
            want: Want::Blocks(Height(3)),
            prefer: SignerSet::default(),
            urgent: false,
        };
        let me = Some(MemberId(0));
        let mut update =
            |now, needs: &[Need]| fetch.update(Micros(now), needs, me, 4, Micros(10), Micros(100));
        assert_eq!(update(0, &[need]), (vec![], Some(Micros(10))));
        let (sent, timer) = update(10, &[need]);
        assert_eq!(sent, [(need.want, MemberId(1))]);
        assert_eq!(timer, Some(Micros(110)));
        assert_eq!(update(50, &[need]), (vec![], None));
        assert_eq!(update(110, &[need]).0, [(need.want, MemberId(2))]);
        assert_eq!(update(120, &[]), (vec![], None));
        let urgent = Need {
            urgent: true,
            ..need
        };
        assert_eq!(update(130, &[urgent]).0, [(need.want, MemberId(1))]);
    }
}

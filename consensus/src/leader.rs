//! Who leads which view: round-robin over a shuffle that is fixed per epoch.

use fairlane_types::{ChainId, Committee, Domain, Epoch, MemberId, View};

/// The order in which members lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaderSchedule {
    order: Vec<MemberId>,
}

impl LeaderSchedule {
    /// Fisher–Yates over a hash stream of chain and epoch: everyone computes the same, and
    /// a key cannot be ground for a place, since keys do not enter.
    #[must_use]
    pub fn new(chain: ChainId, epoch: Epoch, committee: &Committee) -> Self {
        let mut stream = Domain::LeaderSchedule
            .hasher()
            .update(&chain.0.to_le_bytes())
            .update(&epoch.0.to_le_bytes())
            .update(&(committee.n() as u64).to_le_bytes())
            .finalize_xof();
        let mut order: Vec<MemberId> = committee.ids().collect();
        for last in (1..order.len()).rev() {
            let mut word = [0; 8];
            stream.fill(&mut word);
            // 2⁶⁴ mod 100 makes a bias below 10⁻¹⁷, which nobody can use.
            let pick = u64::from_le_bytes(word) % (last as u64 + 1);
            order.swap(last, pick as usize);
        }
        Self { order }
    }

    /// The leader of a view; every n successive views are led by n different members.
    #[must_use]
    pub fn leader(&self, view: View) -> MemberId {
        let index = view.0 % self.order.len().max(1) as u64;
        self.order
            .get(index as usize)
            .copied()
            .unwrap_or(MemberId(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlane_types::PublicKey;

    #[test]
    fn every_member_leads_once_a_round() {
        for n in 4..=100u8 {
            let keys = (0..n).map(|i| PublicKey([i; 32])).collect();
            let committee = Committee::new(keys).unwrap();
            let schedule = LeaderSchedule::new(ChainId(7), Epoch(1), &committee);
            for start in [0, 1, 1_000_003] {
                let mut seen: Vec<_> = (start..start + u64::from(n))
                    .map(|v| schedule.leader(View(v)))
                    .collect();
                seen.sort();
                assert_eq!(seen, committee.ids().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn epochs_and_chains_shuffle_differently() {
        let keys = (0..31u8).map(|i| PublicKey([i; 32])).collect();
        let committee = Committee::new(keys).unwrap();
        let at = |chain, epoch| LeaderSchedule::new(ChainId(chain), Epoch(epoch), &committee);
        assert_ne!(at(1, 0), at(1, 1));
        assert_ne!(at(1, 0), at(2, 0));
        assert_eq!(at(1, 0), at(1, 0));
    }
}

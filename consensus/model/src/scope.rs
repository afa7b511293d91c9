//! How much is explored, and with which rule broken.

use fairlane_consensus::{Config, LeaderSchedule, Params};
use fairlane_types::{ChainId, Committee, Epoch, MemberId, Micros, Planted, PublicKey, View};

/// Chain of the model.
pub(crate) const CHAIN: ChainId = ChainId(7);
/// Epoch of the model.
pub(crate) const EPOCH: Epoch = Epoch(3);
/// Members.
pub(crate) const N: usize = 4;
/// Honest members.
pub(crate) const HONEST: usize = 3;
/// Statements that make a certificate, and shares that open a ciphertext.
pub(crate) const QUORUM: usize = 3;
/// Most views: everything known about a view is a bit of a byte or a slot of an array.
pub(crate) const VIEWS_MAX: u64 = 8;

/// When shares leave (D2, D3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reveal {
    /// D2: when the block is final.
    #[default]
    AfterFinal,
    /// D3 without its rule: with every commit vote.
    WithCommit,
    /// D3: with the commit vote for a block that has a clean quorum.
    WithCleanCommit,
    /// D3, but pledges are forgotten when something is final.
    ForgetfulClean,
}

/// Which orders of events are explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// All.
    #[default]
    Any,
    /// Those in which members say in a view what costs them nothing ([`crate::order`]).
    Forthcoming,
    /// Of these one for each outcome: view by view, members in turn.
    Layered,
}

/// The bounds of an exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Views in which anything is said.
    pub views: u64,
    /// The Byzantine member leads this view (modulo n).
    pub liar_leads: u64,
    /// Crashes of each honest member; what was not synced is lost. With none, every write
    /// is durable at once.
    pub crashes: u8,
    /// The liar also shows certificates that do not verify.
    pub forgeries: bool,
    /// When shares leave; anything but [`Reveal::AfterFinal`] also lets leaders choose
    /// whether their block holds the ciphertext.
    pub reveal: Reveal,
    /// The rule broken on purpose.
    pub planted: Planted,
    /// Which orders of events.
    pub order: Order,
}

impl Scope {
    /// So many views, with the liar leading one of them.
    #[must_use]
    pub const fn new(views: u64, liar_leads: u64) -> Self {
        Self {
            views: if views < VIEWS_MAX { views } else { VIEWS_MAX },
            liar_leads,
            crashes: 0,
            forgeries: false,
            reveal: Reveal::AfterFinal,
            planted: Planted::NONE,
            order: Order::Any,
        }
    }

    /// The same in fewer orders.
    #[must_use]
    pub const fn ordered(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The Byzantine member.
    #[must_use]
    pub fn liar(&self) -> MemberId {
        schedule().leader(View(self.liar_leads))
    }

    /// The honest members, ascending.
    #[must_use]
    pub fn honest(&self) -> [MemberId; HONEST] {
        let liar = self.liar();
        let mut ids = committee().ids().filter(|id| *id != liar);
        core::array::from_fn(|_| ids.next().unwrap_or_default())
    }

    pub(crate) fn chooses(&self) -> bool {
        self.reveal != Reveal::AfterFinal
    }

    pub(crate) fn config(&self, me: MemberId) -> Config {
        Config {
            chain: CHAIN,
            epoch: EPOCH,
            committee: committee(),
            me: Some(me),
            voting: true,
            params: Params {
                min_interval: Micros(1),
                max_interval: Micros(2),
                delay_min: Micros(1),
                delay_max: Micros(1_000),
            },
            clean_votes: self.chooses(),
            planted: self.planted,
        }
    }
}

pub(crate) fn schedule() -> LeaderSchedule {
    LeaderSchedule::new(CHAIN, EPOCH, &committee())
}

pub(crate) fn key(member: MemberId) -> PublicKey {
    PublicKey([member.0 + 1; 32])
}

pub(crate) fn committee() -> Committee {
    let keys = (0..N as u8).map(|m| key(MemberId(m))).collect();
    Committee::new(keys).expect("invariant: four different keys are a committee")
}

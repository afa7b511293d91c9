//! The encryption key of the epoch before, while orders that are sealed to it may come out
//! (PROTOCOL §6, THREATS A21).
//!
//! Which orders it opens follows from labels, genesis and finalized time alone: none of a block
//! after its time. So once such a block is emitted here, durably, this member needs its share
//! no more: whoever lacks shares of earlier blocks gets those that were made.

use fairlane_types::{Height, Millis};

use crate::boundary::Effect;
use crate::replica::Replica;
use crate::under_way::Purpose;

/// How far a former key is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormerKey {
    /// Last finalized time at which it opens orders.
    until: Millis,
    /// The first height of which it opens nothing, once that is emitted here.
    over: Option<Height>,
    /// The shell knows.
    told: bool,
}

impl FormerKey {
    /// Of an epoch whose last block emitted here has this height and time.
    pub fn new(until: Millis, height: Height, time: Millis) -> Self {
        Self {
            until,
            over: (time > until).then(|| height.next()),
            told: false,
        }
    }

    /// Whether it may still open something.
    pub const fn is_live(&self) -> bool {
        self.over.is_none()
    }
}

impl Replica {
    /// A block is emitted, durably.
    pub(crate) fn former_at(&mut self, height: Height, time: Millis, out: &mut Vec<Effect>) {
        if let Some(former) = &mut self.former
            && time > former.until
        {
            former.over.get_or_insert(height);
        }
        self.tell_key_over(out);
    }

    /// Tells the shell to erase the share, once no job works with it.
    pub(crate) fn tell_key_over(&mut self, out: &mut Vec<Effect>) {
        let Some(former) = &mut self.former else {
            return;
        };
        let Some(over) = former.over.filter(|_| !former.told) else {
            return;
        };
        let works =
            |purpose: &Purpose| matches!(purpose, Purpose::Shares(height) if *height < over);
        if self.jobs.values().any(works) {
            return;
        }
        former.told = true;
        out.push(Effect::KeyOver);
        self.ending.release();
        self.look_again();
    }

    /// Until when the key of the epoch before opens orders, while it does.
    pub(crate) fn former_until(&self) -> Option<Millis> {
        let former = self.former.filter(FormerKey::is_live);
        former.map(|former| former.until)
    }
}

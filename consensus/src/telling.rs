//! Who is told of a new view (C8).
//!
//! Members hear the same votes, so most make the certificate that leads into the next view
//! themselves, and the next leader's proposal carries it to the others. The f + 1 members that
//! follow the leader, one of them honest, send it to the leader at once, so that a leader that
//! lacks votes proposes a hop later. And Δ̂ later everyone sends it to those that have not
//! shown by then that they are in the view or beyond: a commit vote for a view shows it, since
//! nobody says it without the notarization (C3).
//!
//! A final certificate is told only so. Who has the commit votes of all honest members makes
//! it, and who has not, because some of them skipped the view, has the block final with the
//! next one.

use fairlane_types::{MemberId, Micros, View};

use crate::boundary::{Output, Timer, To};
use crate::core::Core;
use crate::message::{Message, Payload};

/// What members have shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Telling {
    /// The latest view that each member has shown to be in.
    shown: Vec<View>,
    /// The view that others have time to show, and until when.
    due: Option<(View, Micros)>,
}

impl Telling {
    /// All of n members are in `view` or beyond, as far as anybody knows.
    pub(crate) fn new(n: usize, view: View) -> Self {
        Self {
            shown: vec![view; n],
            due: None,
        }
    }

    /// A member says something that nobody says before it is in this view. A false claim costs
    /// nobody else anything.
    pub(crate) fn show(&mut self, member: MemberId, view: View) {
        if let Some(shown) = self.shown.get_mut(member.index()) {
            *shown = view.max(*shown);
        }
    }

    /// Members other than `me` that have not shown this view.
    fn behind(&self, view: View, me: MemberId) -> Vec<(MemberId, View)> {
        let members = self.shown.iter().enumerate();
        members
            .map(|(index, shown)| (MemberId(index as u8), *shown))
            .filter(|(member, shown)| *shown < view && *member != me)
            .collect()
    }
}

impl<P: Payload> Core<P> {
    /// A view was entered.
    pub(crate) fn tell(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let (view, leader) = (self.view, self.leader(self.view));
        let Some(me) = self.speaker() else {
            return;
        };
        let (n, f) = (self.config.committee.n(), self.config.committee.f());
        let place = (me.index() + n - leader.index()) % n;
        let behind = self.telling.behind(view, me);
        if place <= f + 1 && behind.iter().any(|(member, _)| *member == leader) {
            self.send_entry(leader, out);
        }
        self.wait_for_others(now, out);
    }

    /// Others have time to show that they are in this view, unless an earlier one is waited for.
    fn wait_for_others(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        if self.telling.due.is_none() {
            let at = now.plus(self.pace.delay().0);
            self.telling.due = Some((self.view, at));
            let timer = Timer::Tell;
            out.push(Output::SetTimer { timer, at });
        }
    }

    /// Those who have not shown the view by now get what leads into the present one.
    pub(crate) fn tell_others(&mut self, now: Micros, out: &mut Vec<Output<P>>) {
        let Some((view, _)) = self.telling.due.filter(|(_, at)| now >= *at) else {
            return;
        };
        self.telling.due = None;
        let Some(me) = self.speaker() else {
            return;
        };
        let pause = self.pace.retry();
        for (member, shown) in self.telling.behind(view, me) {
            self.help(now, (member, shown), pause, out);
        }
        if self.view > view {
            self.wait_for_others(now, out);
        }
    }

    fn send_entry(&mut self, to: MemberId, out: &mut Vec<Output<P>>) {
        if let Some(entry) = &self.entry {
            out.push(Output::Send {
                to: To::One(to),
                message: Message::Certificate(entry.clone()),
            });
        }
    }
}

//! Time: when to propose, when to give up on a view, when to say it again (C9, C10).
//!
//! ```text
//! enter ──── arm ──────── propose_at ── view_at
//!   │         │               │            └ proposal but no certificate: skip
//!   │         │               └ no proposal: skip
//!   │         └ this member could propose an advancing cut, or sees the proposal,
//!   │           or max_interval is over;   propose_at = arm + min_interval + 2Δ̂·2ᵏ
//!   └ a leader waits min_interval here;    view_at    = propose_at + Δ̂·2ᵏ (+ Δ̂·2ᵏ once)
//! ```
//! Δ̂ comes from quorum round trips: the time from the own vote (durable and sent) to the
//! final certificate of the same block is two hops of the q-th fastest member and two
//! durable writes. Being a quorum statistic, f members cannot move it. An outage can: what was
//! voted for before it is final after it. So a sample counts for at most twice Δ̂, and what
//! lengthened Δ̂ once is soon forgotten (decision 24).

use fairlane_types::{MemberId, Micros, View};

use crate::config::{
    BACKOFF_DOUBLINGS_MAX, DELAY_FIRST, INACTIVE_VIEWS, Params, REBROADCAST_MAX, REBROADCAST_MIN,
    SAMPLE_GROWTH_MAX,
};

/// Deadlines of the current view and the delay estimate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pacemaker {
    params: Params,
    entered: Micros,
    /// (propose_at, view_at), once armed.
    deadlines: Option<(Micros, Micros)>,
    extended: bool,
    /// Views failed in a row, and the last one counted.
    failed: u32,
    counted: View,
    /// Rebroadcasts in this view so far, and when the next is due.
    repeats: u32,
    repeat_at: Option<Micros>,
    /// Own vote that left, for the next sample.
    voted: Option<(View, Micros)>,
    /// Smoothed one-hop delay and its deviation (RFC 6298), none before the first sample.
    smoothed: Option<(Micros, Micros)>,
    /// The latest view in which each member said something.
    heard: Vec<View>,
}

impl Pacemaker {
    pub(crate) fn new(params: Params, n: usize, view: View) -> Self {
        Self {
            params,
            entered: Micros(0),
            deadlines: None,
            extended: false,
            failed: 0,
            counted: View(0),
            repeats: 0,
            repeat_at: None,
            voted: None,
            smoothed: None,
            heard: vec![view; n],
        }
    }

    /// Δ̂, clamped.
    pub(crate) fn delay(&self) -> Micros {
        let estimate = match self.smoothed {
            None => DELAY_FIRST,
            Some((mean, deviation)) => {
                let margin = deviation.0.saturating_mul(4);
                Micros(mean.0.saturating_mul(2).saturating_add(margin))
            }
        };
        estimate.clamp(self.params.delay_min, self.params.delay_max)
    }

    /// Δ̂·2ᵏ after k failed views.
    fn patience(&self) -> Micros {
        let doublings = self.failed.min(BACKOFF_DOUBLINGS_MAX);
        Micros(self.delay().0.saturating_mul(1 << doublings))
    }

    /// Starts a view; the deadlines wait for [`arm`](Self::arm).
    pub(crate) fn enter(&mut self, now: Micros) {
        self.entered = now;
        self.deadlines = None;
        self.extended = false;
        self.repeats = 0;
        self.repeat_at = None;
    }

    /// When a leader may propose something that advances, and when it must propose at all.
    pub(crate) fn pace(&self) -> (Micros, Micros) {
        (
            self.entered.plus(self.params.min_interval.0),
            self.entered.plus(self.params.max_interval.0),
        )
    }

    /// C10: whether a leader proposes now.
    pub(crate) fn due(&self, now: Micros, proposable: bool) -> bool {
        let (earliest, latest) = self.pace();
        now >= latest || (proposable && now >= earliest)
    }

    /// C9: the leader's time runs from here. Returns the deadlines if they are new.
    pub(crate) fn arm(&mut self, now: Micros) -> Option<(Micros, Micros)> {
        if self.deadlines.is_some() {
            return None;
        }
        let patience = self.patience();
        let propose = now
            .plus(self.params.min_interval.0)
            .plus(patience.0.saturating_mul(2));
        self.deadlines = Some((propose, propose.plus(patience.0)));
        self.deadlines
    }

    /// C9: one more Δ̂ while data is fetched, once a view. Returns the new view deadline.
    pub(crate) fn extend(&mut self) -> Option<Micros> {
        let patience = self.patience();
        if self.extended {
            return None;
        }
        let (_, view_at) = self.deadlines.as_mut()?;
        *view_at = view_at.plus(patience.0);
        self.extended = true;
        Some(*view_at)
    }

    pub(crate) fn propose_over(&self, now: Micros) -> bool {
        self.deadlines.is_some_and(|(propose, _)| now >= propose)
    }
    pub(crate) fn view_over(&self, now: Micros) -> bool {
        self.deadlines.is_some_and(|(_, view)| now >= view)
    }

    /// A view failed: this member skipped it, or a skip certificate did. Counting the own
    /// skips matters: with Δ̂ too short every view may be notarized just after it was
    /// skipped, and without growing patience none would ever be final.
    pub(crate) fn failed(&mut self, view: View) {
        if view > self.counted {
            self.counted = view;
            self.failed = self.failed.saturating_add(1);
        }
    }

    /// The view was left at once because of its leader: no reason for longer timers.
    pub(crate) fn excuse(&mut self, view: View) {
        self.counted = self.counted.max(view);
    }

    /// Something became final: timers start over.
    pub(crate) fn finalized(&mut self) {
        self.failed = 0;
    }

    /// Schedules the next rebroadcast (C9).
    pub(crate) fn repeat(&mut self, now: Micros) -> Micros {
        let base = REBROADCAST_MIN.0.max(self.delay().0.saturating_mul(4));
        let doublings = self.repeats.min(BACKOFF_DOUBLINGS_MAX);
        let pause = base.saturating_mul(1 << doublings).min(REBROADCAST_MAX.0);
        self.repeats = self.repeats.saturating_add(1);
        let at = now.plus(pause.max(base));
        self.repeat_at = Some(at);
        at
    }
    pub(crate) fn repeat_over(&self, now: Micros) -> bool {
        self.repeat_at.is_some_and(|at| now >= at)
    }

    /// Own vote left at `now`.
    pub(crate) fn voted(&mut self, view: View, now: Micros) {
        if self.voted.is_none_or(|(last, _)| view > last) {
            self.voted = Some((view, now));
        }
    }

    /// The block of `view` is final at `now`.
    pub(crate) fn sample(&mut self, view: View, now: Micros) {
        let Some((voted, at)) = self.voted else {
            return;
        };
        if voted != view {
            return;
        }
        self.voted = None;
        // Clamped before it enters: an outage or a suspended node must not poison the
        // estimate. A delay that has really grown is followed in a few samples.
        let delay = self.delay();
        let most = match self.smoothed {
            None => delay,
            Some(_) => Micros(delay.0.saturating_mul(SAMPLE_GROWTH_MAX)),
        };
        let hop = Micros(now.minus(at.0).0 / 2).min(most);
        self.smoothed = Some(match self.smoothed {
            None => (hop, Micros(hop.0 / 2)),
            Some((mean, deviation)) => {
                let mut error = mean.0.abs_diff(hop.0);
                // A delay that falls is no reason for a longer Δ̂.
                if hop < mean && error > deviation.0 {
                    let beyond = error.saturating_sub(deviation.0);
                    error = beyond / 8;
                }
                (
                    Micros(mean.0.saturating_mul(7).saturating_add(hop.0) / 8),
                    Micros(deviation.0.saturating_mul(3).saturating_add(error) / 4),
                )
            }
        });
    }

    /// A member said something about `view` while this one is in `current`: it cannot
    /// claim to be active in the future.
    pub(crate) fn hear(&mut self, member: MemberId, view: View, current: View) {
        if let Some(heard) = self.heard.get_mut(member.index()) {
            *heard = (*heard).max(view.min(current));
        }
    }

    /// C9: the leader has been silent for long while q members, this one included, were
    /// not. (Not q others: with f members down there are only q − 1 of those.)
    pub(crate) fn inactive(&self, leader: MemberId, current: View, quorum: usize) -> bool {
        let alive = |heard: &View| heard.plus(INACTIVE_VIEWS) >= current;
        let silent = self.heard.get(leader.index()).is_some_and(|h| !alive(h));
        silent && self.heard.iter().filter(|h| alive(h)).count() >= quorum
    }

    /// How long to wait for an answer before asking another peer.
    pub(crate) fn retry(&self) -> Micros {
        Micros(self.delay().0.saturating_mul(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn pacemaker() -> Pacemaker {
        let params = Params {
            min_interval: Micros(5 * MS),
            max_interval: Micros(500 * MS),
            delay_min: Micros(10 * MS),
            delay_max: Micros(2_000 * MS),
        };
        Pacemaker::new(params, 4, View(0))
    }

    fn measured(hop_ms: u64) -> Pacemaker {
        let mut pace = pacemaker();
        for view in 1..64 {
            pace.voted(View(view), Micros(0));
            pace.sample(View(view), Micros(2 * hop_ms * MS));
        }
        pace
    }

    #[test]
    fn c9_delay_is_measured_and_clamped() {
        assert_eq!(pacemaker().delay(), DELAY_FIRST);
        assert_eq!(measured(1).delay(), Micros(10 * MS));
        let delay = measured(50).delay();
        assert!(
            (Micros(99 * MS)..Micros(110 * MS)).contains(&delay),
            "{delay}"
        );
        assert_eq!(measured(90_000).delay(), Micros(2_000 * MS));
    }

    #[test]
    fn c9_an_outage_is_soon_forgotten() {
        let sample = |pace: &mut Pacemaker, view, hop_ms: u64| {
            pace.voted(View(view), Micros(0));
            pace.sample(View(view), Micros(2 * hop_ms * MS));
            pace.delay()
        };
        // The first sample ever, taken while catching up.
        let mut pace = pacemaker();
        let poisoned = sample(&mut pace, 1, 60_000);
        assert!(poisoned.0 <= 4 * DELAY_FIRST.0, "{poisoned}");
        let mut last = poisoned;
        for view in 2..20 {
            let delay = sample(&mut pace, view, 5);
            assert!(delay <= last, "{last} grows to {delay} on a short delay");
            last = delay;
        }
        assert!(last < DELAY_FIRST, "{last}");
        // And any later one.
        let mut pace = measured(20);
        let before = pace.delay();
        let poisoned = sample(&mut pace, 64, 60_000);
        assert!(poisoned.0 < 4 * before.0, "{before}, then {poisoned}");
    }

    #[test]
    fn c9_a_delay_that_grows_is_followed() {
        let mut pace = measured(10);
        let mut samples = 0;
        while pace.delay() < Micros(1_000 * MS) {
            samples += 1;
            pace.voted(View(100 + samples), Micros(0));
            pace.sample(View(100 + samples), Micros(1_000 * MS));
        }
        assert!(samples <= 6, "{samples} samples from 10 to 500 ms");
    }

    #[test]
    fn c9_timers_double_up_to_64_times_and_reset() {
        let mut pace = measured(1);
        let span = |pace: &mut Pacemaker| {
            pace.enter(Micros(0));
            pace.arm(Micros(0)).unwrap().1.0 - 5 * MS
        };
        for k in 0..9 {
            assert_eq!(span(&mut pace), (30 * MS) << k.min(6));
            pace.failed(View(k + 1));
            pace.failed(View(k + 1)); // one view counts once
        }
        pace.finalized();
        assert_eq!(span(&mut pace), 30 * MS);
        pace.excuse(View(50));
        pace.failed(View(50));
        assert_eq!(span(&mut pace), 30 * MS);
    }

    #[test]
    fn c9_the_view_is_extended_once() {
        let mut pace = measured(1);
        pace.enter(Micros(0));
        assert_eq!(pace.extend(), None);
        let (_, view_at) = pace.arm(Micros(0)).unwrap();
        assert_eq!(pace.arm(Micros(7)), None);
        assert_eq!(pace.extend(), Some(view_at.plus(10 * MS)));
        assert_eq!(pace.extend(), None);
        assert!(!pace.view_over(view_at));
        assert!(pace.view_over(view_at.plus(10 * MS)));
    }

    #[test]
    fn c10_a_leader_waits_for_the_interval_or_the_heartbeat() {
        let mut pace = pacemaker();
        pace.enter(Micros(1_000 * MS));
        assert!(!pace.due(Micros(1_004 * MS), true));
        assert!(pace.due(Micros(1_005 * MS), true));
        assert!(!pace.due(Micros(1_499 * MS), false));
        assert!(pace.due(Micros(1_500 * MS), false));
    }

    #[test]
    fn c9_a_silent_leader_is_inactive_only_while_a_quorum_is_heard() {
        let mut pace = pacemaker();
        let now = View(INACTIVE_VIEWS + 10);
        assert!(!pace.inactive(MemberId(3), now, 3));
        for member in 0..3 {
            pace.hear(MemberId(member), View(u64::MAX), now);
        }
        assert!(pace.inactive(MemberId(3), now, 3));
        assert!(!pace.inactive(MemberId(3), View(INACTIVE_VIEWS), 3));
        assert!(!pace.inactive(MemberId(0), now, 3));
        // Claims about the future did not count for more than the present.
        assert!(!pace.inactive(MemberId(3), now.plus(INACTIVE_VIEWS + 1), 3));
        pace.hear(MemberId(3), now, now);
        assert!(!pace.inactive(MemberId(3), now, 3));
    }

    #[test]
    fn c9_rebroadcasts_slow_down() {
        let mut pace = measured(1);
        pace.enter(Micros(0));
        let mut last = 0;
        for expect in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
            let at = pace.repeat(Micros(last));
            assert_eq!(at.0 - last, expect * MS);
            last = at.0;
        }
    }
}

//! A failing run made small: delta debugging over its events (ddmin: Zeller, Hildebrandt,
//! IEEE TSE 2002), then fewer liars, members and orders, then a constant delay. A smaller
//! run counts only if it breaks the same rule first.

use crate::check::Rule;
use crate::faults::{Fault, Plan, Timed};
use crate::scenario::{Report, Scenario};

/// Committee that is tried instead of a larger one.
const MEMBERS_FEW: usize = 4;

/// What is left of a failing run.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run, with everything that the seed decided written out.
    pub scenario: Scenario,
    /// Its report.
    pub report: Report,
    /// Runs that it took.
    pub runs: u64,
}

/// Shrinks with at most `runs_max` runs; `None` if the run does not fail. `watch` hears of
/// every step down.
pub fn shrink(
    scenario: &Scenario,
    runs_max: u64,
    watch: impl FnMut(&str, &Scenario),
) -> Option<Shrunk> {
    let mut start = scenario.clone();
    let options = scenario.options();
    start.plan = Some(options.plan);
    start.liars = Some(options.liars);
    let report = start.run();
    let rule = report.violations.first()?.rule;
    let mut search = Search {
        best: start,
        report,
        rule,
        runs: 1,
        runs_max,
        watch,
    };
    search.events();
    search.liars();
    search.members();
    search.orders();
    search.delay();
    // Fewer orders may need fewer events.
    search.events();
    Some(Shrunk {
        scenario: search.best,
        report: search.report,
        runs: search.runs,
    })
}

struct Search<W> {
    best: Scenario,
    report: Report,
    rule: Rule,
    runs: u64,
    runs_max: u64,
    watch: W,
}

impl<W: FnMut(&str, &Scenario)> Search<W> {
    /// Whether a smaller run fails the same way; then it is the best one.
    fn try_one(&mut self, what: &str, scenario: Scenario) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let report = scenario.run();
        let same = report.violations.first().map(|v| v.rule) == Some(self.rule);
        if same {
            (self.watch)(what, &scenario);
            self.best = scenario;
            self.report = report;
        }
        same
    }

    fn plan(&self) -> Vec<Timed> {
        let plan = self.best.plan.clone();
        plan.map_or_else(Vec::new, |plan| plan.faults)
    }

    /// Events that may go: all but what heals and starts everybody in the end, without
    /// which the loss of progress would prove nothing.
    fn loose(events: &[Timed]) -> usize {
        let ends = |timed: &&Timed| matches!(timed.fault, Fault::Heal | Fault::RestartAll);
        events.len() - events.iter().rev().take_while(ends).count()
    }

    fn events(&mut self) {
        let mut parts = 2;
        loop {
            let events = self.plan();
            let loose = Self::loose(&events);
            if loose == 0 {
                return;
            }
            let size = loose.div_ceil(parts);
            let mut smaller = false;
            for from in (0..loose).step_by(size) {
                let mut left = events.clone();
                left.drain(from..(from + size).min(loose));
                let mut scenario = self.best.clone();
                scenario.plan = Some(Plan { faults: left });
                if self.try_one("fewer events", scenario) {
                    smaller = true;
                    break;
                }
            }
            if smaller {
                parts = (parts - 1).max(2);
            } else if size == 1 || self.runs >= self.runs_max {
                return;
            } else {
                parts = (parts * 2).min(loose);
            }
        }
    }

    fn liars(&mut self) {
        let mut index = 0;
        while let Some(liars) = &self.best.liars
            && index < liars.len()
        {
            let mut scenario = self.best.clone();
            if let Some(liars) = &mut scenario.liars {
                liars.remove(index);
            }
            if !self.try_one("fewer liars", scenario) {
                index += 1;
            }
        }
    }

    fn members(&mut self) {
        if self.best.n <= MEMBERS_FEW {
            return;
        }
        let mut scenario = self.best.clone();
        scenario.n = MEMBERS_FEW;
        if let Some(plan) = &mut scenario.plan {
            plan.faults.retain(|timed| timed.fault.fits(MEMBERS_FEW));
        }
        if let Some(liars) = &mut scenario.liars {
            liars.retain(|(liar, _)| *liar < MEMBERS_FEW);
            liars.truncate((MEMBERS_FEW - 1) / 3);
        }
        self.try_one("fewer members", scenario);
    }

    fn orders(&mut self) {
        let mut orders = 1;
        while orders < self.best.orders {
            let mut scenario = self.best.clone();
            scenario.orders = orders;
            if self.try_one("fewer orders", scenario) {
                return;
            }
            orders *= 2;
        }
    }

    fn delay(&mut self) {
        let mut scenario = self.best.clone();
        scenario.delay_ms = Some(self.best.options().delay_ms);
        if self.best.delay_ms.is_none() {
            self.try_one("constant delay", scenario);
        }
    }
}

//! Measures what jobs and steps take on this machine, while a run goes on. The caller says
//! how to read the processor time of the thread; nothing in the engine reads a clock.

use std::collections::BTreeMap;

use crate::costs::Cost;

/// Reads the processor time of this thread, in nanoseconds.
pub type ProcessorNs = fn() -> u64;

/// Sums from which a straight line through the samples follows (least squares).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Samples {
    /// How many.
    pub count: u64,
    /// Sum of the items.
    pub items: u64,
    /// Sum of the time, in nanoseconds.
    pub ns: u64,
    items_squared: f64,
    items_ns: f64,
}

impl Samples {
    fn add(&mut self, items: usize, ns: u64) {
        self.count += 1;
        self.items += items as u64;
        self.ns += ns;
        self.items_squared += (items as f64) * (items as f64);
        self.items_ns += items as f64 * ns as f64;
    }

    /// Takes in those of another run.
    pub fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.items += other.items;
        self.ns += other.ns;
        self.items_squared += other.items_squared;
        self.items_ns += other.items_ns;
    }

    /// The line; neither part is below zero, and the mean stays.
    #[must_use]
    pub fn cost(&self) -> Cost {
        if self.count == 0 {
            return Cost::default();
        }
        let count = self.count as f64;
        let (items, ns) = (self.items as f64 / count, self.ns as f64 / count);
        let spread = self.items_squared / count - items * items;
        let slope = if spread > 1e-9 {
            ((self.items_ns / count - items * ns) / spread).max(0.0)
        } else {
            0.0
        };
        let slope = if items > 0.0 {
            slope.min(ns / items)
        } else {
            0.0
        };
        Cost {
            base_ns: (ns - slope * items).max(0.0) as u64,
            item_ns: slope as u64,
        }
    }
}

/// Measures.
#[derive(Clone, Debug)]
pub struct Meter {
    processor_ns: ProcessorNs,
    /// By kind of job.
    pub jobs: BTreeMap<&'static str, Samples>,
    /// By kind of input.
    pub steps: BTreeMap<&'static str, Samples>,
}

impl Meter {
    /// With nothing measured.
    #[must_use]
    pub const fn new(processor_ns: ProcessorNs) -> Self {
        Self {
            processor_ns,
            jobs: BTreeMap::new(),
            steps: BTreeMap::new(),
        }
    }

    /// Processor time of this thread, in nanoseconds.
    #[must_use]
    pub fn read(&self) -> u64 {
        (self.processor_ns)()
    }

    /// A job that began at `began` is done.
    pub fn job(&mut self, name: &'static str, items: usize, began: u64) {
        let ns = self.read().saturating_sub(began);
        self.jobs.entry(name).or_default().add(items, ns);
    }

    /// A step that began at `began` is done.
    pub fn step(&mut self, name: &'static str, items: usize, began: u64) {
        let ns = self.read().saturating_sub(began);
        self.steps.entry(name).or_default().add(items, ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again_and_means_stay() {
        let mut samples = Samples::default();
        for items in [0, 1, 5, 40, 128] {
            samples.add(items, 700 + 30 * items as u64);
        }
        let cost = samples.cost();
        assert!((699..=701).contains(&cost.base_ns) && (29..=30).contains(&cost.item_ns));
        // Larger ones that take less: the mean for all.
        let mut falling = Samples::default();
        falling.add(1, 300);
        falling.add(3, 100);
        assert_eq!(
            falling.cost(),
            Cost {
                base_ns: 200,
                item_ns: 0
            }
        );
        let mut joined = Samples::default();
        joined.join(&falling);
        joined.add(2, 200);
        assert_eq!((joined.count, joined.ns), (3, 600));
        assert_eq!(Samples::default().cost(), Cost::default());
    }
}

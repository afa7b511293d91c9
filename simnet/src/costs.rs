//! Cost tables: what jobs, steps of the replica, and the threads around it take on a
//! machine. `simnet costs` writes them from measurements; scenarios name them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The table that everything uses that names none.
pub const DEFAULT: &str = "zen4";

/// Shipped tables by name.
const SHIPPED: [(&str, &str); 2] = [
    ("zen4", include_str!("../costs/zen4.toml")),
    ("zen4-node", include_str!("../costs/zen4-node.toml")),
];

/// Largest file of a table, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Nothing in a table costs more, in nanoseconds; so sums stay far from overflow.
const COST_NS_MAX: u64 = 60_000_000_000;

/// A cost that grows with the number of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Whatever the number of items, in nanoseconds.
    pub base_ns: u64,
    /// For each item, in nanoseconds.
    pub item_ns: u64,
}

impl Cost {
    /// Of so many items.
    #[must_use]
    pub const fn of(&self, items: usize) -> u64 {
        self.base_ns
            .saturating_add(self.item_ns.saturating_mul(items as u64))
    }
}

/// What the threads of a node take besides jobs and steps, in nanoseconds: from the
/// processor time of real processes, less what jobs and steps account for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Threads {
    /// The core thread, each time it is woken.
    pub core_wake_ns: u64,
    /// The network's threads, each time they are woken.
    pub network_wake_ns: u64,
    /// The core thread, for an input of the replica besides the step.
    pub core_input_ns: u64,
    /// The network's threads, for a frame sent or received, or an order that a client
    /// submits.
    pub network_frame_ns: u64,
    /// The writer, for a commit.
    pub writer_commit_ns: u64,
    /// The writer, for a row in it.
    pub writer_row_ns: u64,
    /// The pool, for a job besides its own cost.
    pub pool_job_ns: u64,
    /// A client that follows the feed and checks it, for a block.
    pub client_block_ns: u64,
    /// The same client, for an order that it sends and sees opened.
    pub client_order_ns: u64,
}

/// How long a disk takes, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Median of a sync.
    pub sync_ns: u64,
    /// The append before it.
    pub append_ns: u64,
}

/// A cost table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostTable {
    /// Where it comes from.
    pub about: String,
    /// By kind of job; items are signatures, envelopes, orders.
    pub jobs: BTreeMap<String, Cost>,
    /// By kind of input of the replica; items are orders. Empty: only jobs take time.
    pub steps: BTreeMap<String, Cost>,
    /// What goes on around the replica.
    pub threads: Threads,
    /// The disk, if it was measured.
    pub disk: Option<Disk>,
}

impl CostTable {
    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let pairs = table.jobs.values().chain(table.steps.values());
        let threads = &table.threads;
        let single = [
            threads.core_wake_ns,
            threads.network_wake_ns,
            threads.core_input_ns,
            threads.network_frame_ns,
            threads.writer_commit_ns,
            threads.writer_row_ns,
            threads.pool_job_ns,
            threads.client_block_ns,
            threads.client_order_ns,
            table
                .disk
                .map_or(0, |disk| disk.sync_ns.max(disk.append_ns)),
        ];
        let largest = pairs
            .map(|cost| cost.base_ns.max(cost.item_ns))
            .chain(single)
            .max();
        if largest > Some(COST_NS_MAX) {
            return Err(format!("nothing may cost more than {COST_NS_MAX} ns"));
        }
        Ok(table)
    }

    /// A shipped table, `zero`, or the one in a file.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn named(name: &str) -> Result<Self, String> {
        if name == "zero" {
            return Ok(Self::default());
        }
        if let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) {
            return Self::parse(text);
        }
        let read = std::fs::metadata(name).and_then(|meta| {
            if meta.len() > FILE_BYTES_MAX {
                return Err(std::io::Error::other("too large"));
            }
            std::fs::read_to_string(name)
        });
        let text = read.map_err(|error| {
            let known: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            format!("{name:?}: no shipped table (zero, {known}), and as a file: {error}")
        })?;
        Self::parse(&text).map_err(|what| format!("{name}: {what}"))
    }

    /// Whether anything but jobs takes time.
    #[must_use]
    pub fn has_threads(&self) -> bool {
        !self.steps.is_empty() || self.threads != Threads::default()
    }

    /// The same machine, so many times as slow; its disk stays.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        let scale = |ns: &mut u64| *ns = (*ns as f64 * factor) as u64;
        for cost in self.jobs.values_mut().chain(self.steps.values_mut()) {
            scale(&mut cost.base_ns);
            scale(&mut cost.item_ns);
        }
        let threads = &mut self.threads;
        for ns in [
            &mut threads.core_wake_ns,
            &mut threads.network_wake_ns,
            &mut threads.core_input_ns,
            &mut threads.network_frame_ns,
            &mut threads.writer_commit_ns,
            &mut threads.writer_row_ns,
            &mut threads.pool_job_ns,
            &mut threads.client_block_ns,
            &mut threads.client_order_ns,
        ] {
            scale(ns);
        }
        self
    }

    /// What tells it from others, in twelve hex digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let content = (&self.jobs, &self.steps, &self.threads, &self.disk);
        let text = serde_json::to_vec(&content).unwrap_or_default();
        let digest = Sha256::digest(&text);
        digest[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_table_or_an_error(
            noise in "[a-z0-9_=\\[\\]{}.,\" \n-]{0,80}",
            at in 0usize..4_000,
        ) {
            let mut text = include_str!("../costs/zen4-node.toml").to_owned();
            if let Some(tail) = text.get(at.min(text.len())..).map(str::to_owned) {
                text.truncate(text.len() - tail.len());
                text = text + &noise + &tail;
            }
            for text in [text, noise] {
                if let Ok(table) = CostTable::parse(&text) {
                    let written = toml::to_string(&table).unwrap();
                    prop_assert_eq!(CostTable::parse(&written), Ok(table));
                }
            }
        }
    }

    #[test]
    fn shipped_tables_are_good_and_others_are_refused() {
        for (name, _) in SHIPPED {
            let table = CostTable::named(name).unwrap();
            assert!(table.jobs.len() >= 7, "{name}");
            assert_eq!(table.has_threads(), name != DEFAULT, "{name}");
        }
        assert_eq!(CostTable::named("zero"), Ok(CostTable::default()));
        assert!(CostTable::named("nowhere").unwrap_err().contains("zen4"));
        for bad in ["x = 1", "[jobs]\na = { base_ns = -1, item_ns = 0 }"] {
            assert!(CostTable::parse(bad).is_err(), "{bad}");
        }
        let large = format!("[threads]\ncore_input_ns = {}", COST_NS_MAX + 1);
        assert!(CostTable::parse(&large).is_err());
    }

    #[test]
    fn scaling_and_digests_follow_the_figures() {
        let table = CostTable::named(DEFAULT).unwrap();
        let twice = table.clone().scaled(2.0);
        let job = |table: &CostTable| table.jobs["combine"].of(10);
        assert_eq!(job(&twice), 2 * job(&table));
        assert_ne!(twice.digest(), table.digest());
        let told = CostTable {
            about: String::new(),
            ..table.clone()
        };
        assert_eq!(told.digest(), table.digest());
    }
}

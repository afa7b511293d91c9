//! A scenario as it was read: the value of every key, faults, liars, what is swept, and
//! what is claimed.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::expect::Claim;
use super::keys::{Key, keys};
use super::value::{Value, span_ns};

/// Fields of one `[[fault]]` or `[[byzantine]]`, and the line where it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Line in the file, from 1.
    pub line: usize,
    /// Its fields.
    pub fields: BTreeMap<String, Value>,
}

impl Entry {
    /// A field as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.fields.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
    /// A field as a whole number.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.fields.get(name) {
            Some(Value::Int(int)) => Some(*int),
            _ => None,
        }
    }
    /// A span, in nanoseconds.
    #[must_use]
    pub fn span_ns(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(span_ns)
    }
    /// A list of members.
    #[must_use]
    pub fn members(&self, name: &str) -> Option<Vec<usize>> {
        self.fields.get(name).map(members)
    }
}

fn members(value: &Value) -> Vec<usize> {
    let Value::List(items) = value else {
        return Vec::new();
    };
    let int = |item: &Value| match item {
        Value::Int(int) => usize::try_from(*int).ok(),
        _ => None,
    };
    items.iter().filter_map(int).collect()
}

/// One point of a sweep, or a scenario without any: every key has its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    values: BTreeMap<String, Value>,
    /// Faults.
    pub faults: Vec<Entry>,
    /// Misbehaving members.
    pub byzantine: Vec<Entry>,
}

impl Default for Settings {
    /// Every key at its default.
    fn default() -> Self {
        let value = |key: Key| key.default.map(|value| (key.path, value));
        Self {
            values: keys().into_iter().filter_map(value).collect(),
            faults: Vec::new(),
            byzantine: Vec::new(),
        }
    }
}

impl Settings {
    /// Sets a key to a checked value.
    pub fn set(&mut self, path: &str, value: Value) {
        self.values.insert(path.to_owned(), value);
    }

    /// The value of a key, if it has one.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.values.get(path)
    }

    /// Every key that has a value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values
            .iter()
            .map(|(path, value)| (path.as_str(), value))
    }

    /// A text; empty if it has none.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        match self.values.get(path) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// A whole number; 0 if it has none.
    #[must_use]
    pub fn int(&self, path: &str) -> u64 {
        match self.values.get(path) {
            Some(Value::Int(int)) => u64::try_from(*int).unwrap_or(0),
            _ => 0,
        }
    }

    /// A number; 0 if it has none.
    #[must_use]
    pub fn float(&self, path: &str) -> f64 {
        self.values.get(path).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// Yes or no.
    #[must_use]
    pub fn bool(&self, path: &str) -> bool {
        self.values.get(path) == Some(&Value::Bool(true))
    }

    /// A span, in nanoseconds.
    #[must_use]
    pub fn span_ns(&self, path: &str) -> u64 {
        span_ns(self.text(path)).unwrap_or(0)
    }

    /// A list of texts.
    #[must_use]
    pub fn texts(&self, path: &str) -> Vec<&str> {
        match self.values.get(path) {
            Some(Value::List(items)) => items
                .iter()
                .filter_map(|item| match item {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A list of members.
    #[must_use]
    pub fn members(&self, path: &str) -> Vec<usize> {
        self.values.get(path).map(members).unwrap_or_default()
    }

    /// What tells this point from all others, in twelve hex digits: names and reports have
    /// no part in it.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, value) in &self.values {
            let told = path != "name" && path != "about" && !path.starts_with("report.");
            if told {
                hash.update(format!("{path} = {value}\n"));
            }
        }
        for (list, entries) in [("fault", &self.faults), ("byzantine", &self.byzantine)] {
            for entry in entries {
                hash.update(format!("[[{list}]]\n"));
                for (name, value) in &entry.fields {
                    hash.update(format!("{name} = {value}\n"));
                }
            }
        }
        let digest = hash.finalize();
        digest[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// A scenario file.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name.
    pub name: String,
    /// What all points share.
    pub settings: Settings,
    /// What is swept, and through which values, in the order of the keys.
    pub sweep: Vec<(String, Vec<Value>)>,
    /// Seeds per point.
    pub seeds: u64,
    /// The first seed.
    pub first_seed: u64,
    /// Claims.
    pub claims: Vec<Claim>,
}

/// Most runs that a scenario may ask for.
pub const RUNS_MAX: u64 = 1_000_000;

/// A run of a scenario.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name: the same settings and seed have the same one.
    pub id: String,
    /// Number in the scenario.
    pub index: u64,
    /// Its settings.
    pub settings: Settings,
    /// The values of what is swept.
    pub point: Vec<(String, Value)>,
    /// Its seed.
    pub seed: u64,
}

impl Plan {
    /// Points of the sweep times seeds; `None` beyond [`RUNS_MAX`].
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let points = self
            .sweep
            .iter()
            .try_fold(self.seeds, |product, (_, values)| {
                product.checked_mul(values.len() as u64)
            });
        points.filter(|runs| *runs <= RUNS_MAX)
    }

    /// All runs: the first key of the sweep changes least often, the seed most often.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        (0..self.count().unwrap_or(0)).map(|index| self.run(index))
    }

    /// The run of a number.
    #[must_use]
    pub fn run(&self, index: u64) -> Run {
        let seeds = self.seeds.max(1);
        let seed = self.first_seed.wrapping_add(index % seeds);
        let mut rest = index / seeds;
        let mut settings = self.settings.clone();
        let mut point = Vec::new();
        for (path, values) in self.sweep.iter().rev() {
            let len = values.len().max(1) as u64;
            if let Some(value) = values.get((rest % len) as usize) {
                settings.set(path, value.clone());
                point.push((path.clone(), value.clone()));
            }
            rest /= len;
        }
        point.reverse();
        Run {
            id: format!("{}-{seed:x}", settings.digest()),
            index,
            settings,
            point,
            seed,
        }
    }
}

//! Every key that a scenario file may have: one table from which reading, checking, the
//! JSON schema and the reference in the documentation are made.

use fairlane_types::{ConsensusParams, LaneParams, OrderParams};
use serde::Serialize;
use serde_json::{Map, json};

use super::value::{Value, span_ns};
use crate::byz;

/// What a key may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A whole number in a range.
    Int(i64, i64),
    /// A number in a range.
    Float(f64, f64),
    /// Yes or no.
    Bool,
    /// Any text.
    Text,
    /// One of some words.
    Word(Vec<&'static str>),
    /// One of some words, or a whole number from 1.
    WordOrCount(Vec<&'static str>),
    /// A span of time with its unit.
    Span,
    /// A list of texts.
    Texts,
    /// A list of member numbers.
    Members,
}

/// A key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Dotted path; `fault[].` and `byzantine[].` stand for the entries of a list.
    pub path: String,
    /// What it may hold.
    pub kind: Kind,
    /// Value when it is not given; `None` if it has none.
    pub default: Option<Value>,
    /// What it means.
    pub doc: &'static str,
    /// A line as one would write it.
    pub example: String,
}

impl Key {
    /// The value in the form that is kept, or what is wrong with it.
    ///
    /// # Errors
    /// What was expected, in words.
    pub fn check(&self, value: Value) -> Result<Value, String> {
        let wrong = |expected: String| Err(format!("{value} is not {expected}"));
        match (&self.kind, &value) {
            (Kind::Int(min, max), Value::Int(int)) if (min..=max).contains(&int) => Ok(value),
            (Kind::Int(min, max), _) => wrong(format!("a whole number from {min} to {max}")),
            (Kind::Float(min, max), _) => match value.as_f64() {
                Some(float) if (*min..=*max).contains(&float) => Ok(Value::Float(float)),
                _ => wrong(format!("a number from {min} to {max}")),
            },
            (Kind::Bool, Value::Bool(_)) | (Kind::Text, Value::Text(_)) => Ok(value),
            (Kind::Bool, _) => wrong("true or false".into()),
            (Kind::Text, _) => wrong("text in quotes".into()),
            (Kind::Word(words), Value::Text(text)) if words.contains(&text.as_str()) => Ok(value),
            (Kind::Word(words), _) => wrong(format!("one of {}", words.join(", "))),
            (Kind::WordOrCount(words), Value::Text(text)) if words.contains(&text.as_str()) => {
                Ok(value)
            }
            (Kind::WordOrCount(_), Value::Int(1..=127)) => Ok(value),
            (Kind::WordOrCount(words), _) => {
                wrong(format!("one of {} or a number from 1", words.join(", ")))
            }
            (Kind::Span, Value::Text(text)) if span_ns(text).is_some() => Ok(value),
            (Kind::Span, _) => wrong("a span of time such as \"250us\", \"15ms\" or \"2s\"".into()),
            (Kind::Texts, Value::List(items))
                if items.iter().all(|item| matches!(item, Value::Text(_))) =>
            {
                Ok(value)
            }
            (Kind::Texts, _) => wrong("a list of texts".into()),
            (Kind::Members, Value::List(items))
                if items.iter().all(|item| matches!(item, Value::Int(0..=127))) =>
            {
                Ok(value)
            }
            (Kind::Members, _) => wrong("a list of member numbers, from 0".into()),
        }
    }

    /// The kind in words, for the reference.
    #[must_use]
    pub fn kind_words(&self) -> String {
        match &self.kind {
            Kind::Int(min, max) => format!("{min} to {max}"),
            Kind::Float(min, max) => format!("{min} to {max}, fractions too"),
            Kind::Bool => "`true`, `false`".into(),
            Kind::Text => "text".into(),
            Kind::Word(words) => quoted(words),
            Kind::WordOrCount(words) => format!("{}, or a number", quoted(words)),
            Kind::Span => "span".into(),
            Kind::Texts => "list of texts".into(),
            Kind::Members => "list of members".into(),
        }
    }

    fn schema(&self) -> serde_json::Value {
        let mut of = match &self.kind {
            Kind::Int(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::Float(min, max) => json!({"type": "number", "minimum": min, "maximum": max}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Text => json!({"type": "string"}),
            Kind::Word(words) => json!({"type": "string", "enum": words}),
            Kind::WordOrCount(words) => json!({"anyOf": [
                {"type": "string", "enum": words},
                {"type": "integer", "minimum": 1, "maximum": 127},
            ]}),
            Kind::Span => json!({"type": "string", "pattern": SPAN_PATTERN}),
            Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Kind::Members => json!({"type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 127}}),
        };
        of["description"] = self.doc.into();
        if let Some(default) = &self.default {
            of["default"] = default.to_json();
        }
        of
    }
}

/// What a span looks like, for the schema.
const SPAN_PATTERN: &str = "^[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m)$";

fn quoted(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Kinds of fault in a scenario file.
pub const FAULT_KINDS: [&str; 19] = [
    "crash",
    "crash_all",
    "restart",
    "restart_all",
    "partition",
    "block",
    "heal",
    "reset",
    "loss",
    "slow",
    "slow_disk",
    "pause",
    "clock_step",
    "disk_budget",
    "lose_disk",
    "rot",
    "region_down",
    "region_up",
    "region_cut",
];

/// All keys, in the order of the reference.
#[must_use]
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    let mut add = |path: &str, kind: Kind, default: &str, doc: &'static str, example: &str| {
        let default = (!default.is_empty())
            .then(|| Value::from_text(default))
            .flatten();
        let name = path.rsplit('.').next().unwrap_or(path);
        keys.push(Key {
            path: path.into(),
            kind,
            default,
            doc,
            example: format!("{name} = {example}"),
        });
    };
    general(&mut add);
    traffic(&mut add);
    entries(&mut add);
    protocol(&mut keys);
    keys
}

type Add<'a> = dyn FnMut(&str, Kind, &str, &'static str, &str) + 'a;

#[rustfmt::skip]
fn general(add: &mut Add<'_>) {
    add("name", Kind::Text, "", "Name of the scenario; the file's name if it is not given.", "\"healthy\"");
    add("about", Kind::Text, "", "What it shows, in a sentence.", "\"nothing goes wrong\"");
    add("committee.n", Kind::Int(4, 127), "4", "Members.", "4");
    add("committee.f", Kind::Int(1, 42), "", "Members that may misbehave; must be ⌊(n−1)/3⌋, and sets n = 3f+1 if n is not given.", "1");
    add("committee.cores", Kind::Int(1, 128), "2", "Cores per member for jobs of cryptography.", "4");
    add("committee.placement", Kind::Texts, "[]", "Regions of the members, `region:count`; without counts members take turns. Empty: the first region of the matrix.", "[\"eu-west-1:3\", \"us-east-1:1\"]");
    add("net.matrix", Kind::Text, "uniform", "`uniform`, `three-regions` (made up), a shipped matrix by name (`aws-2026`, `gcp-fantoch`), or a CSV file.", "\"uniform\"");
    add("net.delay", Kind::Span, "8ms", "One-way delay between two members under `uniform`, median.", "\"8ms\"");
    add("net.jitter", Kind::Float(0.0, 20.0), "1.0", "Scales the distance from median to 90th percentile of every delay; 0 is no jitter.", "1.0");
    add("net.bandwidth_mbit", Kind::Int(1, 1_000_000), "1000", "Mbit/s per directed link.", "1000");
    add("net.loss_per_mille", Kind::Int(0, 300), "0", "Packets lost on every link; a loss costs the time of sending again.", "5");
    add("crypto.attest_ms", Kind::Int(0, 60_000), "100", "The root of the sequence is attested once in so much finalized time, ms; 0: never.", "100");
    add("crypto.combining", Kind::Word(vec!["by-size", "all-to-all", "sharded"]), "by-size", "Who combines decryption shares: every member, or two members a slice of each block, who tell the others. `by-size`: sharded from 16 members on.", "\"sharded\"");
    add("crypto.tier", Kind::Word(vec!["real", "ideal"]), "real", "`real`: the cryptography of the node. `ideal`: an oracle in its place, with the same costs; much faster.", "\"real\"");
    add("crypto.costs", Kind::Text, "zen4", "Cost table: `zen4` (jobs of cryptography on a Zen 4 core), `zen4-node` (measured there: jobs, and everything else a node does), `zero`, or a file that `simnet costs` wrote.", "\"zen4\"");
    add("crypto.cost_factor", Kind::Float(0.0, 1000.0), "1.0", "Scales the cost of every job.", "2.0");
    add("cpu.shared_cores", Kind::Int(0, 128), "0", "Cores of one machine that all members and the client share, as processes on one computer do; 0: each member has `committee.cores` of its own. Only with a cost table that says what threads take.", "2");
    add("cpu.pool", Kind::Int(0, 128), "0", "Threads of a member's pool for jobs; 0: as many as it has cores. Only with such a table.", "1");
    add("run.patience", Kind::Span, "40s", "Virtual time after the last order and the last fault in which all must be well.", "\"40s\"");
    add("report.title", Kind::Text, "", "Title of the report.", "\"Healthy committees\"");
    add("report.orders", Kind::Bool, "true", "Write `orders.csv`, a line per order.", "true");
    add("report.events", Kind::Bool, "false", "Write `events.jsonl`: what members said, computed and stored.", "true");
    add("report.trace", Kind::Bool, "false", "Write a Perfetto trace per run.", "true");
    add("report.png", Kind::Bool, "false", "Write every plot as PNG too, and all of them as `report.png`.", "true");
    add("report.parquet", Kind::Bool, "false", "Write `runs.parquet` and `orders.parquet` beside the CSV files. For programs built with the feature `parquet`.", "true");
}

#[rustfmt::skip]
fn traffic(add: &mut Add<'_>) {
    add("workload.rate", Kind::Float(0.1, 1e6), "200.0", "Orders per second, on average.", "200");
    add("workload.duration", Kind::Span, "3s", "How long orders are sent.", "\"3s\"");
    add("workload.start", Kind::Span, "300ms", "When the first order may be sent; until then members connect.", "\"300ms\"");
    add("workload.arrival", Kind::Word(vec!["poisson", "hawkes", "constant"]), "poisson", "Times between orders: independent, self-exciting bursts, or equal.", "\"hawkes\"");
    add("workload.branching", Kind::Float(0.0, 0.95), "0.6", "Hawkes: orders that an order sets off, on average.", "0.8");
    add("workload.decay", Kind::Span, "50ms", "Hawkes: mean time from an order to those that it sets off.", "\"50ms\"");
    add("workload.markets", Kind::Int(1, 1_000), "8", "Markets.", "8");
    add("workload.zipf", Kind::Float(0.0, 4.0), "1.0", "Market k gets a share that goes with k^−zipf; 0 is equal shares.", "1.0");
    add("workload.cancel_share", Kind::Float(0.0, 1.0), "0.1", "Share of cancels among the orders.", "0.8");
    add("workload.senders", Kind::Int(1, 1_000), "16", "Traders, each with a key of its own.", "16");
    add("workload.traders", Kind::Texts, "[]", "Regions of the traders, as for members. Empty: where the members are.", "[\"ap-northeast-1\"]");
    add("workload.fan_out", Kind::WordOrCount(vec!["all", "quorum", "f+1"]), "all", "Members that a trader sends an order to, nearest first.", "\"all\"");
    add("workload.access", Kind::Span, "2ms", "A trader's way to the network of its region, median.", "\"2ms\"");
    add("workload.tick", Kind::Span, "0ms", "Orders due within a tick leave together at its end; 0: each when it is due.", "\"5ms\"");
    add("workload.paths", Kind::Texts, "[]", "Further ways, one per member, which change places with every tick.", "[\"0ms\", \"3ms\", \"7ms\", \"12ms\"]");
    add("workload.size", Kind::Int(0, 4_000), "0", "Smallest payload in bytes; it is padded to the size class above.", "500");
    add("workload.life", Kind::Span, "90s", "From sending an order to its expiry.", "\"90s\"");
    add("workload.retry", Kind::Span, "0ms", "A trader sends an order again if it is not in the sequence by then; 0 is never.", "\"2s\"");
    add("workload.flood_rate", Kind::Float(0.0, 1e6), "0.0", "Orders per second that one more sender adds.", "2000");
    add("attack.when", Kind::Word(vec!["off", "gap", "arrival", "opening"]), "off", "When an attacker sends an order of its own: a gap after the victim and from the same place, when the victim's order reaches a member of the attacker's, or when it is opened there.", "\"arrival\"");
    add("attack.reads", Kind::Word(vec!["plaintext", "sealed"]), "sealed", "What the attacker's members see of an order that reaches them. Sealed, it guesses the side.", "\"plaintext\"");
    add("attack.members", Kind::Members, "[0]", "Members that tell the attacker.", "[0, 5]");
    add("attack.share", Kind::Float(0.0, 1.0), "0.2", "Share of the orders that are victims.", "0.2");
    add("attack.gap", Kind::Span, "1ms", "Gap after the victim, for `when = \"gap\"`.", "\"5ms\"");
    add("attack.reaction", Kind::Span, "100us", "Time that the attacker needs to answer.", "\"100us\"");
}

#[rustfmt::skip]
fn entries(add: &mut Add<'_>) {
    add("fault[].at", Kind::Span, "", "When.", "\"2s\"");
    add("fault[].until", Kind::Span, "", "When it ends: the crashed restart, what is cut or slow heals.", "\"4s\"");
    add("fault[].kind", Kind::Word(FAULT_KINDS.to_vec()), "", "What.", "\"crash\"");
    add("fault[].member", Kind::Int(0, 126), "", "Which member, from 0.", "1");
    add("fault[].peer", Kind::Int(0, 126), "", "The other end, for `block` and `reset`.", "2");
    add("fault[].members", Kind::Members, "", "One side of a `partition`.", "[0, 1]");
    add("fault[].region", Kind::Text, "", "For `region_down`, `region_up`, `region_cut`.", "\"eu-west-1\"");
    add("fault[].factor", Kind::Int(1, 1_000), "", "How many times as slow, for `slow` and `slow_disk`.", "10");
    add("fault[].per_mille", Kind::Int(0, 1_000), "", "Packets lost, for `loss`.", "50");
    add("fault[].ms", Kind::Int(-60_000, 60_000), "", "How long a `pause` lasts, how far a `clock_step` goes.", "500");
    add("fault[].bytes", Kind::Int(0, 1 << 40), "", "Room left, for `disk_budget`.", "100000");
    add("byzantine[].member", Kind::Int(0, 126), "", "Which member, from 0; the last ones if it is not given.", "3");
    add("byzantine[].behaviour", Kind::Word(byz::NAMES[..byz::DRAWN].to_vec()), "", "How it misbehaves.", "\"equivocate\"");
}

/// The genesis parameters, with the defaults that they have there.
fn protocol(keys: &mut Vec<Key>) {
    let groups = [
        ("lanes", fields(&LaneParams::default())),
        ("consensus", fields(&ConsensusParams::default())),
        ("order", fields(&OrderParams::default())),
    ];
    for (group, fields) in groups {
        for (name, value) in fields {
            let (kind, default) = match value {
                serde_json::Value::Number(number) => (
                    Kind::Int(0, i64::from(u32::MAX)),
                    Value::Int(number.as_i64().unwrap_or(0)),
                ),
                serde_json::Value::Bool(value) => (Kind::Bool, Value::Bool(value)),
                serde_json::Value::String(text) => (Kind::Text, Value::Text(text)),
                _ => continue,
            };
            let example = format!("{group}.{name} = {default}");
            let path = format!("protocol.{group}.{name}");
            keys.push(Key {
                path,
                kind,
                default: Some(default),
                doc: "Genesis parameter of this name; its range is checked with the genesis.",
                example,
            });
        }
    }
}

fn fields<T: Serialize>(params: &T) -> Map<String, serde_json::Value> {
    match serde_json::to_value(params) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The key of `keys` whose path is most like `path`.
#[must_use]
pub fn nearest<'a>(keys: &'a [Key], path: &str) -> Option<&'a Key> {
    keys.iter()
        .map(|key| {
            let whole = distance(&key.path, path);
            let last = |path: &str| path.rsplit('.').next().unwrap_or("").to_owned();
            // The right name in the wrong section is a likely slip too.
            let name = distance(&last(&key.path), &last(path)) + 2;
            (whole.min(name), key)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// The word most like `text`.
#[must_use]
pub fn nearest_word<'a>(words: &[&'a str], text: &str) -> Option<&'a str> {
    words
        .iter()
        .copied()
        .min_by_key(|word| distance(word, text))
}

/// Edits from one text to another (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            let change = diagonal + usize::from(x != *y);
            row[j + 1] = change.min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// The JSON schema of scenario files.
#[must_use]
pub fn schema(metrics: &[(&'static str, &'static str)]) -> serde_json::Value {
    let keys = keys();
    let mut root = object();
    for key in &keys {
        if let Some((list, field)) = key.path.split_once("[].") {
            let lists = &mut root["properties"][list];
            if lists.is_null() {
                *lists = json!({"type": "array", "items": object()});
            }
            lists["items"]["properties"][field] = key.schema();
        } else {
            let mut at = &mut root;
            let parts: Vec<_> = key.path.split('.').collect();
            for (depth, part) in parts.iter().enumerate() {
                let next = &mut at["properties"][*part];
                if depth + 1 == parts.len() {
                    *next = key.schema();
                } else if next.is_null() {
                    *next = object();
                }
                at = next;
            }
        }
    }
    let list = json!({"type": ["array", "object"]});
    let seed = json!({"type": "integer", "minimum": 0});
    root["properties"]["sweep"] = json!({
        "type": "object",
        "description": "A list of values for any key, and the number of seeds.",
        "properties": {"seeds": {"type": "integer", "minimum": 1}, "first_seed": seed},
        "additionalProperties": list,
    });
    let claim = json!({"anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
    ]});
    let mut expect = object();
    for (name, doc) in metrics {
        let mut claim = claim.clone();
        claim["description"] = (*doc).into();
        expect["properties"][*name] = claim;
    }
    root["properties"]["expect"] = expect;
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "fairlane scenario".into();
    root
}

fn object() -> serde_json::Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

/// The reference of all keys as Markdown, for the documentation.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from("| key | holds | default | meaning |\n|---|---|---|---|\n");
    for key in keys() {
        if key.path.starts_with("protocol.") {
            continue;
        }
        let default = key.default.as_ref();
        let default = default.map_or(String::new(), |value| format!("`{value}`"));
        let kind = key.kind_words();
        text.push_str(&format!(
            "| `{}` | {kind} | {default} | {} |\n",
            key.path, key.doc
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_paths_are_right() {
        let keys = keys();
        let mut paths = std::collections::BTreeSet::new();
        for key in &keys {
            assert!(paths.insert(key.path.clone()), "{} twice", key.path);
            if let Some(default) = &key.default {
                assert_eq!(
                    key.check(default.clone()).as_ref(),
                    Ok(default),
                    "{}",
                    key.path
                );
            }
        }
        assert!(paths.contains("protocol.order.decrypt_max"));
    }

    #[test]
    fn slips_find_their_key() {
        let keys = keys();
        let near = |path| nearest(&keys, path).unwrap().path.clone();
        assert_eq!(near("workload.rat"), "workload.rate");
        assert_eq!(near("committee.delay"), "net.delay");
        assert_eq!(
            near("protocol.lanes.batch_interval"),
            "protocol.lanes.batch_interval_ms"
        );
        assert_eq!(nearest_word(&["crash", "heal"], "crush"), Some("crash"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

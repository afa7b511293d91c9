//! Reads scenario files. Whatever is not understood is refused, with file and line, the
//! key that was probably meant, and an example.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expect::Claim;
use super::keys::{Key, Kind, keys, nearest, nearest_word};
use super::metrics::METRICS;
use super::settings::{Entry, Plan, Settings};
use super::value::Value;

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most entries of `[[fault]]` and of `[[byzantine]]`.
const ENTRIES_MAX: usize = 10_000;

/// Something wrong in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File.
    pub file: String,
    /// Line, from 1; 0 if it is no line's fault.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what)?,
            line => write!(f, "{}:{line}: {}", self.file, self.what)?,
        }
        if self.hint.is_empty() {
            Ok(())
        } else {
            write!(f, "\n  {}", self.hint)
        }
    }
}

/// Reads a scenario; `file` is its name in messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Plan, Vec<Problem>> {
    let mut reader = Reader {
        file,
        text,
        keys: keys(),
        problems: Vec::new(),
    };
    if text.len() > FILE_BYTES_MAX {
        reader.problem(0, format!("larger than {FILE_BYTES_MAX} bytes"), "");
        return Err(reader.problems);
    }
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let line = error.span().map_or(0, |span| reader.line(span.start));
            reader.problem(line, error.message().to_owned(), "");
            return Err(reader.problems);
        }
    };
    let plan = reader.plan(root.get_ref());
    if reader.problems.is_empty() {
        Ok(plan)
    } else {
        reader.problems.sort_by_key(|problem| problem.line);
        Err(reader.problems)
    }
}

/// Sets a key from the command line: `workload.rate=500`, or with a list to sweep through
/// `committee.n=[4,7]`.
///
/// # Errors
/// What is wrong, in words.
pub fn set(plan: &mut Plan, text: &str) -> Result<(), String> {
    let (path, value) = text
        .split_once('=')
        .ok_or_else(|| format!("--set {text}: key=value was expected"))?;
    let (path, keys) = (path.trim(), keys());
    let value = Value::from_text(value.trim()).ok_or("a table is no value")?;
    let key = find(&keys, path).map_err(|hint| format!("there is no key `{path}`; {hint}"))?;
    let explain = |what| format!("{path}: {what}; for example `{}`", key.example);
    let swept = match (&key.kind, &value) {
        (Kind::Texts | Kind::Members, _) => None,
        (_, Value::List(items)) if !items.is_empty() => Some(items.clone()),
        _ => None,
    };
    plan.sweep.retain(|(other, _)| other != path);
    if let Some(items) = swept {
        let items: Result<Vec<_>, _> = items.into_iter().map(|item| key.check(item)).collect();
        plan.sweep.push((path.to_owned(), items.map_err(explain)?));
        plan.sweep.sort_by(|a, b| a.0.cmp(&b.0));
    } else {
        plan.settings.set(path, key.check(value).map_err(explain)?);
    }
    Ok(())
}

/// The key of a path, or the hint for whoever looked for it.
fn find<'a>(keys: &'a [Key], path: &str) -> Result<&'a Key, String> {
    let settable = |key: &&Key| key.path == path && !key.path.contains("[]");
    keys.iter().find(settable).ok_or_else(|| hint(keys, path))
}

fn hint(keys: &[Key], path: &str) -> String {
    match nearest(keys, path) {
        Some(key) => format!(
            "the nearest is `{}`, for example `{}`",
            key.path, key.example
        ),
        None => String::new(),
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    keys: Vec<Key>,
    problems: Vec<Problem>,
}

type Node<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn problem(&mut self, line: usize, what: String, hint: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            what,
            hint: hint.into(),
        });
    }

    fn plan(&mut self, root: &DeTable<'_>) -> Plan {
        let mut plan = Plan {
            name: String::new(),
            settings: Settings::default(),
            sweep: Vec::new(),
            seeds: 1,
            first_seed: 1,
            claims: Vec::new(),
        };
        for (name, node) in root {
            let line = self.line(name.span().start);
            match name.get_ref().as_ref() {
                "fault" => plan.settings.faults = self.entries("fault", line, node),
                "byzantine" => plan.settings.byzantine = self.entries("byzantine", line, node),
                "sweep" => self.sweep("", line, node, &mut plan),
                "expect" => plan.claims = self.expect(line, node),
                name => self.section(name, line, node, &mut plan.settings),
            }
        }
        plan.name = plan.settings.text("name").to_owned();
        if plan.name.is_empty() {
            let stem = self.file.rsplit(['/', '\\']).next().unwrap_or(self.file);
            plan.name = stem.trim_end_matches(".toml").to_owned();
        }
        if plan.count().is_none() {
            let most = super::settings::RUNS_MAX;
            self.problem(0, format!("more than {most} runs"), "sweep through less");
        }
        plan
    }

    fn section(&mut self, path: &str, line: usize, node: &Node<'_>, settings: &mut Settings) {
        if let DeValue::Table(table) = node.get_ref() {
            let prefix = format!("{path}.");
            if !self.keys.iter().any(|key| key.path.starts_with(&prefix)) {
                let sections = [
                    "committee",
                    "net",
                    "crypto",
                    "workload",
                    "attack",
                    "run",
                    "report",
                    "protocol",
                    "protocol.lanes",
                    "protocol.consensus",
                    "protocol.order",
                    "fault",
                    "byzantine",
                    "sweep",
                    "expect",
                ];
                let near = nearest_word(&sections, path).unwrap_or("");
                let hint = format!("the nearest is `[{near}]`");
                self.problem(line, format!("there is no section `[{path}]`"), hint);
                return;
            }
            for (name, node) in table {
                let line = self.line(name.span().start);
                self.section(&format!("{path}.{}", name.get_ref()), line, node, settings);
            }
            return;
        }
        if let Some(value) = self.checked(path, line, node) {
            settings.set(path, value);
        }
    }

    /// The value of a node as the key of a path wants it.
    fn checked(&mut self, path: &str, line: usize, node: &Node<'_>) -> Option<Value> {
        let Some(key) = self.keys.iter().find(|key| key.path == path) else {
            let hint = hint(&self.keys, path);
            self.problem(line, format!("there is no key `{path}`"), hint);
            return None;
        };
        let example = format!("for example `{}`", key.example);
        let Some(value) = Value::from_toml(node.get_ref()) else {
            self.problem(
                line,
                format!("`{path}`: a table or a date is no value"),
                example,
            );
            return None;
        };
        match key.check(value) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(line, format!("`{path}`: {what}"), example);
                None
            }
        }
    }

    fn entries(&mut self, list: &str, line: usize, node: &Node<'_>) -> Vec<Entry> {
        let DeValue::Array(items) = node.get_ref() else {
            let hint = format!("write [[{list}]]");
            self.problem(line, format!("`{list}` is a list of tables"), hint);
            return Vec::new();
        };
        if items.len() > ENTRIES_MAX {
            self.problem(line, format!("more than {ENTRIES_MAX} entries"), "");
            return Vec::new();
        }
        let mut entries = Vec::new();
        for item in items {
            let line = self.line(item.span().start);
            let DeValue::Table(table) = item.get_ref() else {
                let hint = format!("write [[{list}]]");
                self.problem(line, format!("`{list}` is a list of tables"), hint);
                continue;
            };
            let mut entry = Entry {
                line,
                ..Entry::default()
            };
            for (name, node) in table {
                let line = self.line(name.span().start);
                let path = format!("{list}[].{}", name.get_ref());
                if let Some(value) = self.checked(&path, line, node) {
                    entry.fields.insert(name.get_ref().to_string(), value);
                }
            }
            entries.push(entry);
        }
        entries
    }

    fn sweep(&mut self, path: &str, line: usize, node: &Node<'_>, plan: &mut Plan) {
        match node.get_ref() {
            DeValue::Table(table) => {
                for (name, node) in table {
                    let line = self.line(name.span().start);
                    let name = name.get_ref();
                    let path = match path {
                        "" => name.to_string(),
                        path => format!("{path}.{name}"),
                    };
                    self.sweep(&path, line, node, plan);
                }
            }
            DeValue::Integer(_) if path == "seeds" || path == "first_seed" => {
                match Value::from_toml(node.get_ref()) {
                    Some(Value::Int(int)) if int >= i64::from(path == "seeds") => {
                        let target = match path {
                            "seeds" => &mut plan.seeds,
                            _ => &mut plan.first_seed,
                        };
                        *target = int.unsigned_abs();
                    }
                    _ => self.problem(line, format!("`sweep.{path}` is too small"), "seeds = 8"),
                }
            }
            DeValue::Array(items) if !items.is_empty() => {
                let checked: Vec<_> = items
                    .iter()
                    .filter_map(|item| self.checked(path, line, item))
                    .collect();
                plan.sweep.push((path.to_owned(), checked));
            }
            _ => {
                let what = format!("`sweep.{path}` is no list of values");
                self.problem(line, what, "for example `\"committee.n\" = [4, 7]`");
            }
        }
    }

    fn expect(&mut self, line: usize, node: &Node<'_>) -> Vec<Claim> {
        let mut claims = Vec::new();
        let DeValue::Table(table) = node.get_ref() else {
            self.problem(line, "`expect` is a table".into(), "write [expect]");
            return claims;
        };
        for (name, node) in table {
            let line = self.line(name.span().start);
            let texts: Vec<&Node<'_>> = match node.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                _ => vec![node],
            };
            for node in texts {
                if let Some(claim) = self.claim(line, name.get_ref(), node) {
                    claims.push(claim);
                }
            }
        }
        claims
    }

    fn claim(&mut self, line: usize, metric: &str, node: &Node<'_>) -> Option<Claim> {
        let example = format!("for example `{metric} = \"< 500\"`");
        let DeValue::String(text) = node.get_ref() else {
            self.problem(line, format!("`expect.{metric}` is no text"), example);
            return None;
        };
        let claim = match Claim::parse(metric, text) {
            Ok(claim) => claim,
            Err(what) => {
                let names: Vec<_> = METRICS.iter().map(|(name, _)| *name).collect();
                let hint = match nearest_word(&names, metric) {
                    Some(near) if near != metric => format!("the nearest is `{near}`"),
                    _ => example,
                };
                self.problem(line, what, hint);
                return None;
            }
        };
        let Some((path, value)) = claim.condition() else {
            return Some(claim);
        };
        match find(&self.keys, path).map(|key| key.check(value.clone())) {
            Ok(Ok(value)) => Some(claim.with_condition(value)),
            Ok(Err(what)) => {
                let what = format!("`{path}`: {what}");
                self.problem(line, what, example);
                None
            }
            Err(hint) => {
                let what = format!("there is no key `{path}`");
                self.problem(line, what, hint);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
name = \"x\"
[committee]
n = 7
[workload]
rate = 50
arrival = \"hawkes\"
[protocol.order]
decrypt_max = 100
[[fault]]
at = \"1s\"
kind = \"crash\"
member = 1
[sweep]
seeds = 3
\"committee.n\" = [4, 7]
workload.rate = [10, 20.5]
[expect]
violations = \"= 0\"
p99_ms = [\"< 500\", \"< 100 when committee.n = 4\"]
";

    fn problems(text: &str) -> String {
        let problems = parse("a.toml", text).unwrap_err();
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn a_scenario_is_read() {
        let plan = parse("dir/a.toml", GOOD).unwrap();
        assert_eq!((plan.name.as_str(), plan.count()), ("x", Some(12)));
        let runs: Vec<_> = plan.runs().collect();
        let ids: std::collections::BTreeSet<_> = runs.iter().map(|run| &run.id).collect();
        assert_eq!(ids.len(), 12);
        assert_eq!(runs[0].settings.int("committee.n"), 4);
        assert_eq!(runs[0].settings.float("workload.rate"), 10.0);
        assert_eq!(runs[3].settings.float("workload.rate"), 20.5);
        assert_eq!(runs[6].settings.int("committee.n"), 7);
        assert_eq!((runs[4].seed, runs[5].seed), (2, 3));
        assert_eq!(runs[0].settings.int("protocol.order.decrypt_max"), 100);
        assert_eq!(plan.claims.len(), 3);
        assert_eq!(plan.settings.faults[0].int("member"), Some(1));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let text = problems("[workload]\nrat = 5\n");
        assert!(
            text.contains("a.toml:2: there is no key `workload.rat`"),
            "{text}"
        );
        assert!(
            text.contains("`workload.rate`, for example `rate = 200`"),
            "{text}"
        );
        let text = problems("[committee]\n\nn = 3\n[net]\njitter = \"x\"");
        assert!(text.contains("a.toml:3: `committee.n`: 3 is not a whole number from 4 to 127"));
        assert!(text.contains("a.toml:5: `net.jitter`"), "{text}");
        for (bad, want) in [
            ("[comittee]\nn = 4", "`[committee]`"),
            ("[workload]\nduration = 5", "a span of time"),
            ("[expect]\np98_ms = \"< 1\"", "`p90_ms`"),
            ("[expect]\np99_ms = \"1\"", "begin with <"),
            (
                "[expect]\np99_ms = \"< 1 when committee.m = 4\"",
                "`committee.n`",
            ),
            ("[[fault]]\nkind = \"crush\"", "one of crash"),
            ("[fault]\nkind = \"crash\"", "[[fault]]"),
            ("[sweep]\n\"committee.n\" = 4", "no list"),
            ("[sweep]\nseeds = 0", "too small"),
            ("[sweep]\nseeds = 1000000000", "runs"),
            ("a = \n", "a.toml:1"),
            ("[crypto]\ntier = 1979-05-27", "date"),
        ] {
            let text = problems(bad);
            assert!(text.contains(want), "{bad}: {text}");
        }
    }

    #[test]
    fn a_key_is_set_from_the_command_line() {
        let mut plan = parse("a.toml", GOOD).unwrap();
        set(&mut plan, "workload.rate=30").unwrap();
        set(&mut plan, "workload.arrival=poisson").unwrap();
        set(&mut plan, "net.jitter=[0, 1]").unwrap();
        assert_eq!(plan.count(), Some(12));
        assert_eq!(plan.run(0).settings.float("workload.rate"), 30.0);
        assert_eq!(plan.run(0).settings.text("workload.arrival"), "poisson");
        for bad in [
            "workload.rate",
            "workload.rat=1",
            "committee.n=2",
            "fault[].at=1s",
        ] {
            assert!(set(&mut plan, bad).is_err(), "{bad}");
        }
    }
}

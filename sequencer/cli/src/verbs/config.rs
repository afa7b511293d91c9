//! `fairlane config check|show`.

use fairlane_node::config::{Config, Overrides};
use fairlane_node::epochs::Present;
use fairlane_node::home::Home;
use fairlane_node::key_files::AtRest;
use fairlane_types::{Genesis, MemberId};

use crate::args::{ConfigVerb, PassphraseArgs};
use crate::exit::{Outcome, Problem};
use crate::seeking;
use crate::term::{Term, short};

/// What a folder holds, read and checked as a start would.
pub struct Checked {
    /// The genesis.
    pub genesis: Genesis,
    /// What its node would do.
    pub would: Would,
    /// How the keys lie on the disk.
    pub at_rest: AtRest,
}

/// What a node does when it is started.
pub enum Would {
    /// It runs as this member.
    Run(MemberId),
    /// It waits for a later epoch, for this reason.
    Wait(&'static str),
}

impl Checked {
    /// The member, if its node would run, and why it would wait otherwise.
    pub fn who(&self) -> String {
        match self.would {
            Would::Run(me) => format!("member {me} of chain {}", self.genesis.chain),
            Would::Wait(reason) => {
                let (chain, epoch) = (self.genesis.chain, self.genesis.epoch());
                format!("chain {chain}, epoch {epoch}: {reason}, waits for the next")
            }
        }
    }
}

/// Reads everything that a member reads before it starts.
pub fn check(home: &std::path::Path, passphrase: &PassphraseArgs) -> Outcome<Checked> {
    let home = super::keys::home(home, passphrase)?;
    let overrides = super::node::overrides(None)?;
    let config = Config::load(&home, overrides)?;
    let present = Present::of(&home)?;
    let committee = present.genesis.validate().map_err(|error| {
        Problem::preflight(format!("{}: {error}", home.genesis_path().display()))
    })?;
    let at_rest = home.at_rest(&present.genesis)?;
    let standing = present.clone().standing(&home)?;
    let sources = seeking::sources(&config, &standing)?;
    let would = match standing.waits(!sources.is_empty()) {
        None => {
            let me = present.keys(&home)?.me;
            if present.base.is_none() {
                // Later epochs have their addresses from the committee before.
                config.peer_addresses(&home.config_path(), me, &committee)?;
            }
            Would::Run(me)
        }
        Some(reason) if sources.is_empty() => return Err(seeking::nobody_to_ask(reason)),
        Some(reason) => {
            for epoch in home.receiver_epochs()? {
                drop(home.receiver(epoch)?);
            }
            Would::Wait(reason)
        }
    };
    tracing_subscriber::EnvFilter::try_new(&config.log)
        .map_err(|error| Problem::preflight(format!("log = {:?}: {error}", config.log)))?;
    Ok(Checked {
        genesis: present.genesis,
        would,
        at_rest,
    })
}

/// Checks, or shows values with their origins.
pub fn run(verb: ConfigVerb, term: Term) -> Outcome {
    match verb {
        ConfigVerb::Check(args) => {
            let checked = check(&args.home, &args.passphrase)?;
            let hash = checked.genesis.origin();
            let (member, waits) = match checked.would {
                Would::Run(me) => (Some(me), None),
                Would::Wait(reason) => (None, Some(reason)),
            };
            let value = serde_json::json!({ "config": {
                "ok": true, "member": member, "waits": waits, "genesis": hash,
                "epoch": checked.genesis.epoch(), "key_files": checked.at_rest.word(),
            }});
            term.result(&value, || {
                format!(
                    "{} {} (genesis {}): configuration, keys ({}) and genesis fit",
                    term.green("✔"),
                    checked.who(),
                    short(hash),
                    checked.at_rest.word()
                )
            });
        }
        ConfigVerb::Show(args) => {
            let home = Home::open(&args.home)?;
            let file = Config::load(&home, Overrides::default())?;
            let shown = Config::load(&home, super::node::overrides(None)?)?;
            let (file, shown) = (table(&file)?, table(&shown)?);
            for (key, value) in &shown {
                let origin = if file.get(key) == Some(value) {
                    home.config_path().display().to_string()
                } else {
                    format!("FAIRLANE_{}", key.to_uppercase().replace('.', "_"))
                };
                let line = serde_json::json!({ "key": key, "value": value, "origin": origin });
                term.result(&line, || {
                    format!("{key} = {value}  {}", term.dim(&format!("# {origin}")))
                });
            }
        }
    }
    Ok(())
}

/// A configuration as dotted keys.
fn table(config: &Config) -> Outcome<std::collections::BTreeMap<String, String>> {
    fn flatten(
        at: &str,
        value: &toml::Value,
        out: &mut std::collections::BTreeMap<String, String>,
    ) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let at = if at.is_empty() {
                        key.clone()
                    } else {
                        format!("{at}.{key}")
                    };
                    flatten(&at, value, out);
                }
            }
            value => {
                out.insert(at.to_owned(), value.to_string());
            }
        }
    }
    let text = config.to_toml().map_err(Problem::failed)?;
    let value: toml::Value = toml::from_str(&text).map_err(Problem::failed)?;
    let mut out = std::collections::BTreeMap::new();
    flatten("", &value, &mut out);
    Ok(out)
}

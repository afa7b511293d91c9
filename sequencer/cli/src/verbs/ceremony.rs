//! `fairlane ceremony`: the first committee, by operators who show each other nothing secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fairlane_execution::params::ExecutionGenesis;
use fairlane_node::founding::{FOUNDING_BYTES_MAX, Founding, Terms};
use fairlane_node::home::Home;
use fairlane_types::{
    CertificateParams, ChainId, Digest, Epoch, Genesis, MemberId, Millis, OrderParams, Scheme,
};
use serde_json::{Value, json};

use super::input;
use super::keys::sealing;
use crate::addresses;
use crate::args::KeysHome;
use crate::cards::{CARD, Card, Place};
use crate::ceremony_args::{CeremonyVerb, GenesisArgs, PrepareArgs};
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// Largest `execution.toml` that is read, in bytes.
const EXECUTION_BYTES_MAX: u64 = 1 << 20;
/// How far the time of a genesis may be ahead of this machine's clock, ms.
const AHEAD_MAX_MS: u64 = 300_000;

/// Runs a verb.
pub fn run(verb: CeremonyVerb, term: Term) -> Outcome {
    match verb {
        CeremonyVerb::Prepare(args) => prepare(&args, term),
        CeremonyVerb::Genesis(args) => genesis(&args, term),
        CeremonyVerb::Adopt {
            home,
            founding,
            hash,
        } => adopt(&home, &founding, hash, term),
    }
}

fn prepare(args: &PrepareArgs, term: Term) -> Outcome {
    let passphrase = sealing(&args.passphrase, args.plain)?;
    let place = Place::new(&args.place, &[], term)?;
    let of = (ChainId(args.chain), Epoch(0));
    let reserve_bytes = place.reserve_bytes();
    let fill = |home: &Home| {
        home.write_birth_of_founder(reserve_bytes)?;
        place.fill(home, of)
    };
    let (home, card) = Home::make(&args.out, passphrase, fill)?;
    let path = home.root().join(CARD);
    let identity = card.member.identity;
    let value = json!({ "prepared": {
        "home": home.root(), "card": path, "chain": args.chain.to_string(), "identity": identity,
    }});
    term.result(&value, || {
        format!(
            "{} a home for {} in {}; hand {} to whoever makes the genesis, and take in what comes \
             back with `fairlane ceremony adopt --home {} FILE`",
            term.green("✔"),
            short(identity),
            args.out.display(),
            path.display(),
            args.out.display(),
        )
    });
    Ok(())
}

fn genesis(args: &GenesisArgs, term: Term) -> Outcome {
    let chain = ChainId(args.chain);
    let mut members = Vec::with_capacity(args.cards.len());
    for path in &args.cards {
        let member = Card::member_of(path, chain, Epoch(0))?;
        let name = path.display().to_string();
        addresses::check(&name, &member.quic, &member.api, term)?;
        members.push(member);
    }
    let mut execution = args.execution.as_deref().map(execution).transpose()?;
    if let Some(execution) = execution.as_mut().filter(|_| args.member_prices) {
        execution.oracles = members.iter().map(|member| member.identity).collect();
    }
    let terms = Terms {
        chain,
        time: now()?,
        experiment: args.experiment,
        order: OrderParams {
            rule: args.order.rule,
            tie: args.order.tie,
            ..OrderParams::default()
        },
        scheme: args.scheme,
        combining: args.order.combining,
    };
    let founding = Founding::new(terms, members, execution.as_ref()).map_err(Problem::usage)?;
    founding.write(&args.out)?;
    let value = json!({ "founding": described(&founding, &args.out)? });
    let hash = founding.hash().map_err(Problem::failed)?;
    term.result(&value, || {
        format!(
            "{} {}\n  in {}: every operator looks at it with `fairlane ceremony adopt`",
            term.green("✔"),
            summary(&founding, hash),
            args.out.display()
        )
    });
    Ok(())
}

/// As the file says; the members that are its oracles may not be known to it yet.
fn execution(path: &Path) -> Outcome<ExecutionGenesis> {
    let wrong =
        |error: &dyn std::fmt::Display| Problem::usage(format!("{}: {error}", path.display()));
    let bytes = input::read(path, EXECUTION_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|error| wrong(&error))?;
    toml::from_str(&text).map_err(|error| wrong(&error))
}

fn adopt(args: &KeysHome, path: &Path, agreed: Option<Digest>, term: Term) -> Outcome {
    let passphrase = super::keys::passphrase(&args.passphrase)?;
    let home = Home::open(&args.home)?.with_passphrase(passphrase.map(Arc::new));
    let founding = Founding::parse(&input::read(path, FOUNDING_BYTES_MAX)?)
        .map_err(|error| Problem::preflight(format!("{}: {error}", path.display())))?;
    let me = place_of(&home, &founding, path, term)?;
    let hash = founding.hash().map_err(Problem::failed)?;
    let mut value = described(&founding, path)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("member".to_owned(), json!(me));
        fields.insert("home".to_owned(), json!(home.root()));
    }
    match agreed {
        None => {
            term.result(&json!({ "seen": value }), || {
                format!(
                    "member {me} of {}\n  nothing is written yet: compare this hash with the other operators', then\n  \
                     fairlane ceremony adopt --home {} {} --hash THE-AGREED-ONE",
                    summary(&founding, hash),
                    home.root().display(),
                    path.display()
                )
            });
        }
        Some(agreed) if agreed != hash => {
            let path = path.display();
            let what = format!("{path} has hash {hash}, not {agreed}: do not run with it");
            return Err(Problem::new(Exit::Verification, what));
        }
        Some(_) => {
            founding.take_in(&home)?;
            term.result(&json!({ "adopted": value }), || {
                format!(
                    "{} member {me} of {}\n  fairlane node --home {}",
                    term.green("✔"),
                    summary(&founding, hash),
                    home.root().display()
                )
            });
        }
    }
    Ok(())
}

/// The member that a home is in a founding file, which says of it what its own card says.
fn place_of(home: &Home, founding: &Founding, path: &Path, term: Term) -> Outcome<MemberId> {
    let wrong = |what: String| Problem::new(Exit::Verification, what);
    for (id, member) in founding.members.iter().enumerate() {
        addresses::check(&format!("member {id}"), &member.quic, &member.api, term)?;
    }
    let me = founding.member_of(home)?;
    let card = Card::in_home(home)?;
    if card.chain() != founding.genesis.chain
        || founding.members.get(me.index()) != Some(&card.member)
    {
        return Err(wrong(format!(
            "{} has another chain or other addresses for this member than {}: do not run with it",
            path.display(),
            home.root().join(CARD).display()
        )));
    }
    let latest = now()?.0.saturating_add(AHEAD_MAX_MS);
    if founding.genesis.time.0 > latest {
        let what = "its time is ahead of this machine's clock: no order would live";
        return Err(wrong(format!("{}: {what}", path.display())));
    }
    Ok(me)
}

/// The system's time.
fn now() -> Outcome<Millis> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.map_err(Problem::failed)?.as_millis();
    Ok(Millis(u64::try_from(now).map_err(Problem::failed)?))
}

fn described(founding: &Founding, path: &Path) -> Outcome<Value> {
    let genesis = &founding.genesis;
    let execution = founding.execution_digest().map_err(Problem::failed)?;
    Ok(json!({
        "file": path, "hash": founding.hash().map_err(Problem::failed)?, "genesis": genesis.hash(),
        "chain": genesis.chain.to_string(), "time_ms": genesis.time.0.to_string(),
        "experiment": genesis.experiment, "execution": execution, "members": founding.members,
        "parameters": chosen(genesis),
    }))
}

fn summary(founding: &Founding, hash: Digest) -> String {
    let genesis = &founding.genesis;
    let mut text = format!(
        "chain {}{} · hash {hash}\n  genesis {}",
        genesis.chain,
        match genesis.experiment {
            true => " (experiment)",
            false => "",
        },
        genesis.hash()
    );
    if let Ok(Some(digest)) = founding.execution_digest() {
        text.push_str(&format!("\n  execution.toml {digest}"));
    }
    for (name, value) in chosen(genesis) {
        text.push_str(&format!("\n  {name} = {value}"));
    }
    for (id, member) in founding.members.iter().enumerate() {
        text.push_str(&format!(
            "\n  {id:>3}  {}  {}  {}",
            short(member.identity),
            member.quic,
            member.api
        ));
    }
    text
}

/// Parameters that are not what they are by default.
fn chosen(genesis: &Genesis) -> BTreeMap<String, Value> {
    let mut usual = genesis.clone();
    (usual.lanes, usual.consensus, usual.order) = Default::default();
    (usual.encryption.scheme, usual.encryption.combining) = (Scheme::Tdh2, None);
    usual.certificates = Some(CertificateParams::ceremony());
    let mut found = BTreeMap::new();
    differences("", &json!(genesis), &json!(usual), &mut found);
    found
}

fn differences(name: &str, ours: &Value, usual: &Value, found: &mut BTreeMap<String, Value>) {
    match (ours, usual) {
        (Value::Object(ours), Value::Object(usual)) => {
            for (key, value) in ours {
                let name = match name {
                    "" => key.clone(),
                    above => format!("{above}.{key}"),
                };
                let usual = usual.get(key).unwrap_or(&Value::Null);
                differences(&name, value, usual, found);
            }
        }
        (ours, usual) if ours != usual => {
            found.insert(name.to_owned(), ours.clone());
        }
        _ => {}
    }
}

//! `fairlane ceremony`: the first committee, by operators who show each other nothing secret.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fairlane_execution::params::ExecutionGenesis;
use fairlane_node::founding::{FOUNDING_BYTES_MAX, Founding, Terms};
use fairlane_node::home::{Home, HomeError};
use fairlane_types::{ChainId, Digest, Epoch, Millis, OrderParams};
use serde_json::json;

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

/// Runs a verb.
pub fn run(verb: CeremonyVerb, term: Term) -> Outcome {
    match verb {
        CeremonyVerb::Prepare(args) => prepare(&args, term),
        CeremonyVerb::Genesis(args) => genesis(&args, term),
        CeremonyVerb::Adopt {
            home,
            founding,
            genesis_hash,
        } => adopt(&home, &founding, genesis_hash, term),
    }
}

fn prepare(args: &PrepareArgs, term: Term) -> Outcome {
    let passphrase = sealing(&args.passphrase, args.plain)?;
    let place = Place::new(&args.place, &[], term)?;
    let of = (ChainId(args.chain), Epoch(0));
    let (home, card) = Home::make(&args.out, passphrase, |home| place.fill(home, of))?;
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
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.map_err(Problem::failed)?.as_millis();
    let terms = Terms {
        chain,
        time: Millis(u64::try_from(now).map_err(Problem::failed)?),
        experiment: args.experiment,
        order: OrderParams {
            rule: args.rule,
            tie: args.tie,
            ..OrderParams::default()
        },
        combining: args.combining,
    };
    let founding = Founding::new(terms, members, execution.as_ref()).map_err(Problem::usage)?;
    founding.write(&args.out)?;
    let value = json!({ "founding": described(&founding, &args.out)? });
    term.result(&value, || {
        format!(
            "{} {}\n  in {}: every operator takes it in with `fairlane ceremony adopt`",
            term.green("✔"),
            summary(&founding),
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

fn adopt(args: &KeysHome, path: &Path, expected: Option<Digest>, term: Term) -> Outcome {
    let passphrase = super::keys::passphrase(&args.passphrase)?;
    let home = Home::open(&args.home)?.with_passphrase(passphrase.map(Arc::new));
    let founding = Founding::parse(&input::read(path, FOUNDING_BYTES_MAX)?);
    let founding =
        founding.map_err(|error| Problem::preflight(format!("{}: {error}", path.display())))?;
    let hash = founding.genesis.hash();
    if let Some(expected) = expected.filter(|expected| *expected != hash) {
        let what = format!(
            "{} has genesis {hash}, not {expected}: do not run with it",
            path.display()
        );
        return Err(Problem::new(Exit::Verification, what));
    }
    for (id, member) in founding.members.iter().enumerate() {
        addresses::check(&format!("member {id}"), &member.quic, &member.api, term)?;
    }
    let me = founding.take_in(&home).map_err(|error| match error {
        HomeError::Exists(_) => Problem::from(error).next("this home has its genesis already"),
        error => error.into(),
    })?;
    let mut value = described(&founding, path)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("member".to_owned(), json!(me));
        fields.insert("home".to_owned(), json!(home.root()));
    }
    term.result(&json!({ "adopted": value }), || {
        format!(
            "{} member {me} of {}\n  compare this hash with the other operators', then: fairlane node --home {}",
            term.green("✔"),
            summary(&founding),
            home.root().display()
        )
    });
    Ok(())
}

fn described(founding: &Founding, path: &Path) -> Outcome<serde_json::Value> {
    let genesis = &founding.genesis;
    let execution = founding.execution_digest().map_err(Problem::failed)?;
    Ok(json!({
        "file": path, "genesis": genesis.hash(), "chain": genesis.chain.to_string(),
        "experiment": genesis.experiment, "execution": execution, "members": founding.members,
    }))
}

fn summary(founding: &Founding) -> String {
    let genesis = &founding.genesis;
    let mut text = format!(
        "chain {}{} · genesis {}",
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

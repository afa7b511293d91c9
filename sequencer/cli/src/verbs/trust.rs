//! What a client verb trusts, and the members it talks to.

use std::path::Path;

use fairlane_client::{Committee, Member, Pin, PinError};

use crate::args::TrustArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::Term;

impl From<PinError> for Problem {
    fn from(error: PinError) -> Self {
        let what = error.to_string();
        match error {
            PinError::Read { .. } => Self::preflight(what).next("give the chain's genesis file"),
            PinError::Hash { .. } => Self::new(Exit::Verification, what),
            _ => Self::preflight(format!("the genesis cannot be used: {what}")),
        }
    }
}

/// Members by address.
pub fn members(addresses: &[String]) -> Outcome<Vec<Member>> {
    let members = addresses.iter().map(|address| Member::new(address));
    Ok(members.collect::<Result<_, _>>()?)
}

/// The pin of the present epoch, from a genesis file: the first member that answers tells which
/// keys the members made, and who handed over to whom since, with a quorum's signatures for
/// each. A genesis that names its key will do where none answers.
async fn pin(path: &Path, members: &[Member]) -> Outcome<Pin> {
    let genesis = Pin::read_genesis(path)?;
    let mut last = None;
    for member in members {
        match member.pin(genesis.clone()).await {
            Ok(pin) => return Ok(pin),
            Err(error) => last = Some(error),
        }
    }
    match (Pin::new(genesis), last) {
        (Err(PinError::NoKey), Some(error)) => Err(error.into()),
        (pin, _) => Ok(pin?),
    }
}

/// The genesis: from a file, or from a member under a hash, or, on an experiment only, from
/// a member on its word.
pub async fn committee(args: &TrustArgs, addresses: &[String], term: Term) -> Outcome<Committee> {
    let members = members(addresses)?;
    if let Some(path) = &args.genesis {
        return Ok(Committee::new(pin(path, &members).await?, members));
    }
    let mut pin = None;
    let mut last = Problem::usage("no member's address was given");
    for member in &members {
        match member.genesis().await {
            Ok(found) => {
                pin = Some(found);
                break;
            }
            Err(error) => last = error.into(),
        }
    }
    let pin = pin.ok_or(last)?;
    match args.genesis_hash {
        Some(hash) => Ok(Committee::new(pin.expect(hash)?, members)),
        None if pin.genesis().experiment => {
            term.note(format!(
                "{} genesis {} is taken on a member's word; pin it with --genesis-hash",
                term.dim("note:"),
                pin.hash()
            ));
            Ok(Committee::new(pin, members))
        }
        None => Err(
            Problem::preflight("this chain is no experiment: its genesis must be pinned")
                .next("give --genesis FILE or --genesis-hash HEX"),
        ),
    }
}

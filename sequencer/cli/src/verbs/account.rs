//! `fairlane account`.

use fairlane_client::{AccountProblem, AttestedAccount, check_attested_account, dev};
use fairlane_execution::account::{AccountLeaf, PositionLeaf};
use fairlane_types::{Digest, Height, PublicKey};

use crate::args::CommitteeKey;
use crate::exec_args::AccountArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

impl From<AccountProblem> for Problem {
    fn from(error: AccountProblem) -> Self {
        match error {
            AccountProblem::Client(error) => error.into(),
            AccountProblem::Unproven(error) => Self::new(Exit::Verification, error.to_string()),
        }
    }
}

/// Asks for an account, checks the proof, and asks every member for its word on the state.
pub async fn run(args: AccountArgs, term: Term) -> Outcome {
    let key: PublicKey = match (&args.key, &args.trader) {
        (Some(key), _) => key.parse().map_err(Problem::usage)?,
        (None, Some(name)) => dev::trader_key(name).public(),
        (None, None) => return Err(Problem::usage("give a key or --trader NAME")),
    };
    if let Some(committee) = args.committee_key {
        return attested(&key, committee, &args.to, term).await;
    }
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let proven = committee.account(&key).await?;
    let signers: Vec<String> = proven.signed_by.iter().map(ToString::to_string).collect();
    let signed = format!("members {}", signers.join(", "));
    let signed_by = serde_json::json!(proven.signed_by);
    let at = (proven.height, proven.state_root);
    show(&proven.account, at, signed_by, &signed, term);
    Ok(())
}

/// With the committee's key alone: any one member's answer proves itself.
async fn attested(key: &PublicKey, committee: CommitteeKey, to: &[String], term: Term) -> Outcome {
    let members = super::trust::members(to)?;
    let (chain, _) = super::attested::chain_of(&members).await?;
    let mut last = Problem::usage("no member's address was given");
    for member in &members {
        let body = match member.attested_account(key).await {
            Ok(body) => body,
            Err(error) => {
                last = error.into();
                continue;
            }
        };
        match check_attested_account(&committee, chain, key, body) {
            Ok(AttestedAccount { account, state }) => {
                let at = (state.height, state.roots.state_root);
                show(
                    &account,
                    at,
                    "committee".into(),
                    "the committee's key",
                    term,
                );
                return Ok(());
            }
            Err(error) => {
                let what = format!("{}: {error}", member.address());
                last = Problem::new(Exit::Verification, what);
            }
        }
    }
    Err(last)
}

fn show(
    account: &AccountLeaf,
    (height, state_root): (Height, Digest),
    signed_by: serde_json::Value,
    signed: &str,
    term: Term,
) {
    let position = |held: &PositionLeaf| {
        serde_json::json!({
            "market": held.market, "lots": held.lots.to_string(),
            "cost": held.cost.to_string(), "orders": held.orders.len(),
        })
    };
    let value = serde_json::json!({ "account": {
        "key": account.key, "collateral": account.collateral.to_string(),
        "positions": account.positions.iter().map(position).collect::<Vec<_>>(),
        "height": height.to_string(), "state_root": state_root, "signed_by": signed_by,
    }});
    term.result(&value, || {
        let mut text = format!(
            "{} account {}  collateral {}\n",
            term.green("✔"),
            short(account.key),
            account.collateral
        );
        for held in &account.positions {
            text.push_str(&format!(
                "  market {}  {} lots at a cost of {}, {} open orders\n",
                held.market,
                held.lots,
                held.cost,
                held.orders.len()
            ));
        }
        text.push_str(&format!(
            "  proven at height {height} under state root {}, signed by {signed}",
            short(state_root)
        ));
        text
    });
}

//! `fairlane account`.

use fairlane_client::{AccountProblem, dev};
use fairlane_types::PublicKey;

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
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let proven = committee.account(&key).await?;
    let account = &proven.account;
    let position = |held: &fairlane_execution::account::PositionLeaf| {
        serde_json::json!({
            "market": held.market, "lots": held.lots.to_string(),
            "cost": held.cost.to_string(), "orders": held.orders.len(),
        })
    };
    let value = serde_json::json!({ "account": {
        "key": account.key, "collateral": account.collateral.to_string(),
        "positions": account.positions.iter().map(position).collect::<Vec<_>>(),
        "height": proven.height.to_string(), "state_root": proven.state_root,
        "signed_by": proven.signed_by,
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
        let signers: Vec<String> = proven.signed_by.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "  proven at height {} under state root {}, signed by members {}",
            proven.height,
            short(proven.state_root),
            signers.join(", ")
        ));
        text
    });
    Ok(())
}

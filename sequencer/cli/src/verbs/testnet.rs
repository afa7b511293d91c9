//! `fairlane testnet init`.

use std::sync::Arc;

use fairlane_node::key_files::AtRest;
use fairlane_node::passphrase::Passphrase;
use fairlane_node::testnet::{InitOptions, init};

use crate::args::TestnetVerb;
use crate::dev_markets;
use crate::exit::Outcome;
use crate::term::{Term, short};

/// Makes the folders of a committee.
pub fn run(verb: TestnetVerb, term: Term) -> Outcome {
    let TestnetVerb::Init {
        members,
        out,
        base_port,
        scheme,
        combining,
        dealer,
        passphrase_file,
        no_execution,
    } = verb;
    let mut options = InitOptions::new(&out, members.into());
    options.port = base_port;
    options.scheme = scheme;
    options.combining = combining;
    options.dealer = dealer;
    if !no_execution {
        let execution = dev_markets::genesis(&[]);
        options.oracle = Some(dev_markets::prices(&execution));
        options.execution = Some(execution);
    }
    // Only the flag: a passphrase that is in the environment by chance would be a surprise.
    if let Some(path) = passphrase_file {
        options.passphrase = Some(Arc::new(Passphrase::from_file(&path)?));
    }
    let at_rest = match options.passphrase {
        Some(_) => AtRest::Encrypted,
        None => AtRest::Plain,
    };
    let net = init(&options, |_| {})?;
    let value = serde_json::json!({ "testnet": {
        "genesis": net.genesis.hash(), "chain": net.genesis.chain.to_string(),
        "genesis_file": net.genesis_path, "committee_key": net.committee_key.map(hex::encode),
        "key_files": at_rest.word(), "executes": !no_execution,
        "members": net.members.iter().map(|member| serde_json::json!({
            "id": member.id, "home": member.home.root(),
            "api": member.config.listen_api, "ops": member.config.listen_ops,
        })).collect::<Vec<_>>(),
    }});
    term.result(&value, || {
        let key = match dealer {
            true => "keys by a dealer",
            false => "keys to be made by the members",
        };
        let mut text = format!(
            "{} genesis {} · for tests only · {key} · key files {}\n",
            term.green("✔"),
            short(net.genesis.hash()),
            at_rest.word()
        );
        if let Some(key) = net.committee_key {
            text.push_str(&format!("  committee key {}\n", hex::encode(key)));
        }
        for member in &net.members {
            text.push_str(&format!(
                "  fairlane node --home {}\n",
                member.home.root().display()
            ));
        }
        let apis: Vec<_> = net
            .members
            .iter()
            .map(|m| m.config.listen_api.to_string())
            .collect();
        text.push_str(&format!("then: fairlane status --to {}", apis.join(",")));
        text
    });
    Ok(())
}

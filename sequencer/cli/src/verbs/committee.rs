//! `fairlane committee`: who follows, decided by the operators of those who are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fairlane_client::Member;
use fairlane_encryption::ReceiverSecret;
use fairlane_node::config::{Config, StoreConfig};
use fairlane_node::epochs::Resting;
use fairlane_node::home::{Home, HomeError, read_genesis, write_genesis};
use fairlane_node::testnet::write_config;
use fairlane_types::{
    CommitteeChange, Genesis, NextCommittee, NextMember, QuorumWord, ReceiverBytes, SecretKey,
};
use rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::PassphraseArgs;
use crate::committee_args::{CommitteeVerb, JoinArgs};
use crate::exit::{Outcome, Problem};
use crate::term::{Term, short};

/// Largest file of this verb that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Runs the verb.
pub async fn run(verb: CommitteeVerb, term: Term) -> Outcome {
    match verb {
        CommitteeVerb::Join(args) => join(&args, term),
        CommitteeVerb::Card {
            home,
            quic,
            api,
            out,
        } => card(&home.home, &home.passphrase, (quic, api), &out, term),
        CommitteeVerb::Propose {
            genesis,
            to,
            cards,
            out,
        } => propose(&genesis, &to, &cards, &out, term).await,
        CommitteeVerb::Approve { home, change } => {
            approve(&home.home, &home.passphrase, &change, term)
        }
        CommitteeVerb::Submit { change, ops } => submit(&change, &ops, term).await,
    }
}

fn open(home: &Path, passphrase: &PassphraseArgs) -> Outcome<Home> {
    let passphrase = super::keys::passphrase(passphrase)?;
    Ok(Home::open(home)?.with_passphrase(passphrase.map(Into::into)))
}

/// The receiver key of a home; made where there is none yet.
fn receiver(home: &Home) -> Outcome<ReceiverSecret> {
    match home.receiver() {
        Err(HomeError::Missing(_)) => {
            let secret = ReceiverSecret::generate(&mut UnwrapErr(getrandom::SysRng));
            home.write_receiver(&secret)?;
            Ok(secret)
        }
        found => Ok(found?),
    }
}

/// What an operator hands to the others.
fn card_of(home: &Home, (quic, api): (String, String)) -> Outcome<NextMember> {
    Ok(NextMember {
        identity: home.identity()?.public(),
        receiver: ReceiverBytes(*receiver(home)?.key().bytes()),
        quic,
        api,
    })
}

fn join(args: &JoinArgs, term: Term) -> Outcome {
    let genesis = read_genesis(&args.genesis)?;
    let passphrase = super::keys::passphrase(&args.passphrase)?;
    if passphrase.is_none() && !genesis.experiment {
        return Err(
            Problem::usage("this chain is no experiment: its keys are encrypted")
                .next("--passphrase-file FILE"),
        );
    }
    let [listen_quic, listen_api, listen_ops] = [args.port, args.port + 1, args.port + 2]
        .map(|port| std::net::SocketAddr::new(args.host, port));
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(Problem::failed)?;
    let home = Home::create(&args.out)?.with_passphrase(passphrase.map(Into::into));
    home.write_identity(&SecretKey::from_seed(*seed))?;
    write_genesis(&home.genesis_path(), &genesis)?;
    let config = Config {
        listen_quic,
        listen_api,
        listen_ops,
        log: "info".to_owned(),
        peers: BTreeMap::new(),
        join: args.from.clone(),
        store: StoreConfig {
            reserve_mb: args.reserve_mb,
            ..StoreConfig::default()
        },
        oracle: None,
    };
    write_config(&home, &config)?;
    home.write_birth_of_joiner(&genesis, config.reserve_bytes())?;
    let address = (listen_quic.to_string(), format!("http://{listen_api}"));
    let card = card_of(&home, address)?;
    let path = args.out.join("card.json");
    write(&path, &card)?;
    let identity = card.identity;
    term.result(
        &json!({ "joiner": { "home": args.out, "card": path, "identity": identity } }),
        || {
            format!(
                "{} a home for {} in {}; hand {} to a member's operator, and start it with `fairlane node --home {}`",
                term.green("✔"),
                short(identity),
                args.out.display(),
                path.display(),
                args.out.display(),
            )
        },
    );
    Ok(())
}

fn card(
    home: &Path,
    passphrase: &PassphraseArgs,
    address: (String, String),
    out: &Path,
    term: Term,
) -> Outcome {
    let home = open(home, passphrase)?;
    let card = card_of(&home, address)?;
    write(out, &card)?;
    let identity = card.identity;
    term.result(
        &json!({ "card": { "file": out, "identity": identity } }),
        || {
            format!(
                "{} {} in {}",
                term.green("✔"),
                short(identity),
                out.display()
            )
        },
    );
    Ok(())
}

async fn propose(genesis: &Path, to: &str, cards: &[PathBuf], out: &Path, term: Term) -> Outcome {
    let present = Member::new(to)?
        .present_genesis(read_genesis(genesis)?)
        .await?;
    let next = NextCommittee {
        chain: present.chain,
        epoch: present.epoch().next(),
        members: cards
            .iter()
            .map(|path| read(path))
            .collect::<Outcome<_>>()?,
    };
    let committee = next.committee().map_err(Problem::usage)?;
    let change = CommitteeChange {
        next,
        approved: QuorumWord::default(),
    };
    write(out, &change)?;
    let (epoch, n) = (present.epoch().next(), committee.n());
    term.result(&json!({ "change": { "file": out, "epoch": epoch, "members": n } }), || {
        let quorum = present.members.len() - (present.members.len() - 1) / 3;
        format!(
            "{} {n} members from epoch {epoch} on, in {}; {quorum} operators must approve it with \
             `fairlane committee approve`",
            term.green("✔"),
            out.display(),
        )
    });
    Ok(())
}

fn approve(home: &Path, passphrase: &PassphraseArgs, path: &Path, term: Term) -> Outcome {
    let home = open(home, passphrase)?;
    let mut change: CommitteeChange = read(path)?;
    let committee = change.next.committee().map_err(Problem::usage)?;
    let identity = home.identity()?;
    let genesis = epoch_genesis(&home)?;
    if change.next.decided_in() != Some(genesis.epoch()) {
        return Err(Problem::usage(format!(
            "the change is for epoch {}, this home is in epoch {}",
            change.next.epoch,
            genesis.epoch()
        )));
    }
    let place = genesis
        .members
        .iter()
        .position(|key| *key == identity.public());
    let me = place.and_then(|at| u8::try_from(at).ok());
    let me = me.ok_or_else(|| Problem::usage("this home is no member of the present committee"))?;
    // Its node must be able to read its share, and to find the others.
    if let Some(id) = committee.member(&identity.public()) {
        let card = change.next.members.get(id.index());
        let own = ReceiverBytes(*receiver(&home)?.key().bytes());
        if card.is_none_or(|card| card.receiver != own) {
            return Err(
                Problem::usage("the change has another receiver key for this home")
                    .next("make its card again: fairlane committee card"),
            );
        }
    }
    let signature = change.next.approve(&identity);
    change.approved.add(fairlane_types::MemberId(me), signature);
    write(path, &change)?;
    let (have, n) = (change.approved.signatures.len(), genesis.members.len());
    let need = n - (n - 1) / 3;
    term.result(
        &json!({ "approved": { "file": path, "by": me, "have": have, "need": need } }),
        || {
            format!(
                "{} approved by member {me}: {have} of {need} in {}",
                term.green("✔"),
                path.display()
            )
        },
    );
    Ok(())
}

/// The genesis of the epoch that a home is in, also while its node runs.
fn epoch_genesis(home: &Home) -> Outcome<Genesis> {
    Ok(match Resting::peek(home)? {
        Some(base) => base.handover.genesis,
        None => home.genesis()?,
    })
}

async fn submit(path: &Path, ops: &[String], term: Term) -> Outcome {
    let change: CommitteeChange = read(path)?;
    let mut last = Problem::usage("no member's ops address was given");
    let mut taken = 0;
    for member in super::trust::members(ops)? {
        match member.change_committee(&change).await {
            Ok(()) => taken += 1,
            Err(error) => last = error.into(),
        }
    }
    if taken == 0 {
        return Err(last);
    }
    let epoch = change.next.epoch;
    term.result(
        &json!({ "submitted": { "epoch": epoch, "members": taken } }),
        || {
            format!(
                "{} handed to {taken} members; `fairlane status --ops …` shows how far it is",
                term.green("✔")
            )
        },
    );
    Ok(())
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Outcome<T> {
    let wrong =
        |error: &dyn std::fmt::Display| Problem::usage(format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path)
        .map_err(|error| wrong(&error))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(&format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(&error))
}

fn write(path: &Path, value: &impl Serialize) -> Outcome {
    let mut text = serde_json::to_string_pretty(value).map_err(Problem::failed)?;
    text.push('\n');
    std::fs::write(path, text)
        .map_err(|error| Problem::preflight(format!("{}: {error}", path.display())))
}

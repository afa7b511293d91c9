//! `fairlane committee`: who follows, decided by the operators of those who are.

use std::path::{Path, PathBuf};

use fairlane_client::Member;
use fairlane_node::epochs::Present;
use fairlane_node::home::{Home, HomeError, read_genesis, write_genesis};
use fairlane_types::{
    CommitteeChange, Epoch, Genesis, NextCommittee, QuorumWord, ReceiverBytes, UsedReceivers,
};
use serde_json::json;

use crate::addresses;
use crate::args::PassphraseArgs;
use crate::cards::{CARD, Card, Place, read, write};
use crate::committee_args::{CommitteeVerb, JoinArgs, KeyChoice};
use crate::exit::{Outcome, Problem};
use crate::term::{Term, short};

/// Runs the verb.
pub async fn run(verb: CommitteeVerb, term: Term) -> Outcome {
    match verb {
        CommitteeVerb::Join(args) => join(&args, term).await,
        CommitteeVerb::Card {
            home,
            quic,
            api,
            epoch,
            out,
        } => {
            let home = open(&home.home, &home.passphrase)?;
            card(&home, (quic, api), epoch, &out, term)
        }
        CommitteeVerb::Propose {
            genesis,
            to,
            key,
            cards,
            out,
        } => propose(&genesis, &to, key, &cards, &out, term).await,
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

/// The epoch after the one that members say is the present one.
async fn next_epoch(genesis: &Genesis, from: &[String]) -> Outcome<Epoch> {
    let mut last = Problem::usage("no member's API was given");
    for address in from {
        match Member::new(address)?.present_genesis(genesis.clone()).await {
            Ok(present) => return Ok(present.epoch().next()),
            Err(error) => last = error.into(),
        }
    }
    Err(last.next("start a member, or say --epoch: the one that the card is for"))
}

async fn join(args: &JoinArgs, term: Term) -> Outcome {
    let genesis = read_genesis(&args.genesis)?;
    let passphrase = super::keys::passphrase(&args.passphrase)?;
    if passphrase.is_none() && !genesis.experiment {
        return Err(
            Problem::usage("this chain is no experiment: its keys are encrypted")
                .next("--passphrase-file FILE"),
        );
    }
    let place = Place::new(&args.place, &args.from, term)?;
    let epoch = match args.epoch {
        Some(epoch) => Epoch(epoch),
        None => next_epoch(&genesis, &args.from).await?,
    };
    let fill = |home: &Home| {
        let reserve_bytes = place.reserve_bytes();
        let card = place.fill(home, (genesis.chain, epoch))?;
        write_genesis(&home.genesis_path(), &genesis)?;
        home.write_birth_of_joiner(&genesis, reserve_bytes)?;
        Ok::<_, Problem>(card)
    };
    let (home, card) = Home::make(&args.out, passphrase.map(Into::into), fill)?;
    let path = home.root().join(CARD);
    let identity = card.member.identity;
    let value = json!({ "joiner": {
        "home": args.out, "card": path, "epoch": epoch, "identity": identity,
    }});
    term.result(&value, || {
        format!(
            "{} a home for {} in {}; hand {}, which is for epoch {epoch}, to a member's operator, \
                 and start it with `fairlane node --home {}`",
            term.green("✔"),
            short(identity),
            args.out.display(),
            path.display(),
            args.out.display(),
        )
    });
    Ok(())
}

fn card(
    home: &Home,
    address: (String, String),
    epoch: Option<u64>,
    out: &Path,
    term: Term,
) -> Outcome {
    addresses::check("the card", &address.0, &address.1, term)?;
    let present = Present::of(home)?.genesis;
    let next = present.epoch().next();
    let epoch = epoch.map_or(next, Epoch);
    if epoch < next {
        return Err(Problem::usage(format!(
            "this home is in epoch {} already: a card is for a later one",
            present.epoch()
        )));
    }
    let card = Card::of(home, (present.chain, epoch), address)?;
    write(out, &card)?;
    let identity = card.member.identity;
    let value = json!({ "card": { "file": out, "epoch": epoch, "identity": identity } });
    term.result(&value, || {
        format!(
            "{} {} in {}, for epoch {epoch}",
            term.green("✔"),
            short(identity),
            out.display()
        )
    });
    Ok(())
}

async fn propose(
    genesis: &Path,
    to: &str,
    key: KeyChoice,
    cards: &[PathBuf],
    out: &Path,
    term: Term,
) -> Outcome {
    let mut used = UsedReceivers::default();
    let present = Member::new(to)?
        .walk_geneses(read_genesis(genesis)?, |genesis| used.add(genesis))
        .await?;
    let (chain, epoch) = (present.chain, present.epoch().next());
    let members = cards.iter().map(|path| {
        let member = Card::member_of(path, chain, epoch)?;
        addresses::check(&path.display().to_string(), &member.quic, &member.api, term)?;
        Outcome::Ok(member)
    });
    let next = NextCommittee {
        chain,
        epoch,
        key: key.into(),
        members: members.collect::<Outcome<_>>()?,
    };
    let committee = next.committee().map_err(Problem::usage)?;
    used.check(&next).map_err(Problem::usage)?;
    let change = CommitteeChange {
        next,
        approved: QuorumWord::default(),
    };
    write(out, &change)?;
    let (epoch, n) = (present.epoch().next(), committee.n());
    let word = key.word();
    let value = json!({ "change": { "file": out, "epoch": epoch, "members": n, "key": word } });
    term.result(&value, || {
        let quorum = present.members.len() - (present.members.len() - 1) / 3;
        format!(
            "{} {n} members from epoch {epoch} on with a {word} key, in {}; {quorum} operators must approve it with \
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
    let Present { genesis, used, .. } = Present::of(&home)?;
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
    used.check(&change.next).map_err(Problem::usage)?;
    for (id, member) in change.next.members.iter().enumerate() {
        addresses::check(&format!("member {id}"), &member.quic, &member.api, term)?;
    }
    // Its node must be able to read its share, and to find the others.
    if let Some(id) = committee.member(&identity.public()) {
        let card = change.next.members.get(id.index());
        let own = match home.receiver(change.next.epoch) {
            Err(HomeError::Missing(_)) => None,
            found => Some(ReceiverBytes(*found?.key().bytes())),
        };
        if card.map(|card| card.receiver) != own {
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

//! A home between epochs: it learns of the next one from members' APIs, checks it, and goes
//! there (PROTOCOL §6).

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fairlane_client::Member;
use fairlane_node::config::Config;
use fairlane_node::epochs::{EpochError, Resting, Standing};
use fairlane_replica::{EPOCH_BASE_BYTES_MAX, EpochBase};
use fairlane_types::{Genesis, Handover, Height, decode};
use tokio::task::JoinSet;

use crate::exit::{Outcome, Problem};

/// Pause between rounds of questions.
const ROUND: Duration = Duration::from_millis(500);
/// How long a member is asked.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a running node looks whether others are ahead of it.
const LOOK: Duration = Duration::from_secs(1);
/// How long a member is asked then.
const QUESTION_MAX: Duration = Duration::from_secs(3);
/// A node that is just about to go there itself is left alone for so long.
const GRACE: Duration = Duration::from_secs(2);

impl From<EpochError> for Problem {
    fn from(error: EpochError) -> Self {
        match error {
            EpochError::Home(error) => error.into(),
            error => Self::failed(error),
        }
    }
}

/// The APIs that a home knows: its own list, and those of the committee it was told of last.
pub fn sources(config: &Config, standing: &Standing) -> Outcome<Vec<Member>> {
    let next = standing.base.iter().flat_map(|base| &base.next.members);
    let own = format!("http://{}", config.listen_api);
    let mut addresses: Vec<&str> = config.join.iter().map(String::as_str).collect();
    addresses.extend(next.map(|member| member.api.as_str()));
    addresses.retain(|address| *address != own && !address.is_empty());
    addresses.sort_unstable();
    addresses.dedup();
    let members = addresses.into_iter().map(Member::new);
    let members = members.map(|member| Ok(member?.with_limit(ANSWER_MAX)));
    members.collect()
}

/// Ready when the committee of `genesis` has handed over to the next one for a while, with its
/// word for that: what any other says of epochs is worth nothing.
pub async fn left_behind(members: Vec<Member>, genesis: Genesis) -> Handover {
    let genesis = Arc::new(genesis);
    let mut doubted = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let mut answers = JoinSet::new();
        for member in &members {
            let (member, genesis) = (member.clone().with_limit(QUESTION_MAX), genesis.clone());
            answers.spawn(async move {
                let answer = handed_over(&member, &genesis).await;
                (member.address().to_owned(), answer)
            });
        }
        while let Some(Ok((from, answer))) = answers.join_next().await {
            match answer {
                Ok(None) => {}
                Ok(Some(handover)) => {
                    tokio::time::sleep(GRACE).await;
                    let epoch = genesis.epoch();
                    tracing::warn!(%epoch, "others are in a later epoch: following them");
                    return handover;
                }
                Err(error) => {
                    if doubted.insert(from.clone()) {
                        let error = error.what;
                        tracing::warn!(from, error, "says that this epoch is over, shows nothing");
                    }
                }
            }
        }
    }
}

/// The hand-over of the committee of `genesis`, if a member says that it is in a later epoch.
async fn handed_over(member: &Member, genesis: &Genesis) -> Outcome<Option<Handover>> {
    match member.info().await {
        Ok(info) if info.epoch > genesis.epoch().0 => {}
        _ => return Ok(None),
    }
    let handover = member.handover(genesis.epoch().next()).await?;
    handover.verify(genesis).map_err(Problem::failed)?;
    Ok(Some(handover))
}

/// Waits until the home is in an epoch in which its node can run, and says where it stands;
/// nothing when `stop` is ready first.
pub async fn until_it_runs(
    resting: &mut Resting,
    config: &Config,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Outcome<Option<Standing>> {
    let mut told = None;
    loop {
        let standing = resting.standing()?;
        let members = sources(config, &standing)?;
        // A backup of a later epoch has no part of this one's keys: if others can be asked,
        // they lead to its own.
        if standing.runs() && (standing.keyed || members.is_empty()) {
            return Ok(Some(standing));
        }
        let epoch = standing.epoch();
        if told != Some(epoch) {
            told = Some(epoch);
            if standing.runs() {
                tracing::warn!(%epoch, "no key for this epoch here: waiting for the next");
            } else {
                tracing::info!(%epoch, "no member of this epoch: waiting for the next");
            }
        }
        let round = async {
            forward(resting, &members).await?;
            if !follow(resting, &standing, &members).await? {
                tokio::time::sleep(ROUND).await;
            }
            Outcome::Ok(())
        };
        tokio::select! {
            () = stop.as_mut() => return Ok(None),
            done = round => done?,
        }
    }
}

/// One epoch further, if any member has it.
async fn follow(resting: &mut Resting, standing: &Standing, members: &[Member]) -> Outcome<bool> {
    let next = standing.epoch().next();
    for member in members {
        let Ok(bytes) = member.epoch_base(next).await else {
            continue;
        };
        let base: EpochBase = match decode(&bytes, EPOCH_BASE_BYTES_MAX) {
            Ok(base) => base,
            Err(error) => {
                tracing::warn!(from = member.address(), %error, "not the start of an epoch");
                continue;
            }
        };
        if let Err(error) = base.verify(&standing.genesis) {
            tracing::warn!(from = member.address(), %error, "a false start of an epoch");
            continue;
        }
        // Without dealings nobody runs that epoch: a word that it is over goes with it, or a
        // member could keep this one out of the present epoch.
        let onward = match base.is_whole() {
            true => None,
            false => match member.handover(next.next()).await {
                Ok(onward) => Some(onward),
                Err(error) => {
                    tracing::warn!(from = member.address(), %error, "an epoch without dealings");
                    continue;
                }
            },
        };
        match enter_from(resting, member, &base, onward.as_ref()).await {
            Ok(()) => return Ok(true),
            Err(error) => {
                tracing::warn!(from = member.address(), error = %error.what, "cannot follow");
            }
        }
    }
    Ok(false)
}

/// Takes the blocks that are missing from a member and enters.
async fn enter_from(
    resting: &mut Resting,
    member: &Member,
    base: &EpochBase,
    onward: Option<&Handover>,
) -> Outcome {
    resting.leave(&base.handover)?;
    let mut from = match resting.last_block()? {
        Some(block) => block.height.next(),
        // What is older than it keeps is not needed to check the rest: roots are chained.
        None => Height(member.info().await?.first_available.max(1)),
    };
    let until = base.genesis().base().next();
    while from < until {
        let blocks = member.blocks(from, until).await?;
        let Some(last) = blocks.last() else {
            return Err(Problem::failed(format!("no blocks from {from} on")));
        };
        from = last.height.next();
        resting.import(&blocks)?;
    }
    match onward {
        Some(onward) => resting.pass(base, onward)?,
        None => resting.enter(base)?,
    }
    Ok(())
}

/// Who has left hands what it acknowledged, and nobody has recorded, to those who stay.
async fn forward(resting: &Resting, members: &[Member]) -> Outcome {
    for order in resting.carried()? {
        for member in members {
            if let Err(error) = member.submit(&order).await {
                tracing::debug!(order = %order.id(), to = member.address(), %error, "not taken");
            }
        }
    }
    Ok(())
}

//! A home between epochs: it learns of the next one from members' APIs, checks it, and goes
//! there (PROTOCOL §6).

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fairlane_client::Member;
use fairlane_node::config::Config;
use fairlane_node::epochs::{EpochError, Resting, Standing};
use fairlane_replica::{Covered, EPOCH_BASE_BYTES_MAX, EpochBase, STRETCH_BLOCKS_MAX};
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
        if resting.go_on()? {
            continue;
        }
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
    for (at, member) in members.iter().enumerate() {
        let from = member.address();
        let (base, onward) = match next_epoch(member, &standing.genesis).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(from, error = %error.what, "not the start of the next epoch");
                continue;
            }
        };
        // The blocks come from anybody: it first, since it has been there.
        let (before, rest) = members.split_at(at);
        let sources: Vec<_> = rest.iter().chain(before).collect();
        match enter(resting, &sources, standing, &base, onward.as_ref()).await {
            Ok(()) => return Ok(true),
            Err(error) => tracing::warn!(from, error = %error.what, "cannot follow"),
        }
    }
    Ok(false)
}

/// What the next epoch begins with, as a member says and the committee of `genesis` signed;
/// nothing when it has none.
async fn next_epoch(
    member: &Member,
    genesis: &Genesis,
) -> Outcome<Option<(EpochBase, Option<Handover>)>> {
    let next = genesis.epoch().next();
    let Ok(bytes) = member.epoch_base(next).await else {
        return Ok(None);
    };
    let base: EpochBase = decode(&bytes, EPOCH_BASE_BYTES_MAX).map_err(Problem::failed)?;
    base.verify(genesis).map_err(Problem::failed)?;
    // Without dealings nobody runs that epoch: a word that it is over goes with it, or a
    // member could keep this one out of the present epoch.
    let onward = match base.is_whole() {
        true => None,
        false => Some(member.handover(next.next()).await?),
    };
    Ok(Some((base, onward)))
}

/// Takes the blocks that are missing and enters.
async fn enter(
    resting: &mut Resting,
    sources: &[&Member],
    standing: &Standing,
    base: &EpochBase,
    onward: Option<&Handover>,
) -> Outcome {
    if onward.is_none() {
        resting.reads(base)?;
    }
    resting.leave(&base.handover)?;
    let covered = Covered::by(&base.handover, &standing.genesis);
    let mut covered = covered.map_err(Problem::failed)?;
    for source in sources {
        match take_blocks(resting, source, base, &mut covered).await {
            Ok(()) => {
                match onward {
                    Some(onward) => resting.pass(base, onward)?,
                    None => resting.enter(base)?,
                }
                return Ok(());
            }
            Err(error) => {
                let (from, error) = (source.address(), error.what);
                tracing::warn!(from, error, "not the blocks up to the next epoch");
            }
        }
    }
    Err(Problem::failed("nobody has the blocks that are missing"))
}

/// Takes the blocks that are missing from one source: asks for them from the boundary down, to
/// know which are right, and then from the bottom up, to keep them. What was learnt or kept of
/// one source need not be asked of the next.
async fn take_blocks(
    resting: &mut Resting,
    source: &Member,
    base: &EpochBase,
    covered: &mut Covered,
) -> Outcome {
    let lowest = lowest_wanted(resting, source).await?;
    let mut most = STRETCH_BLOCKS_MAX as u64;
    while covered.missing() >= lowest {
        let top = covered.missing();
        let from = lowest.max(Height(top.0.saturating_sub(most - 1)));
        match covered.down(&source.blocks(from, top.next()).await?) {
            Ok(()) => most = (most * 2).min(STRETCH_BLOCKS_MAX as u64),
            // Large blocks: an answer does not hold that many.
            Err(_) if most > 1 => most /= 2,
            Err(error) => return Err(Problem::failed(error)),
        }
    }
    // Meanwhile it may have dropped the oldest.
    let mut from = lowest_wanted(resting, source).await?;
    while let Some(end) = covered.end_of_stretch(from) {
        let blocks = source.blocks(from, end.next()).await?;
        resting.import(&blocks, covered)?;
        from = end.next();
    }
    match resting.last_block()? {
        Some(last) if last.height >= base.genesis().base() => Ok(()),
        _ => Err(Problem::failed("it keeps none of them")),
    }
}

/// The height from which blocks are taken: above the last one here, or from the first that
/// the source keeps. What is older is not needed to check the rest: roots are chained.
async fn lowest_wanted(resting: &Resting, source: &Member) -> Outcome<Height> {
    match resting.last_block()? {
        Some(block) => Ok(block.height.next()),
        None => Ok(Height(source.info().await?.first_available.max(1))),
    }
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

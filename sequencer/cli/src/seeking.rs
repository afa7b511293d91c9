//! A home between epochs: it learns of the next one from members' APIs, checks it, and goes
//! there (PROTOCOL §6).

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fairlane_client::Member;
use fairlane_encryption::{CERTIFICATE_KEY_BYTES, OnwardError, leads_on};
use fairlane_node::at_rest::Serving;
use fairlane_node::config::Config;
use fairlane_node::epochs::{EpochError, Resting, Standing};
use fairlane_node::handle::NodeHandle;
use fairlane_replica::{Covered, EPOCH_BASE_BYTES_MAX, EpochBase, STRETCH_BLOCKS_MAX};
use fairlane_types::{Epoch, Genesis, Handover, Height, decode};
use tokio::task::JoinSet;

use crate::exit::{Outcome, Problem};
use crate::handing;

/// Pause between rounds of questions.
const ROUND: Duration = Duration::from_millis(500);
/// How long a member is asked.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a running node looks whether others are ahead of it.
const LOOK: Duration = Duration::from_secs(1);
/// How long a member is asked then.
const QUESTION_MAX: Duration = Duration::from_secs(3);
/// A node that can go there by what it has itself is left alone for so long.
const GRACE: Duration = Duration::from_secs(2);
/// What is missing is asked of one member for so long, then of the next one; twice as long in
/// every further round, up to the last.
const SOURCE_TIME: Duration = Duration::from_secs(20);
const SOURCE_TIME_MAX: Duration = Duration::from_secs(3_600);

/// An epoch, and the key by which the chain is known in it where its genesis has none.
#[derive(Clone)]
pub struct Known {
    genesis: Genesis,
    certificate_key: Option<[u8; CERTIFICATE_KEY_BYTES]>,
}

impl Known {
    /// Where a home stands.
    pub fn by(standing: &Standing) -> Self {
        Self {
            genesis: standing.genesis.clone(),
            certificate_key: standing.certificate_key,
        }
    }

    fn epoch(&self) -> Epoch {
        self.genesis.epoch()
    }

    fn leads_on(&self, handover: &Handover) -> Result<(), OnwardError> {
        leads_on(handover, &self.genesis, self.certificate_key.as_ref())
    }
}

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

/// What the next epoch begins with, checked; and a word that it is over, where nobody can run it.
pub struct Ahead {
    pub base: EpochBase,
    onward: Option<Handover>,
}

/// Ready when the committee of an epoch has handed over to the next one for a while, with what that
/// begins with: what any other says of epochs is worth nothing. The node hears of it first, passes it
/// on, and ends its epoch itself if it has come to the boundary. A node that left with the hand-over
/// alone would find the rest with nobody, if who showed it falls silent, and those that it left
/// behind would be too few to come there by themselves.
pub async fn left_behind(members: Vec<Member>, known: Known, node: NodeHandle) -> Ahead {
    let known = Arc::new(known);
    let mut doubted = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        for (member, answer) in ask_all(&members, &known).await {
            let found = match answer {
                Ok(None) => continue,
                Ok(Some(handover)) => {
                    node.handed_over(handover.word);
                    tokio::time::sleep(GRACE).await;
                    next_epoch(member, &known).await
                }
                Err(error) => Err(error),
            };
            match found {
                Ok(ahead) => {
                    let epoch = known.epoch();
                    tracing::warn!(%epoch, "others are in a later epoch: following them");
                    return ahead;
                }
                Err(error) => {
                    let from = member.address();
                    if doubted.insert(from.to_owned()) {
                        let error = error.what;
                        tracing::warn!(from, error, "says that this epoch is over, shows nothing");
                    }
                }
            }
        }
    }
}

/// What each member shows of the end of an epoch. All are asked at once: who does not answer
/// holds up nobody for long.
async fn ask_all<'a>(
    members: &'a [Member],
    known: &Arc<Known>,
) -> Vec<(&'a Member, Outcome<Option<Handover>>)> {
    let mut asked = JoinSet::new();
    for (at, member) in members.iter().enumerate() {
        let (member, known) = (member.clone().with_limit(QUESTION_MAX), known.clone());
        asked.spawn(async move { (at, handed_over(&member, &known).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    let all = answers.into_iter();
    all.filter_map(|(at, answer)| Some((members.get(at)?, answer)))
        .collect()
}

/// The hand-over of an epoch's committee, if a member says that it is in a later epoch; or has
/// it while it is in this one, which it leaves: nobody else may be in both.
async fn handed_over(member: &Member, known: &Known) -> Outcome<Option<Handover>> {
    let Ok(info) = member.info().await else {
        return Ok(None);
    };
    let handover = match member.handover(known.epoch().next()).await {
        Err(_) if info.epoch <= known.epoch().0 => return Ok(None),
        handover => handover?,
    };
    known.leads_on(&handover).map_err(Problem::failed)?;
    Ok(Some(handover))
}

/// A home that waits for its epoch and does not know where others are.
pub fn nobody_to_ask(reason: &str) -> Problem {
    Problem::preflight(format!(
        "{reason}, and config.toml names no member that knows of the next one"
    ))
    .next("join = [\"http://MEMBER:PORT\"] in config.toml")
}

/// What goes on while a home waits in an epoch.
struct Waiting {
    epoch: Epoch,
    /// What came along is handed on beside all this.
    _handing: JoinSet<()>,
    serving: Option<Serving>,
}

impl Waiting {
    async fn end(self) {
        if let Some(serving) = self.serving {
            serving.stop().await;
        }
    }
}

/// Others may find what they need here alone. It can do without.
async fn serve(resting: &Resting, config: &Config, standing: &Standing) -> Option<Serving> {
    match resting.serve(config, standing).await {
        Ok(serving) => Some(serving),
        Err(error) => {
            tracing::warn!(%error, "nothing is served meanwhile");
            None
        }
    }
}

/// Waits until the home is in an epoch in which its node can run, and says where it stands;
/// nothing when `stop` is ready first. What is `ahead` may be known already.
pub async fn until_it_runs(
    resting: &mut Resting,
    config: &Config,
    mut ahead: Option<Ahead>,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Outcome<Option<Standing>> {
    let mut waiting: Option<Waiting> = None;
    loop {
        if resting.go_on()? {
            continue;
        }
        let standing = resting.standing()?;
        let members = sources(config, &standing)?;
        let reason = standing.waits(!members.is_empty());
        let epoch = standing.epoch();
        if let Some(before) = waiting.take_if(|waiting| reason.is_none() || waiting.epoch != epoch)
        {
            before.end().await;
        }
        let Some(reason) = reason else {
            return Ok(Some(standing));
        };
        if members.is_empty() {
            return Err(nobody_to_ask(reason));
        }
        if waiting.is_none() {
            tracing::info!(%epoch, "{reason}: waiting for the next");
            waiting = Some(Waiting {
                epoch,
                _handing: handing::start(resting, &standing)?,
                serving: serve(resting, config, &standing).await,
            });
        }
        let round = async {
            if let Some(ahead) = ahead.take() {
                let sources: Vec<_> = members.iter().collect();
                match enter(resting, &sources, &standing, &ahead).await {
                    Ok(()) => return Ok(()),
                    Err(error) => tracing::warn!(error = %error.what, "cannot follow"),
                }
            }
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
    let known = Arc::new(Known::by(standing));
    for (at, (member, answer)) in ask_all(members, &known).await.into_iter().enumerate() {
        let from = member.address();
        let found = match answer {
            Ok(None) => continue,
            Ok(Some(_)) => next_epoch(member, &known).await,
            Err(error) => Err(error),
        };
        let ahead = match found {
            Ok(ahead) => ahead,
            Err(error) => {
                tracing::warn!(from, error = %error.what, "not the start of the next epoch");
                continue;
            }
        };
        // The blocks come from anybody: it first, since it has been there.
        let (before, rest) = members.split_at(at);
        let sources: Vec<_> = rest.iter().chain(before).collect();
        match enter(resting, &sources, standing, &ahead).await {
            Ok(()) => return Ok(true),
            Err(error) => tracing::warn!(from, error = %error.what, "cannot follow"),
        }
    }
    Ok(false)
}

/// What the next epoch begins with, as a member says and the committee before it signed.
async fn next_epoch(member: &Member, known: &Known) -> Outcome<Ahead> {
    let next = known.epoch().next();
    let bytes = member.epoch_base(next, EPOCH_BASE_BYTES_MAX).await?;
    let base: EpochBase = decode(&bytes, EPOCH_BASE_BYTES_MAX).map_err(Problem::failed)?;
    base.verify(&known.genesis, known.certificate_key.as_ref())
        .map_err(Problem::failed)?;
    // Without dealings nobody runs that epoch: a word that it is over goes with it, or a
    // member could keep this one out of the present epoch.
    let onward = match base.is_whole() {
        true => None,
        false => {
            let onward = member.handover(next.next()).await?;
            leads_on(&onward, base.genesis(), None).map_err(Problem::failed)?;
            Some(onward)
        }
    };
    Ok(Ahead { base, onward })
}

/// Takes the blocks that are missing and enters.
async fn enter(
    resting: &mut Resting,
    sources: &[&Member],
    standing: &Standing,
    Ahead { base, onward }: &Ahead,
) -> Outcome {
    if onward.is_none() {
        resting.reads(base)?;
    }
    resting.leave(&base.handover)?;
    let covered = Covered::by(&base.handover, &standing.genesis);
    let mut covered = covered.map_err(Problem::failed)?;
    let mut sources = sources.to_vec();
    if resting.last_block()?.is_none() {
        sources = by_reach(sources).await;
    }
    let mut time = SOURCE_TIME;
    while !sources.is_empty() {
        let mut slow = Vec::new();
        for source in sources {
            let taking = take_blocks(resting, source, base, &mut covered);
            let (from, error) = match tokio::time::timeout(time, taking).await {
                Ok(Ok(())) => {
                    match onward {
                        Some(onward) => resting.pass(base, onward)?,
                        None => resting.enter(base)?,
                    }
                    return Ok(());
                }
                Ok(Err(error)) => (source.address(), error.what),
                Err(_) => {
                    slow.push(source);
                    (source.address(), format!("not in {time:?}"))
                }
            };
            tracing::warn!(from, error, "not the blocks up to the next epoch");
        }
        (sources, time) = (slow, (time * 2).min(SOURCE_TIME_MAX));
    }
    Err(Problem::failed("nobody has the blocks that are missing"))
}

/// Those that keep more of the sequence before others: a home that has none takes what the first
/// one gives, for good.
async fn by_reach(sources: Vec<&Member>) -> Vec<&Member> {
    let mut asked = JoinSet::new();
    for (at, source) in sources.iter().enumerate() {
        let source = (*source).clone().with_limit(QUESTION_MAX);
        asked.spawn(async move { (source.info().await.map(|info| info.first_available), at) });
    }
    let mut reach = asked.join_all().await;
    reach.sort_unstable_by_key(|(first, at)| (*first.as_ref().unwrap_or(&u64::MAX), *at));
    let order = reach.into_iter();
    order
        .filter_map(|(_, at)| sources.get(at).copied())
        .collect()
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

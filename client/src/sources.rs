//! Members that serve one stream after the other: whom to read from, when to leave a member,
//! and when to give up. What a frame is worth is for others to say.

use std::time::Duration;

use fairlane_encryption::Attestation;
use fairlane_types::Height;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::wire::{ApiError, Frame};
use crate::{ClientError, Member, Stream};

/// Longest pause between attempts to reach a member.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Pause after the first round of failures.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// A member that gives nothing new for this long is held against the others.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// A member that has given nothing for this long, though others have more, is left.
const WITHHELD_MAX: Duration = Duration::from_secs(4);
/// So is one that gives blocks for this long, and not what covers them, though others have it.
const UNCOVERED_MAX: Duration = Duration::from_secs(30);
/// Time for the others' answers.
const WORD_MAX: Duration = Duration::from_secs(2);
/// Rounds of failures after which what no reachable member keeps counts as kept nowhere.
const ROUNDS_MAX: usize = 3;

/// What comes of the members.
pub(crate) enum Said {
    /// From the member that is read.
    Frame(Frame),
    /// It failed.
    Failed(ClientError),
    /// Another member's word of how far the sequence is.
    Word(usize, Word),
}

/// How far the sequence is, by one member.
pub(crate) enum Word {
    /// To be verified.
    Attested(Attestation),
    /// Nothing shows it.
    Head(Height),
}

#[derive(Debug)]
struct Source {
    member: Member,
    /// It served something false.
    banned: bool,
    /// It does not keep the height that comes next.
    pruned: Option<ApiError>,
}

/// The members, and the stream of one of them.
pub(crate) struct Sources {
    members: Vec<Source>,
    attested: bool,
    at: usize,
    stream: Option<Stream>,
    failures: usize,
    pause: Duration,
    /// Not to be asked before.
    resume: Instant,
    /// When the present member gave something at all, and what was wanted.
    heard: Instant,
    gained: Instant,
    /// Since when others are known to have more.
    behind: Option<Instant>,
    look: Instant,
    looking: JoinSet<Option<(usize, Word)>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}

impl Sources {
    pub(crate) fn new(members: Vec<Member>, attested: bool) -> Self {
        let now = Instant::now();
        Self {
            members: members
                .into_iter()
                .map(|member| Source {
                    member,
                    banned: false,
                    pruned: None,
                })
                .collect(),
            attested,
            at: 0,
            stream: None,
            failures: 0,
            pause: PAUSE_MIN,
            resume: now,
            heard: now,
            gained: now,
            behind: None,
            look: now + QUIET_MAX,
            looking: JoinSet::new(),
        }
    }

    /// Address of the member that is read.
    pub(crate) fn address(&self) -> &str {
        let source = self.members.get(self.at);
        source.map_or("", |source| source.member.address())
    }

    /// What comes next, reading from `from` on, or from the first height that is kept.
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, from: Option<Height>) -> Result<Said, ClientError> {
        loop {
            let Some(source) = self.members.get(self.at) else {
                return Err(ClientError::Address("no members".into()));
            };
            let (stream, attested, resume) = (&mut self.stream, self.attested, self.resume);
            let read = async {
                loop {
                    if let Some(stream) = stream {
                        return stream.next().await;
                    }
                    sleep_until(resume).await;
                    *stream = Some(source.member.open_stream(from, attested).await?);
                }
            };
            tokio::select! {
                biased;
                Some(word) = self.looking.join_next(), if !self.looking.is_empty() => {
                    if let Ok(Some((at, word))) = word {
                        return Ok(Said::Word(at, word));
                    }
                }
                () = sleep_until(self.look), if self.looking.is_empty() => self.ask_others(),
                frame = read => return Ok(match frame {
                    Ok(frame) => Said::Frame(frame),
                    Err(error) => Said::Failed(error),
                }),
            }
        }
    }

    /// Asks the others how far they are.
    fn ask_others(&mut self) {
        self.look = Instant::now() + QUIET_MAX;
        for (at, source) in self.members.iter().enumerate() {
            if at == self.at || source.banned {
                continue;
            }
            let (member, attested) = (source.member.clone().with_limit(WORD_MAX), self.attested);
            self.looking.spawn(async move {
                let word = if attested {
                    Word::Attested(member.attestation(None).await.ok()?)
                } else {
                    Word::Head(Height(member.info().await.ok()?.head.height))
                };
                Some((at, word))
            });
        }
    }

    /// The present member gave a block.
    pub(crate) fn heard(&mut self) {
        self.heard = Instant::now();
        let source = &mut self.members[self.at];
        source.pruned = None;
    }

    /// What was wanted came.
    pub(crate) fn gained(&mut self) {
        self.heard();
        self.gained = self.heard;
        self.look = self.heard + QUIET_MAX;
        self.behind = None;
        (self.failures, self.pause) = (0, PAUSE_MIN);
        for source in &mut self.members {
            source.pruned = None;
        }
    }

    /// Another member is known to have `height`, which has not come here: leaves the present
    /// one for it when it has had its time.
    pub(crate) fn behind(&mut self, at: usize, height: Height) -> Option<(String, ClientError)> {
        let now = Instant::now();
        let since = *self.behind.get_or_insert(now);
        let quiet = now - since.max(self.heard) >= WITHHELD_MAX;
        if !quiet && now - since.max(self.gained) < UNCOVERED_MAX {
            return None;
        }
        let from = self.address().to_owned();
        let url = from.clone();
        self.switch(at);
        Some((from, ClientError::Withheld { url, height }))
    }

    /// Leaves the present member for the next one, never to come back if it `lied`.
    ///
    /// # Errors
    /// `error` when nobody is left to ask, or the next height is kept nowhere.
    pub(crate) fn leave(
        &mut self,
        error: ClientError,
        lied: bool,
    ) -> Result<(String, ClientError), ClientError> {
        self.failures += 1;
        let usable = self.usable();
        let round = self.failures.is_multiple_of(usable);
        let from = self.address().to_owned();
        let source = &mut self.members[self.at];
        source.banned |= lied;
        if let ClientError::Api(api) = &error
            && api.first_available().is_some()
        {
            source.pruned = Some(api.clone());
        }
        let n = self.members.len();
        let next = (1..=n)
            .map(|k| (self.at + k) % n)
            .find(|at| !self.members[*at].banned);
        let Some(next) = next else {
            return Err(error);
        };
        let usable = self.members.iter().filter(|source| !source.banned);
        let pruned = usable.clone().filter_map(|source| source.pruned.as_ref());
        let whole = pruned.clone().count() == usable.count();
        let rounds = self.failures >= ROUNDS_MAX * self.usable();
        // Whoever keeps most says where one can begin.
        let most = pruned.min_by_key(|error| error.first_available().unwrap_or(u64::MAX));
        if let Some(most) = most.filter(|_| whole || rounds) {
            return Err(most.clone().into());
        }
        self.switch(next);
        if round {
            self.resume = self.heard + self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        Ok((from, error))
    }

    /// Failures in a row, in rounds of all members.
    pub(crate) fn rounds(&self) -> usize {
        self.failures / self.usable()
    }

    fn switch(&mut self, at: usize) {
        let now = Instant::now();
        self.at = at;
        self.stream = None;
        (self.heard, self.gained, self.look) = (now, now, now + QUIET_MAX);
        self.behind = None;
        self.looking.abort_all();
        self.looking = JoinSet::new();
    }

    fn usable(&self) -> usize {
        let usable = self.members.iter().filter(|source| !source.banned).count();
        usable.max(1)
    }
}

//! The verified feed: any member may serve it, because nothing is taken unchecked.

use std::time::Duration;

use fairlane_types::{Height, SequencedBlock};

use crate::wire::{ErrorCode, Frame};
use crate::{ChainVerifier, ClientError, Cursor, Member, Pin, Stream, VerifyError};

/// Longest pause between attempts to reach a member.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Pause after the first round of failures.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Follows the sequence over one member at a time and moves on to the next when it fails;
/// a member that served something false is not asked again.
#[derive(Debug)]
pub struct Feed {
    members: Vec<Source>,
    at: usize,
    stream: Option<Stream>,
    verifier: ChainVerifier,
    pause: Duration,
    failures: usize,
}

#[derive(Debug)]
struct Source {
    member: Member,
    banned: bool,
}

/// What comes out of a feed.
#[derive(Debug)]
pub enum FeedEvent {
    /// The next block, checked.
    Block(SequencedBlock),
    /// Nothing new; the member's head.
    Heartbeat(Height),
    /// A member failed or lied; the feed goes on elsewhere.
    Moved {
        /// Its address.
        from: String,
        /// Why.
        error: ClientError,
    },
}

impl Feed {
    /// Goes on after `cursor`, starting with the first member.
    #[must_use]
    pub fn new(pin: Pin, members: Vec<Member>, cursor: Cursor) -> Self {
        Self {
            members: members
                .into_iter()
                .map(|member| Source {
                    member,
                    banned: false,
                })
                .collect(),
            at: 0,
            stream: None,
            verifier: ChainVerifier::new(pin, cursor),
            pause: PAUSE_MIN,
            failures: 0,
        }
    }

    /// The last block given out. Store it together with what was made of the block.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        self.verifier.cursor()
    }

    /// The verifier, for openings.
    #[must_use]
    pub fn verifier(&self) -> &ChainVerifier {
        &self.verifier
    }

    /// As [`ChainVerifier::go_on`].
    pub fn go_on(&mut self, pin: Pin) {
        self.verifier.go_on(pin);
    }

    /// The next event; waits as long as it takes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When no member is left to ask, or the next height is kept nowhere
    /// ([`ErrorCode::OutOfRange`]).
    pub async fn next(&mut self) -> Result<FeedEvent, ClientError> {
        let Some(source) = self.members.get(self.at) else {
            return Err(ClientError::Address("no members".into()));
        };
        let result = loop {
            if let Some(stream) = &mut self.stream {
                break stream.next().await;
            }
            if self.failures > 0 && self.failures.is_multiple_of(self.usable()) {
                tokio::time::sleep(self.pause).await;
            }
            match source.member.stream(self.verifier.cursor().next()).await {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => break Err(error),
            }
        };
        match result {
            Ok(Frame::Heartbeat { head }) => Ok(FeedEvent::Heartbeat(head)),
            Ok(Frame::Block(block)) => match self.verifier.accept(&block) {
                Ok(()) => {
                    self.failures = 0;
                    self.pause = PAUSE_MIN;
                    Ok(FeedEvent::Block(block))
                }
                Err(error) => {
                    // A gap may be a fault; a broken link or root is a lie.
                    let lied = !matches!(error, VerifyError::Gap { .. });
                    let url = source.member.address().to_owned();
                    self.move_on(ClientError::False { url, error }, lied)
                }
            },
            Ok(Frame::Eof { reason, next }) => {
                let code = reason.parse().unwrap_or(ErrorCode::Internal);
                let message = format!("the stream was closed before height {next}");
                let error = crate::wire::ApiError::new(code, message);
                self.move_on(error.into(), false)
            }
            Err(error) => self.move_on(error, false),
        }
    }

    /// The next block, whatever happens to members in between.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_block(&mut self) -> Result<SequencedBlock, ClientError> {
        loop {
            if let FeedEvent::Block(block) = self.next().await? {
                return Ok(block);
            }
        }
    }

    fn usable(&self) -> usize {
        let usable = self.members.iter().filter(|source| !source.banned).count();
        usable.max(1)
    }

    fn move_on(&mut self, error: ClientError, lied: bool) -> Result<FeedEvent, ClientError> {
        self.stream = None;
        self.failures += 1;
        if self.failures.is_multiple_of(self.usable()) {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        let from = self.members[self.at].member.address().to_owned();
        self.members[self.at].banned |= lied;
        let n = self.members.len();
        let next = (1..=n)
            .map(|k| (self.at + k) % n)
            .find(|at| !self.members[*at].banned);
        let Some(next) = next else {
            return Err(error);
        };
        // Kept nowhere: a full round of the same answer.
        let pruned = error.code() == Some(ErrorCode::OutOfRange);
        if pruned && self.failures >= self.usable() {
            return Err(error);
        }
        self.at = next;
        Ok(FeedEvent::Moved { from, error })
    }
}

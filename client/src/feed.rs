//! The feed of a chain whose genesis is pinned. Any member may serve it: blocks come out once the
//! committee's attestation covers them (PROTOCOL §5).

use std::collections::VecDeque;

use fairlane_encryption::Attestation;
use fairlane_types::{Height, SequencedBlock};

use crate::attested_feed::{AttestedEvent, AttestedFeed, ended};
use crate::sources::{Said, Sources, Word};
use crate::wire::Frame;
use crate::{ChainVerifier, ClientError, Cursor, Member, Pin, VerifyError};

/// Where a feed begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After a block; what comes must continue it.
    After(Cursor),
    /// At a height: what was before is covered by the attestation as well.
    At(Height),
    /// At the first height that the first member keeps.
    First,
}

impl From<Cursor> for Start {
    fn from(cursor: Cursor) -> Self {
        Self::After(cursor)
    }
}

/// What comes out of a feed.
#[derive(Debug)]
pub enum FeedEvent {
    /// The next block; attested, but in an unattested feed.
    Block(SequencedBlock),
    /// The attestation of the block before: it covers all that came since the last one.
    Attested(Attestation),
    /// Nothing new; the head, on a member's word.
    Heartbeat(Height),
    /// A member failed, lied or kept something back; the feed goes on elsewhere.
    Moved {
        /// Its address.
        from: String,
        /// Why.
        error: ClientError,
    },
}

/// Follows the sequence over one member at a time and moves on to the next when it fails, or
/// keeps back what others have.
#[derive(Debug)]
pub struct Feed {
    pin: Pin,
    from: Option<Height>,
    verifier: Option<ChainVerifier>,
    ready: VecDeque<SequencedBlock>,
    covered: Option<Attestation>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Attested(Box<AttestedFeed>),
    Unattested(Box<Sources>),
}

impl Feed {
    /// A feed of attested blocks, starting with the first member.
    ///
    /// # Errors
    /// [`ClientError::NoAttestations`] on a chain that signs none.
    pub fn new(
        pin: Pin,
        members: Vec<Member>,
        start: impl Into<Start>,
    ) -> Result<Self, ClientError> {
        let key = *pin.certificate_key().ok_or(ClientError::NoAttestations)?;
        let (start, chain) = (start.into(), pin.genesis().chain);
        let feed = |from| Source::Attested(Box::new(AttestedFeed::new(members, key, chain, from)));
        Ok(Self::over(pin, start, feed))
    }

    /// A feed of blocks as the members serve them, some 100 ms sooner. Links and roots hold, so
    /// that blocks belong together; whether they are the committee's sequence is not known, and
    /// a lying member can invent them. For displays and measurements.
    #[must_use]
    pub fn unattested(pin: Pin, members: Vec<Member>, start: impl Into<Start>) -> Self {
        let feed = |_| Source::Unattested(Box::new(Sources::new(members, false)));
        Self::over(pin, start.into(), feed)
    }

    fn over(pin: Pin, start: Start, source: impl FnOnce(Option<Height>) -> Source) -> Self {
        let (from, verifier) = match start {
            Start::After(cursor) => {
                let next = Some(cursor.next());
                (next, Some(ChainVerifier::new(pin.clone(), cursor)))
            }
            Start::At(height) => (Some(height), None),
            Start::First => (None, None),
        };
        Self {
            source: source(from),
            pin,
            from,
            verifier,
            ready: VecDeque::new(),
            covered: None,
        }
    }

    /// As [`ChainVerifier::go_on`].
    pub fn go_on(&mut self, pin: Pin) {
        if let Some(verifier) = &mut self.verifier {
            verifier.go_on(pin.clone());
        }
        self.pin = pin;
    }

    /// After the last block given out; none as long as a feed that began at a height has given
    /// none. Store it together with what was made of the block.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.verifier.as_ref().map(ChainVerifier::cursor)
    }

    /// Height of the last block given out, 0 before the first.
    #[must_use]
    pub fn height(&self) -> Height {
        self.cursor().map_or(Height(0), Cursor::height)
    }

    /// The next event; waits as long as it takes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When no member is left to ask; [`ClientError::Place`] when the cursor is none of the
    /// attested sequence; code `out_of_range` when the next height is kept nowhere.
    pub async fn next(&mut self) -> Result<FeedEvent, ClientError> {
        loop {
            if let Some(block) = self.ready.front() {
                take(&self.pin, &mut self.verifier, block).map_err(ClientError::Place)?;
                if let Some(block) = self.ready.pop_front() {
                    return Ok(FeedEvent::Block(block));
                }
            }
            if let Some(attestation) = self.covered.take() {
                return Ok(FeedEvent::Attested(attestation));
            }
            match &mut self.source {
                Source::Attested(feed) => match feed.next().await? {
                    AttestedEvent::Heartbeat(head) => return Ok(FeedEvent::Heartbeat(head)),
                    AttestedEvent::Moved { from, error } => {
                        return Ok(FeedEvent::Moved { from, error });
                    }
                    AttestedEvent::Blocks {
                        blocks,
                        attestation,
                    } => {
                        self.ready = blocks.into();
                        self.covered = Some(attestation);
                    }
                },
                Source::Unattested(_) => {
                    if let Some(event) = self.next_unattested().await? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    async fn next_unattested(&mut self) -> Result<Option<FeedEvent>, ClientError> {
        let wanted = self.cursor().map(Cursor::next).or(self.from);
        let Source::Unattested(sources) = &mut self.source else {
            return Ok(None);
        };
        let left = match sources.next(wanted).await? {
            Said::Frame(Frame::Heartbeat { head }) => return Ok(Some(FeedEvent::Heartbeat(head))),
            Said::Frame(Frame::Attestation(_)) | Said::Word(_, Word::Attested(_)) => {
                return Ok(None);
            }
            Said::Word(at, Word::Head(head)) => {
                if head < wanted.unwrap_or(Height(1)) {
                    return Ok(None);
                }
                let Some(left) = sources.behind(at, head) else {
                    return Ok(None);
                };
                left
            }
            Said::Frame(Frame::Block(block)) => match wanted.filter(|want| *want != block.height) {
                None => match take(&self.pin, &mut self.verifier, &block) {
                    Ok(()) => {
                        sources.gained();
                        return Ok(Some(FeedEvent::Block(block)));
                    }
                    Err(error) => disagree(sources, error)?,
                },
                Some(want) => {
                    let (url, got) = (sources.address().to_owned(), block.height);
                    let error = VerifyError::Gap { want, got };
                    sources.leave(ClientError::False { url, error }, false)?
                }
            },
            Said::Frame(Frame::Eof { reason, next }) => {
                sources.leave(ended(&reason, next), false)?
            }
            Said::Failed(error) => sources.leave(error, false)?,
        };
        let (from, error) = left;
        Ok(Some(FeedEvent::Moved { from, error }))
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
}

/// Moves the cursor over a block.
fn take(
    pin: &Pin,
    verifier: &mut Option<ChainVerifier>,
    block: &SequencedBlock,
) -> Result<(), VerifyError> {
    let before = || ChainVerifier::new(pin.clone(), Cursor::before(pin, block));
    verifier.get_or_insert_with(before).accept(block)
}

/// Without attestations nobody can say which of two members invents: none is banned, and when
/// all of them say otherwise it is the end.
fn disagree(
    sources: &mut Sources,
    error: VerifyError,
) -> Result<(String, ClientError), ClientError> {
    let url = sources.address().to_owned();
    let left = sources.leave(ClientError::Contradiction { url, error }, false)?;
    if sources.rounds() > 0 {
        return Err(left.1);
    }
    Ok(left)
}

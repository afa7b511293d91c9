//! The sequence as far as the committee has attested it, over any of its members, for
//! whoever knows nothing but the committee's key.
//!
//! All blocks that wait come from one member, since the last attestation: when that member is
//! left they are dropped. So whatever does not hold is that member's doing, and nobody else's.

use fairlane_encryption::{Attestation, CERTIFICATE_KEY_BYTES};
use fairlane_types::{ChainId, Height, SequencedBlock};

use crate::attested::{AttestedChain, AttestedError};
use crate::sources::{Said, Sources, Word};
use crate::wire::{ApiError, ErrorCode, Frame};
use crate::{ClientError, Member};

/// What came.
#[derive(Debug)]
pub enum AttestedEvent {
    /// Blocks under an attestation, in order.
    Blocks {
        /// At least one.
        blocks: Vec<SequencedBlock>,
        /// What covers them.
        attestation: Attestation,
    },
    /// Nothing new; the head, on a member's word.
    Heartbeat(Height),
    /// A member did not answer, lied, or kept something back: another one is asked.
    Moved {
        /// The member left.
        from: String,
        /// Why.
        error: ClientError,
    },
}

/// Follows attested blocks.
#[derive(Debug)]
pub struct AttestedFeed {
    sources: Sources,
    from: Option<Height>,
    key: [u8; CERTIFICATE_KEY_BYTES],
    id: ChainId,
    chain: AttestedChain,
}

impl AttestedFeed {
    /// Follows from a height on, or from the first one that is kept. The chain id is one of
    /// those that the key signs for: a false one verifies nothing.
    #[must_use]
    pub fn new(
        members: Vec<Member>,
        key: [u8; CERTIFICATE_KEY_BYTES],
        chain: ChainId,
        from: Option<Height>,
    ) -> Self {
        Self {
            sources: Sources::new(members, true),
            from,
            key,
            id: chain,
            chain: AttestedChain::new(key, chain),
        }
    }

    /// The verifier.
    #[must_use]
    pub const fn chain(&self) -> &AttestedChain {
        &self.chain
    }

    /// Height after the last attested one.
    fn wanted(&self) -> Option<Height> {
        let attested = self.chain.attested();
        attested.map(|(height, _)| height.next()).or(self.from)
    }

    /// Waits for the next attested blocks. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ClientError::Address`] without members; [`ClientError::False`] when no member
    /// serves what the key attests: most likely the key is another committee's. Code
    /// `out_of_range` when the next height is kept nowhere.
    pub async fn next(&mut self) -> Result<AttestedEvent, ClientError> {
        loop {
            // A stream that is open goes on after what it sent; a new one has to begin there.
            let frame = match self.sources.next(self.wanted()).await? {
                Said::Frame(frame) => frame,
                Said::Failed(error) => return self.leave(error, false),
                Said::Word(at, Word::Attested(word)) => {
                    let wanted = self.wanted().unwrap_or(Height(1));
                    // A word that is not the committee's is nobody's reason to go there.
                    if word.height >= wanted
                        && word.verify(&self.key, self.id)
                        && let Some((from, error)) = self.sources.behind(at, word.height)
                    {
                        self.chain.forget_waiting();
                        return Ok(AttestedEvent::Moved { from, error });
                    }
                    continue;
                }
                Said::Word(_, Word::Head(_)) => continue,
            };
            match frame {
                Frame::Heartbeat { head } => return Ok(AttestedEvent::Heartbeat(head)),
                Frame::Block(block) => {
                    let starts = self.chain.next().is_none();
                    if starts && self.from.is_some_and(|from| block.height != from) {
                        return self.refuse(AttestedError::Link(block.height));
                    }
                    if let Err(error) = self.chain.push(block) {
                        return self.refuse(error);
                    }
                    self.sources.heard();
                }
                Frame::Attestation(attestation) => match self.chain.attest(&attestation) {
                    Err(error) => return self.refuse(error),
                    Ok(blocks) if blocks.is_empty() => {}
                    Ok(blocks) => {
                        self.sources.gained();
                        return Ok(AttestedEvent::Blocks {
                            blocks,
                            attestation,
                        });
                    }
                },
                Frame::Eof { reason, next } => return self.leave(ended(&reason, next), false),
            }
        }
    }

    /// The present member served what does not hold.
    fn refuse(&mut self, error: AttestedError) -> Result<AttestedEvent, ClientError> {
        let url = self.sources.address().to_owned();
        // That much without an attestation proves nothing.
        if error == AttestedError::Full {
            return self.leave(ClientError::Uncovered { url, error }, false);
        }
        let error = error.into();
        self.leave(ClientError::False { url, error }, true)
    }

    fn leave(&mut self, error: ClientError, lied: bool) -> Result<AttestedEvent, ClientError> {
        self.chain.forget_waiting();
        let (from, error) = self.sources.leave(error, lied)?;
        Ok(AttestedEvent::Moved { from, error })
    }
}

/// Why a member says that it ends a stream.
pub(crate) fn ended(reason: &str, next: Height) -> ClientError {
    let message = format!("the stream was closed before height {next}");
    ApiError::new(reason.parse().unwrap_or(ErrorCode::Internal), message).into()
}

//! The sequence as far as the committee has attested it, over any of its members, for
//! whoever knows nothing but the committee's key.

use std::time::Duration;

use fairlane_encryption::{Attestation, CERTIFICATE_KEY_BYTES};
use fairlane_types::{ChainId, Height, SequencedBlock};

use crate::attested::{AttestedChain, AttestedError};
use crate::wire::{BLOCKS_PAGE_MAX, ErrorCode};
use crate::{ClientError, Member};

/// Pause between two questions for the latest attestation.
const POLL: Duration = Duration::from_millis(100);
/// Pause after a full round of members that did not help.
const ROUND_PAUSE: Duration = Duration::from_millis(500);

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
    /// A member did not answer, or lied: another one is asked.
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
    members: Vec<Member>,
    at: usize,
    failures: usize,
    /// Members in a row that served something false.
    lies: usize,
    from: Height,
    chain: AttestedChain,
}

impl AttestedFeed {
    /// Follows from a height on. The chain id is one of those that the key signs for: a
    /// false one verifies nothing.
    #[must_use]
    pub const fn new(
        members: Vec<Member>,
        key: [u8; CERTIFICATE_KEY_BYTES],
        chain: ChainId,
        from: Height,
    ) -> Self {
        Self {
            members,
            at: 0,
            failures: 0,
            lies: 0,
            from,
            chain: AttestedChain::new(key, chain),
        }
    }

    /// The verifier.
    #[must_use]
    pub const fn chain(&self) -> &AttestedChain {
        &self.chain
    }

    /// Waits for the next attested blocks. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`ClientError::Address`] without members; [`ClientError::False`] when no member
    /// serves what the key attests: most likely the key is another committee's.
    pub async fn next(&mut self) -> Result<AttestedEvent, ClientError> {
        loop {
            let Some(member) = self.members.get(self.at).cloned() else {
                return Err(ClientError::Address("no members".into()));
            };
            match self.ask(&member).await {
                Ok(Some(event)) => {
                    (self.failures, self.lies) = (0, 0);
                    return Ok(event);
                }
                Ok(None) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    self.chain.forget_waiting();
                    self.failures += 1;
                    self.lies = match error {
                        ClientError::False { .. } => self.lies + 1,
                        _ => 0,
                    };
                    if self.lies >= self.members.len() {
                        return Err(error);
                    }
                    if self.failures.is_multiple_of(self.members.len()) {
                        tokio::time::sleep(ROUND_PAUSE).await;
                    }
                    self.at = (self.at + 1) % self.members.len();
                    let from = member.address().to_owned();
                    return Ok(AttestedEvent::Moved { from, error });
                }
            }
        }
    }

    /// One step: blocks up to the latest attestation, a page at a time.
    async fn ask(&mut self, member: &Member) -> Result<Option<AttestedEvent>, ClientError> {
        let lied = |error: AttestedError| ClientError::False {
            url: member.address().to_owned(),
            error: error.into(),
        };
        let from = self.chain.next().unwrap_or(self.from);
        // The nearest one above a page keeps what waits small.
        let target = match member
            .attestation(Some(from.plus(BLOCKS_PAGE_MAX as u64)))
            .await
        {
            Ok(attestation) => attestation,
            Err(error) if is_absent(&error) => match member.attestation(None).await {
                Ok(attestation) => attestation,
                Err(error) if is_absent(&error) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let mut next = from;
        while next <= target.height {
            let blocks = member.blocks(next, target.height.next()).await?;
            if blocks.is_empty() {
                return Ok(None);
            }
            for block in blocks {
                self.chain.push(block).map_err(lied)?;
            }
            next = self.chain.next().unwrap_or(next);
        }
        let blocks = self.chain.attest(&target).map_err(lied)?;
        Ok((!blocks.is_empty()).then_some(AttestedEvent::Blocks {
            blocks,
            attestation: target,
        }))
    }
}

/// There is no attestation yet.
fn is_absent(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::NotFound)
}

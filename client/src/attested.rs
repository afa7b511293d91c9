//! Following the sequence with nothing but the committee's 48-byte key: no genesis, no list
//! of members. Blocks wait until the committee has attested a root that covers them
//! (PROTOCOL §5); what does not lead to that root is refused.

use std::collections::VecDeque;

use fairlane_encryption::{Attestation, CERTIFICATE_KEY_BYTES};
use fairlane_types::{ChainId, Height, Item, Outcome, Position, Root, SequencedBlock};

/// Blocks that may wait for their attestation.
pub const WAITING_MAX: usize = 8_192;
/// Bytes of blocks that may wait for their attestation; one block may wait whatever its size.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestedError {
    /// The block does not continue the ones before: height, parent root, positions or chain.
    #[error("block {0} does not continue the sequence")]
    Link(Height),
    /// The root is not the one of the content.
    #[error("block {0}: the root does not fit its content")]
    Root(Height),
    /// Too many blocks wait.
    #[error("{WAITING_MAX} blocks or {WAITING_BYTES_MAX} bytes wait for an attestation")]
    Full,
    /// The signature is not the committee's.
    #[error("the attestation of height {0} does not verify under the committee's key")]
    Signature(Height),
    /// The committee attested another root: what is served is not the sequence.
    #[error("height {height} has root {got} here, the committee attested {want}")]
    Forged {
        /// Height.
        height: Height,
        /// Root of the blocks that were served.
        got: Root,
        /// Root that is attested.
        want: Root,
    },
}

/// The end of the blocks taken so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    height: Height,
    root: Root,
    next: Position,
}

/// Links blocks, and lets them go once they are attested.
#[derive(Clone, Debug)]
pub struct AttestedChain {
    key: [u8; CERTIFICATE_KEY_BYTES],
    chain: ChainId,
    /// End of what is attested.
    attested: Option<End>,
    waiting: VecDeque<SequencedBlock>,
    waiting_bytes: usize,
}

impl AttestedChain {
    /// Begins at any height: the first block's own parent root is covered by the first
    /// attestation.
    #[must_use]
    pub const fn new(key: [u8; CERTIFICATE_KEY_BYTES], chain: ChainId) -> Self {
        Self {
            key,
            chain,
            attested: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Height that is to come next; any, as long as nothing came.
    #[must_use]
    pub fn next(&self) -> Option<Height> {
        self.end().map(|end| end.height.next())
    }

    /// Last attested height and its root.
    #[must_use]
    pub fn attested(&self) -> Option<(Height, Root)> {
        self.attested.map(|end| (end.height, end.root))
    }

    fn end(&self) -> Option<End> {
        self.waiting.back().map(end_of).or(self.attested)
    }

    /// Takes the next block; it waits for its attestation.
    ///
    /// # Errors
    /// [`AttestedError`]; nothing is taken.
    pub fn push(&mut self, block: SequencedBlock) -> Result<(), AttestedError> {
        let height = block.height;
        let bytes = self.waiting_bytes.saturating_add(bytes_of(&block));
        let full = self.waiting.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX;
        if full && !self.waiting.is_empty() {
            return Err(AttestedError::Full);
        }
        let first = block.first_position;
        let continues = self.end().is_none_or(|end| {
            height == end.height.next() && block.parent_root == end.root && first == end.next
        });
        let mut positions = (0_u64..).map(|offset| first.plus(offset)).zip(&block.items);
        let dense = positions.all(|(want, item)| item.position == want);
        if block.chain != self.chain || !continues || !dense {
            return Err(AttestedError::Link(height));
        }
        if block.root != block.compute_root() {
            return Err(AttestedError::Root(height));
        }
        self.waiting.push_back(block);
        self.waiting_bytes = bytes;
        Ok(())
    }

    /// Takes an attestation; gives the blocks that it covers, in order. One for a height
    /// that has not come yet, or that is behind, gives none.
    ///
    /// # Errors
    /// [`AttestedError::Signature`]; [`AttestedError::Forged`] drops the blocks that wait:
    /// whoever served them lied.
    pub fn attest(
        &mut self,
        attestation: &Attestation,
    ) -> Result<Vec<SequencedBlock>, AttestedError> {
        let height = attestation.height;
        let at = self.waiting.iter().position(|block| block.height == height);
        let Some(at) = at else { return Ok(Vec::new()) };
        if !attestation.verify(&self.key, self.chain) {
            return Err(AttestedError::Signature(height));
        }
        let last = end_of(&self.waiting[at]);
        if last.root != attestation.root {
            self.forget_waiting();
            return Err(AttestedError::Forged {
                height,
                got: last.root,
                want: attestation.root,
            });
        }
        self.attested = Some(last);
        let covered: Vec<_> = self.waiting.drain(..=at).collect();
        self.waiting_bytes = self.waiting.iter().map(bytes_of).sum();
        Ok(covered)
    }

    /// Drops what waits, to take it from somebody else.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}

/// About what a block takes in memory.
fn bytes_of(block: &SequencedBlock) -> usize {
    let payload = |item: &Item| match &item.outcome {
        Outcome::Opened { payload, .. } => payload.len(),
        _ => 0,
    };
    let items = block.items.iter();
    size_of::<SequencedBlock>()
        + items
            .map(|item| size_of::<Item>() + payload(item))
            .sum::<usize>()
}

fn end_of(block: &SequencedBlock) -> End {
    End {
        height: block.height,
        root: block.root,
        next: block.next_position(),
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::{
        CertificateKey, CertificateSecret, ThresholdCertificate, accept_certificate_share, certify,
        deal_pairing_insecure, sign_attestation,
    };
    use fairlane_types::{Digest, Epoch, SeededRng};

    use super::*;
    use crate::testing::{opened_block, pin_of};
    use crate::{ChainVerifier, Cursor, Pin};

    struct Members {
        key: CertificateKey,
        secrets: Vec<CertificateSecret>,
    }

    impl Members {
        fn new() -> Self {
            let mut rng = SeededRng::new(&[5; 32], b"certificates");
            let (key, secrets) = deal_pairing_insecure(Epoch(0), 4, &mut rng).unwrap();
            Self { key, secrets }
        }

        fn attest(&self, chain: ChainId, height: Height, root: Root) -> Attestation {
            let mut made = Attestation {
                epoch: Epoch(0),
                height,
                root,
                certificate: ThresholdCertificate([0; 96]),
            };
            let share = |secret: &CertificateSecret| {
                let share = sign_attestation(secret, chain, Epoch(0), height, root);
                accept_certificate_share(&self.key, secret.member(), &share).unwrap()
            };
            let shares: Vec<_> = self.secrets[1..].iter().map(share).collect();
            let found = certify(&self.key, &made.subject(chain), &shares).unwrap();
            made.certificate = found.certificate.unwrap();
            made
        }
    }

    fn blocks(pin: &Pin, sizes: &[u64]) -> Vec<SequencedBlock> {
        let mut chain = ChainVerifier::new(pin.clone(), Cursor::start(pin));
        let next = |size: &u64| {
            let (block, _) = opened_block(pin, chain.cursor(), *size);
            chain.accept(&block).unwrap();
            block
        };
        sizes.iter().map(next).collect()
    }

    #[test]
    fn blocks_wait_for_the_committee_and_begin_anywhere() {
        let (pin, _) = pin_of(4);
        let chain = pin.genesis().chain;
        let members = Members::new();
        let all = blocks(&pin, &[2, 0, 3, 1]);
        for from in 0..3 {
            let mut light = AttestedChain::new(*members.key.public_key(), chain);
            assert_eq!((light.next(), light.attested()), (None, None));
            for block in &all[from..] {
                light.push(block.clone()).unwrap();
            }
            // Not there yet, and behind: nothing.
            let far = members.attest(chain, Height(9), all[3].root);
            assert_eq!(light.attest(&far), Ok(Vec::new()));
            let third = members.attest(chain, Height(3), all[2].root);
            assert_eq!(light.attest(&third).unwrap(), all[from..3]);
            assert_eq!(light.attested(), Some((Height(3), all[2].root)));
            assert_eq!(light.attest(&third), Ok(Vec::new()));
            assert_eq!(light.next(), Some(Height(5)));
        }
    }

    #[test]
    fn nothing_forged_is_let_go() {
        let (pin, _) = pin_of(4);
        let chain = pin.genesis().chain;
        let members = Members::new();
        let all = blocks(&pin, &[2, 1]);
        let mut light = AttestedChain::new(*members.key.public_key(), chain);
        let mut bad = all[0].clone();
        bad.items.swap(0, 1);
        assert_eq!(light.push(bad.clone()), Err(AttestedError::Link(Height(1))));
        bad = all[0].clone();
        bad.time.0 += 1;
        assert_eq!(light.push(bad.clone()), Err(AttestedError::Root(Height(1))));
        bad = all[0].clone();
        bad.chain = ChainId(9);
        assert_eq!(light.push(bad), Err(AttestedError::Link(Height(1))));
        light.push(all[0].clone()).unwrap();
        assert_eq!(
            light.push(all[0].clone()),
            Err(AttestedError::Link(Height(1)))
        );
        // Another chain's, another root's and another key's signature.
        let first = members.attest(chain, Height(1), all[0].root);
        let mut other = members.attest(ChainId(9), Height(1), all[0].root);
        let refused = Err(AttestedError::Signature(Height(1)));
        assert_eq!(light.attest(&other), refused);
        other = first;
        other.root = Root(Digest([3; 32]));
        assert_eq!(light.attest(&other), refused);
        let mut foreign = AttestedChain::new([0; 48], chain);
        foreign.push(all[0].clone()).unwrap();
        assert_eq!(foreign.attest(&first), refused);
        // A member that serves a whole sequence of its own.
        let mut own = all[1].clone();
        own.time.0 += 1;
        let own = own.sealed();
        light.push(own.clone()).unwrap();
        let second = members.attest(chain, Height(2), all[1].root);
        let forged = AttestedError::Forged {
            height: Height(2),
            got: own.root,
            want: all[1].root,
        };
        assert_eq!(light.attest(&second), Err(forged));
        assert_eq!((light.next(), light.attested()), (None, None));
    }
}

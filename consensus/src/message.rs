//! What travels between members. The sender is the authenticated link's other end, so
//! votes do not name their signer.

use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt::Debug;
use core::hash::Hash;
use fairlane_types::{
    BlockHeader, BlockId, Certificate, ChainId, Commit, Digest, Domain, Height, Signature, Signer,
    SignerSet, Skip, View, Vote,
};

use crate::config::BLOCKS_MAX;

/// What blocks carry; opaque to consensus but for its digest.
pub trait Payload:
    Clone + Eq + Hash + Debug + BorshSerialize + BorshDeserialize + Send + Sync + 'static
{
    /// Commits to everything in the payload.
    fn digest(&self) -> Digest {
        Domain::Payload.hash_of(self)
    }
}

/// A header with its payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Block<P> {
    /// The header.
    pub header: BlockHeader,
    /// The payload whose digest is in the header.
    pub payload: P,
}

impl<P: Payload> Block<P> {
    /// H(header).
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.header.id()
    }
    /// Whether the payload is the one that the header commits to.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.payload.digest() == self.header.payload
    }
}

/// A final block.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct FinalBlock<P> {
    /// The header.
    pub header: BlockHeader,
    /// The payload.
    pub payload: P,
    /// Its own final certificate; `None` for genesis and for a block that became final as
    /// an ancestor: the next certificate above proves it through the hash chain.
    pub certificate: Option<Certificate>,
}

impl<P: Payload> FinalBlock<P> {
    /// H(header).
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.header.id()
    }
    /// The block without its certificate.
    #[must_use]
    pub fn block(&self) -> Block<P> {
        Block {
            header: self.header.clone(),
            payload: self.payload.clone(),
        }
    }
}

/// A statement with the signature of the sender (or, in evidence, of the named signer).
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signed<S> {
    /// What is stated.
    pub statement: S,
    /// Ed25519 over the statement, bound to chain and epoch.
    pub signature: Signature,
}

/// Why a proposal may stand on its parent (C4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Justify {
    /// Notarization or final certificate of the parent; `None` only on genesis.
    pub parent: Option<Certificate>,
    /// The newest skip certificates between the parent's view and this one, ascending, at
    /// most [`INLINE_SKIPS_MAX`](crate::config::INLINE_SKIPS_MAX); the rest by `GetCerts`.
    pub skips: Vec<Certificate>,
}

/// A leader's proposal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Proposal<P> {
    /// The proposed block.
    pub block: Block<P>,
    /// Why it may stand on its parent.
    pub justify: Justify,
    /// The leader's signature over the header.
    pub signature: Signature,
}

/// A run of final blocks in height order, ending in a final certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Blocks<P> {
    /// Consecutive blocks, the first at the height asked for.
    pub blocks: Vec<FinalBlock<P>>,
    /// When the last block has no certificate of its own: the headers above it up to the
    /// first certified one. Empty otherwise.
    pub tail: Vec<BlockHeader>,
    /// The final certificate of the last header in `tail`; `None` if `tail` is empty.
    pub proof: Option<Certificate>,
}

impl<P: Payload> Blocks<P> {
    /// The answer to `GetBlocks`: the first `count` of `chain` (consecutive final blocks
    /// from the height asked for), continued by headers alone up to the next certificate.
    /// The iterator may be lazy: it is read no further than that.
    #[must_use]
    pub fn collect(chain: impl IntoIterator<Item = FinalBlock<P>>, count: u16) -> Self {
        let count = usize::from(count.min(BLOCKS_MAX));
        let (mut blocks, mut tail, mut proof) = (Vec::new(), Vec::new(), None);
        if count > 0 {
            for next in chain {
                let certified = next.certificate.is_some();
                if blocks.len() < count {
                    blocks.push(next);
                } else {
                    tail.push(next.header);
                    proof = next.certificate;
                }
                if certified && blocks.len() == count {
                    break;
                }
            }
        }
        if proof.is_none() {
            tail.clear(); // the store's own tip is not certified: it is catching up itself
        }
        Self {
            blocks,
            tail,
            proof,
        }
    }
}

/// A skip vote with the unsigned hint that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct HintedSkip {
    /// The signed vote.
    pub skip: Signed<Skip>,
    /// Lanes whose data the sender missed in this view (payload validity).
    pub missing: SignerSet,
}

/// Everything that members send each other about consensus.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Message<P> {
    /// From the leader of the view.
    Proposal(Proposal<P>),
    /// First-quorum vote of the sender.
    Vote(Signed<Vote>),
    /// Second-quorum vote of the sender.
    Commit(Signed<Commit>),
    /// The sender leaves the view.
    Skip(HintedSkip),
    /// To who may lack it (C8, C9).
    Certificate(Certificate),
    /// Asks for one block that is not final yet, or only just.
    GetBlock {
        /// Its id.
        block: BlockId,
    },
    /// The answer.
    Block {
        /// The block.
        block: Block<P>,
        /// The leader's signature over the header, if it is at hand (it makes evidence).
        signature: Option<Signature>,
    },
    /// Asks for the certificates that ended these views.
    GetCerts {
        /// First view.
        from: View,
        /// Last view.
        to: View,
    },
    /// The answer: at most [`CERTS_MAX`](crate::config::CERTS_MAX), one a view.
    Certs(Vec<Certificate>),
    /// Asks for final blocks.
    GetBlocks {
        /// First height.
        from: Height,
        /// How many, at most [`BLOCKS_MAX`].
        count: u16,
    },
    /// The answer.
    Blocks(Blocks<P>),
}

/// What a core says in its own name; the glue signs it once its record is durable (C7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Statement<P> {
    /// A proposal.
    Proposal {
        /// The block.
        block: Block<P>,
        /// Why it may stand on its parent.
        justify: Justify,
    },
    /// A vote.
    Vote(Vote),
    /// A commit vote.
    Commit(Commit),
    /// A skip vote with its hint.
    Skip {
        /// The vote.
        skip: Skip,
        /// Lanes whose data was missing.
        missing: SignerSet,
    },
}

impl<P: Payload> Statement<P> {
    /// The view it speaks of.
    #[must_use]
    pub fn view(&self) -> View {
        match self {
            Self::Proposal { block, .. } => block.header.view,
            Self::Vote(vote) => vote.view,
            Self::Commit(commit) => commit.view,
            Self::Skip { skip, .. } => skip.view,
        }
    }

    /// Signs with the member's identity key; deterministic, so that saying it again after
    /// a restart says the same.
    #[must_use]
    pub fn sign(self, key: &dyn Signer, chain: ChainId) -> Message<P> {
        let signature = match &self {
            Self::Proposal { block, .. } => block.header.sign(key, chain),
            Self::Vote(vote) => vote.sign(key, chain),
            Self::Commit(commit) => commit.sign(key, chain),
            Self::Skip { skip, .. } => skip.sign(key, chain),
        };
        self.with(signature)
    }

    /// The message that carries this statement under a signature made elsewhere.
    #[must_use]
    pub fn with(self, signature: Signature) -> Message<P> {
        match self {
            Self::Proposal { block, justify } => Message::Proposal(Proposal {
                block,
                justify,
                signature,
            }),
            Self::Vote(statement) => Message::Vote(Signed {
                statement,
                signature,
            }),
            Self::Commit(statement) => Message::Commit(Signed {
                statement,
                signature,
            }),
            Self::Skip { skip, missing } => Message::Skip(HintedSkip {
                skip: Signed {
                    statement: skip,
                    signature,
                },
                missing,
            }),
        }
    }

    /// The check that `signature` by `key` must pass, for harnesses that sign on their own.
    #[must_use]
    pub fn check(
        &self,
        key: &fairlane_types::PublicKey,
        chain: ChainId,
        signature: Signature,
    ) -> fairlane_types::SigCheck {
        match self {
            Self::Proposal { block, .. } => block.header.check(key, chain, signature),
            Self::Vote(vote) => vote.check(key, chain, signature),
            Self::Commit(commit) => commit.check(key, chain, signature),
            Self::Skip { skip, .. } => skip.check(key, chain, signature),
        }
    }
}

/// The genesis block of an epoch: view 0, no certificate, never proposed by anyone.
#[must_use]
pub fn genesis<P: Payload>(
    chain: ChainId,
    epoch: fairlane_types::Epoch,
    height: Height,
    parent: BlockId,
    time: fairlane_types::Millis,
    payload: P,
) -> FinalBlock<P> {
    FinalBlock {
        header: BlockHeader {
            chain,
            epoch,
            view: View(0),
            height,
            parent_view: View(0),
            parent,
            proposer: fairlane_types::MemberId(0),
            time,
            payload: payload.digest(),
        },
        payload,
        certificate: None,
    }
}

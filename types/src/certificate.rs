//! Block headers, the three votes and their certificates (PROTOCOL §2), and the token
//! that proves a block final.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    BlockId, ChainId, Committee, Digest, Domain, Epoch, Height, MemberId, Millis, SigCheck,
    Signature, SignerSet, View, verify_batch,
};

/// The header of a consensus block; its hash is the block's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct BlockHeader {
    /// Chain this block belongs to.
    pub chain: ChainId,
    /// Epoch this block belongs to.
    pub epoch: Epoch,
    /// View in which it was proposed.
    pub view: View,
    /// Parent's height + 1.
    pub height: Height,
    /// View of the parent.
    pub parent_view: View,
    /// Id of the parent.
    pub parent: BlockId,
    /// Leader of `view`.
    pub proposer: MemberId,
    /// Finalized time if this block becomes final (C13).
    pub time: Millis,
    /// Digest of the payload (the cut).
    pub payload: Digest,
}

impl BlockHeader {
    /// H(header).
    #[must_use]
    pub fn id(&self) -> BlockId {
        BlockId(Domain::BlockHeader.hash_of(self))
    }
}

/// First-quorum vote for a block (C1: one per view).
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// Epoch.
    pub epoch: Epoch,
    /// View of the block.
    pub view: View,
    /// The block voted for.
    pub block: BlockId,
    /// D3: the voter does not vouch for releasing shares before finality.
    pub dirty: bool,
}

/// Second-quorum vote: with q of them the block is final.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Commit {
    /// Epoch.
    pub epoch: Epoch,
    /// View of the block.
    pub view: View,
    /// Height of the block.
    pub height: Height,
    /// The block.
    pub block: BlockId,
}

/// Vote to leave a view without committing anything in it (C2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Skip {
    /// Epoch.
    pub epoch: Epoch,
    /// The view skipped.
    pub view: View,
}

macro_rules! statement {
    ($name:ident, $domain:expr) => {
        impl $name {
            /// The bytes that are signed, without domain, chain and epoch.
            #[must_use]
            pub fn body(&self) -> Vec<u8> {
                crate::encode(self)
            }
            /// Signs this statement.
            #[must_use]
            pub fn sign(&self, key: &dyn crate::Signer, chain: ChainId) -> Signature {
                key.sign($domain, chain, self.epoch, &self.body())
            }
            /// The check that `signature` by `key` must pass.
            #[must_use]
            pub fn check(
                &self,
                key: &crate::PublicKey,
                chain: ChainId,
                signature: Signature,
            ) -> SigCheck {
                key.check($domain, chain, self.epoch, &self.body(), signature)
            }
        }
    };
}

statement!(BlockHeader, Domain::Proposal);
statement!(Vote, Domain::Vote);
statement!(Commit, Domain::Commit);
statement!(Skip, Domain::Skip);

/// What a certificate states.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum CertificateKind {
    /// q votes: nobody else can be notarized in this view.
    Notarization,
    /// q commits: the block and all its ancestors are final.
    Final,
    /// q skips: no block of this view can become final.
    Skip,
}

/// q signatures on one statement, with the bitmap of their signers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// What is stated.
    pub kind: CertificateKind,
    /// Epoch.
    pub epoch: Epoch,
    /// View.
    pub view: View,
    /// Height of the block; signed in commits, a hint in notarizations, 0 in skips.
    pub height: Height,
    /// The block; zero in skips.
    pub block: BlockId,
    /// Who signed.
    pub signers: SignerSet,
    /// Signers whose vote was dirty; empty unless a notarization.
    pub dirty: SignerSet,
    /// One signature per signer, in ascending order of members.
    pub signatures: Vec<Signature>,
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Fewer signers than a quorum.
    #[error("certificate has {have} signers, a quorum is {need}")]
    NoQuorum {
        /// Distinct signers.
        have: usize,
        /// Quorum.
        need: usize,
    },
    /// A signer outside the committee, or signatures and bitmap of different length.
    #[error("certificate signers do not match the committee or the signatures")]
    Signers,
    /// A field that must be zero or empty for this kind is not.
    #[error("certificate fields do not fit its kind")]
    Shape,
    /// Wrong kind for the purpose.
    #[error("expected a final certificate")]
    NotFinal,
    /// A signature does not verify.
    #[error("a signature in the certificate does not verify")]
    Signature,
}

impl Certificate {
    /// Structure first, then the signatures to verify; all must pass (S4).
    ///
    /// # Errors
    /// Everything in [`CertificateError`] but `Signature` and `NotFinal`.
    pub fn checks(
        &self,
        chain: ChainId,
        committee: &Committee,
    ) -> Result<Vec<SigCheck>, CertificateError> {
        let have = self.signers.len();
        if !self.signers.within(committee.n())
            || have != self.signatures.len()
            || self.dirty.0 & !self.signers.0 != 0
        {
            return Err(CertificateError::Signers);
        }
        if have < committee.quorum() {
            return Err(CertificateError::NoQuorum {
                have,
                need: committee.quorum(),
            });
        }
        let shape = match self.kind {
            CertificateKind::Notarization => true,
            CertificateKind::Final => self.dirty.is_empty(),
            CertificateKind::Skip => {
                self.dirty.is_empty()
                    && self.block == BlockId::default()
                    && self.height == Height(0)
            }
        };
        if !shape {
            return Err(CertificateError::Shape);
        }
        let mut checks = Vec::with_capacity(have);
        for (member, signature) in self.signers.iter().zip(&self.signatures) {
            let key = committee.key(member).ok_or(CertificateError::Signers)?;
            checks.push(match self.kind {
                CertificateKind::Notarization => Vote {
                    epoch: self.epoch,
                    view: self.view,
                    block: self.block,
                    dirty: self.dirty.contains(member),
                }
                .check(key, chain, *signature),
                CertificateKind::Final => Commit {
                    epoch: self.epoch,
                    view: self.view,
                    height: self.height,
                    block: self.block,
                }
                .check(key, chain, *signature),
                CertificateKind::Skip => Skip {
                    epoch: self.epoch,
                    view: self.view,
                }
                .check(key, chain, *signature),
            });
        }
        Ok(checks)
    }

    /// Structure and signatures.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(
        &self,
        chain: ChainId,
        committee: &Committee,
        entropy: &[u8; 32],
    ) -> Result<(), CertificateError> {
        let checks = self.checks(chain, committee)?;
        if verify_batch(&checks, entropy) {
            Ok(())
        } else {
            Err(CertificateError::Signature)
        }
    }

    /// Verifies a final certificate into the token that share release asks for (D1).
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn finalize(
        &self,
        chain: ChainId,
        committee: &Committee,
        entropy: &[u8; 32],
    ) -> Result<Finalized, CertificateError> {
        if self.kind != CertificateKind::Final {
            return Err(CertificateError::NotFinal);
        }
        self.verify(chain, committee, entropy)?;
        Ok(Finalized {
            block: self.block,
            height: self.height,
        })
    }
}

/// Proof, in the type, that a block is final: it exists only where q commit signatures
/// were verified, or down the hash chain from such a block. Rule D1 hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalized {
    block: BlockId,
    height: Height,
}

impl Finalized {
    /// The final block.
    #[must_use]
    pub const fn block(&self) -> BlockId {
        self.block
    }
    /// Its height.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.height
    }
    /// The parent is final too: `header` must be this block's own.
    #[must_use]
    pub fn parent(&self, header: &BlockHeader) -> Option<Self> {
        (header.id() == self.block && header.height == self.height).then(|| Self {
            block: header.parent,
            height: header.height.prev(),
        })
    }
}

//! What the beacon of a final block is, told by all secrets of a run: what a checker holds
//! against the order in which members emit tied orders.

use fairlane_encryption::{CertificateShare, Subject};
use fairlane_replica::{BeaconJob, CertifyJob, CryptoContext, Job, JobResult, run_job};
use fairlane_types::{
    BlockId, Certificate, CertificateKind, Commit, Digest, Genesis, Height, MemberId, SignerSet,
    TieSource, View,
};

use super::{Crypto, oracle};

/// Knows every beacon of a run before anybody else.
#[derive(Debug)]
pub enum Beacons {
    /// Ties are broken by the block's id.
    Unused,
    /// Tier L1: the secret of the oracle, and the chain.
    Ideal(u64, CryptoContext),
    /// Tier L2: everybody's keys.
    Real(Vec<CryptoContext>),
}

impl Beacons {
    /// Those of a run.
    #[must_use]
    pub fn new(genesis: &Genesis, crypto: &Crypto, keys: &[CryptoContext]) -> Self {
        match (genesis.order.tie, crypto) {
            (TieSource::BlockId, _) => Self::Unused,
            (TieSource::Beacon, Crypto::Ideal { oracle, .. }) => {
                Self::Ideal(oracle.secret(), keys[0].clone())
            }
            (TieSource::Beacon, Crypto::Real) => Self::Real(keys.to_vec()),
        }
    }

    /// The beacon that breaks the ties of a final block, if one does.
    #[must_use]
    pub fn seed(&self, height: Height, block: BlockId) -> Option<Digest> {
        let of = |keys: &CryptoContext| Subject::Beacon {
            chain: keys.chain,
            epoch: keys.epoch,
            height,
            block,
        };
        let certificate = match self {
            Self::Unused => return None,
            Self::Ideal(secret, keys) => oracle::certificate(*secret, &of(keys)),
            Self::Real(keys) => {
                let subject = of(&keys[0]);
                let t = keys[0].committee.threshold();
                let shares = shares(&keys[..t], height, block);
                let job = Job::Certify(Box::new(CertifyJob { subject, shares }));
                match run_job(&keys[0], &job, &[0; 32]) {
                    JobResult::Certified(found) => found.certificate,
                    _ => None,
                }
                .expect("invariant: t true shares make a certificate")
            }
        };
        Some(certificate.beacon())
    }
}

/// The shares of members for a block that their own keys call final.
fn shares(keys: &[CryptoContext], height: Height, block: BlockId) -> Vec<CertificateShare> {
    let first = &keys[0];
    let commit = Commit {
        epoch: first.epoch,
        view: View(1),
        height,
        block,
    };
    let q = first.committee.quorum();
    let signers = keys.iter().take(q);
    let certificate = Certificate {
        kind: CertificateKind::Final,
        epoch: commit.epoch,
        view: commit.view,
        height,
        block,
        signers: (0..q).map(|index| MemberId(index as u8)).collect(),
        dirty: SignerSet(0),
        signatures: signers
            .map(|of| commit.sign(of.identity.as_ref(), of.chain))
            .collect(),
    };
    let share = |keys: &CryptoContext| {
        let job = Job::Beacon(Box::new(BeaconJob {
            height,
            block,
            certificate: certificate.clone(),
            path: Vec::new(),
        }));
        match run_job(keys, &job, &[0; 32]) {
            JobResult::Beacon(share) => share,
            _ => None,
        }
    };
    keys.iter().filter_map(share).collect()
}

//! Cryptography of a run: real, or ideal.
//!
//! *Real* (tier L2): the code of the node. *Ideal* (tier L1): an [`Oracle`] that only the
//! simulated shell has. It knows what every trader sealed, and answers the replica's jobs
//! without arithmetic on curves. Jobs cost the same virtual time, and what travels has the
//! same size, so that a run decides the same either way.
//!
//! The replica does not know which one it has: it signs through the `Signer` that its
//! shell gives it, and everything else is a job. A node has nothing but real jobs and real
//! keys, so it accepts nothing that an oracle made.

mod beacons;
mod oracle;
mod tag;

use std::sync::Arc;

use fairlane_encryption::{
    HEADER_BYTES, OPENING_BYTES, PAYLOAD_MAX, SIZE_CLASSES, SUITE_TDH2, Suite, SuiteKey,
    SuiteParsed, ThresholdScheme,
};
use fairlane_replica::{CryptoContext, Job, JobResult, ShareMessage, run_job};
use fairlane_types::{Envelope, Label, PublicKey, SecretKey, SigCheck, Signature, Signer};

use crate::engine::{Nanos, Stream};
use crate::workload::unopenable;
use tag::Tag;

pub use beacons::Beacons;
pub use oracle::{Exposure, Oracle};

/// Which cryptography a run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// L1: an oracle in place of every proof, signature and share.
    Ideal,
    /// L2: that of the node.
    #[default]
    Real,
}

impl Tier {
    /// Name in outputs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ideal => "L1-ideal",
            Self::Real => "L2-real",
        }
    }
}

/// What traders' ciphertexts are in tier L1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealing {
    /// Bytes that mean nothing to anyone but the oracle.
    #[default]
    Ideal,
    /// Real ones, so that orders and blocks have the ids that they have in tier L2 and both
    /// tiers break ties alike; the oracle opens them all the same.
    Real,
}

/// The cryptography of one run.
#[derive(Debug)]
pub enum Crypto {
    /// Tier L2.
    Real,
    /// Tier L1.
    Ideal {
        /// What knows everything.
        oracle: Box<Oracle>,
        /// What ciphertexts are.
        sealing: Sealing,
    },
}

impl Crypto {
    /// That of a tier; `secret` is what ideal tags hang on.
    #[must_use]
    pub fn new(tier: Tier, sealing: Sealing, secret: u64) -> Self {
        match tier {
            Tier::Real => Self::Real,
            Tier::Ideal => Self::Ideal {
                oracle: Box::new(Oracle::new(secret)),
                sealing,
            },
        }
    }

    /// The signer of an identity, from 32 random bytes.
    #[must_use]
    pub fn signer(&self, seed: [u8; 32]) -> Arc<dyn Signer> {
        match self {
            Self::Real => Arc::new(SecretKey::from_seed(seed)),
            Self::Ideal { oracle, .. } => Arc::new(IdealSigner {
                // The same name in both tiers: genesis, and so the leaders, are the same.
                public: SecretKey::from_seed(seed).public(),
                secret: oracle.secret(),
            }),
        }
    }

    /// Runs a job of a member, as its pool does.
    #[must_use]
    pub fn run(&mut self, keys: &CryptoContext, job: &Job, entropy: &[u8; 32]) -> JobResult {
        match self {
            Self::Real => run_job(keys, job, entropy),
            Self::Ideal { oracle, .. } => oracle.run(keys, job),
        }
    }

    /// Whether a signature is that of the key over the message.
    #[must_use]
    pub fn verifies(&self, check: &SigCheck) -> bool {
        match self {
            Self::Real => check.verify().is_ok(),
            Self::Ideal { oracle, .. } => oracle.verifies(check),
        }
    }

    /// The parsed ciphertext of an envelope, if it is valid.
    #[must_use]
    pub fn parse(&self, key: &SuiteKey, envelope: &Envelope) -> Option<Arc<SuiteParsed>> {
        match self {
            Self::Real => Suite::check(key, &envelope.label.to_bytes(), &envelope.ciphertext)
                .ok()
                .map(Arc::new),
            Self::Ideal { oracle, .. } => oracle.parse(envelope),
        }
    }

    /// Seals a payload for a label; both tiers draw the same from `rng` and give the same
    /// length.
    #[must_use]
    pub fn seal(
        &mut self,
        key: &SuiteKey,
        label: &Label,
        payload: &[u8],
        secret: &[u8; 32],
        rng: &mut Stream,
    ) -> Vec<u8> {
        let real = |rng: &mut Stream| {
            Suite::encrypt(key, &label.to_bytes(), payload, secret, rng)
                .expect("invariant: an order fits the size classes")
        };
        let Self::Ideal { oracle, sealing } = self else {
            return real(rng);
        };
        let mut fresh = [0; 64];
        let ciphertext = match sealing {
            Sealing::Real => {
                fill(&mut rng.clone(), &mut fresh);
                real(rng)
            }
            Sealing::Ideal => {
                fill(rng, &mut fresh);
                let body = vec![0x5e; body_bytes(size_class(payload.len()))];
                ideal_ciphertext(&fresh, &body)
            }
        };
        let opening = *fresh.first_chunk().expect("invariant: 32 of 64 bytes");
        oracle.sealed(key.id(), label, Some(payload), opening, &ciphertext);
        ciphertext
    }

    /// A valid ciphertext for a label that opens to nothing (A9).
    #[must_use]
    pub fn seal_nothing(&mut self, key: &SuiteKey, label: &Label, rng: &mut Stream) -> Vec<u8> {
        let length = body_bytes(SIZE_CLASSES[0]);
        let Self::Ideal { oracle, sealing } = self else {
            return unopenable(key.id(), label, length, rng);
        };
        let ciphertext = match sealing {
            Sealing::Real => unopenable(key.id(), label, length, rng),
            Sealing::Ideal => {
                // Two scalars, then the body.
                let mut fresh = [0; 128];
                fill(rng, &mut fresh);
                let body: Vec<u8> = (0..length).map(|_| rng.bits() as u8).collect();
                let fresh = fresh.first_chunk().expect("invariant: 64 of 128 bytes");
                ideal_ciphertext(fresh, &body)
            }
        };
        oracle.sealed(key.id(), label, None, [0; OPENING_BYTES], &ciphertext);
        ciphertext
    }

    /// A trader signed an envelope.
    pub fn signed(&mut self, envelope: &Envelope) {
        if let Self::Ideal { oracle, .. } = self {
            oracle.signed(envelope);
        }
    }

    /// Shares leave a member.
    pub fn released(&mut self, now: Nanos, shares: &ShareMessage) {
        if let Self::Ideal { oracle, .. } = self {
            oracle.released(now, shares);
        }
    }

    /// The oracle of tier L1.
    #[must_use]
    pub fn oracle(&self) -> Option<&Oracle> {
        match self {
            Self::Real => None,
            Self::Ideal { oracle, .. } => Some(oracle),
        }
    }
}

/// An identity whose signatures only the oracle of its run accepts.
#[derive(Debug)]
struct IdealSigner {
    public: PublicKey,
    secret: u64,
}

impl Signer for IdealSigner {
    fn public(&self) -> PublicKey {
        self.public
    }
    fn sign_raw(&self, message: &[u8]) -> Signature {
        signature(self.secret, &self.public, message)
    }
}

/// The one signature of a key over a message.
fn signature(secret: u64, key: &PublicKey, message: &[u8]) -> Signature {
    let tag = Tag::new(secret, 1).bytes(&key.0).bytes(message);
    let half: [u8; 16] = tag.fill();
    let mut bytes = [0; 64];
    for quarter in bytes.chunks_mut(16) {
        quarter.copy_from_slice(&half);
    }
    Signature(bytes)
}

fn fill(rng: &mut Stream, out: &mut [u8]) {
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&rng.bits().to_le_bytes()[..chunk.len()]);
    }
}

/// The class a payload is padded to.
fn size_class(payload: usize) -> usize {
    let largest = SIZE_CLASSES[SIZE_CLASSES.len() - 1];
    let overhead = largest - PAYLOAD_MAX;
    SIZE_CLASSES
        .into_iter()
        .find(|class| payload + overhead <= *class)
        .expect("invariant: an order fits the size classes")
}

/// Bytes behind the header of a ciphertext of a class.
const fn body_bytes(class: usize) -> usize {
    fairlane_encryption::ciphertext_bytes(class) - HEADER_BYTES
}

/// Suite, a random U, nothing where the other points and the proof are, and a body.
fn ideal_ciphertext(fresh: &[u8; 64], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[0] = SUITE_TDH2;
    bytes[1..33].copy_from_slice(&fresh[32..]);
    bytes[HEADER_BYTES - 2..].copy_from_slice(&(body.len() as u16).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

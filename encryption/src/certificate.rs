//! One short signature of the committee (PROTOCOL §5): BLS threshold signatures on the
//! beacon of a block and on the root of the sequence.
//!
//! A message is hashed to G2 by RFC 9380 with the ciphersuite of Ethereum
//! (`BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_`) and signed in shares by `blst`, combined
//! by `threshold_crypto`, and verified by `blst::min_pk`. The result is an ordinary BLS
//! signature: 96 bytes under a key of 48, which every library of that ciphersuite and the
//! precompiles of EIP-2537 verify.
//!
//! *Unique*: there is one valid signature for a key and message (Boldyreva, PKC 2003), so
//! whichever t members combine, the beacon is the same, and nobody knows it before f+1
//! honest members have signed. Shares are combined unseen and the result is verified; only
//! where that fails are shares verified one by one, and liars named.
//!
//! `blst` signs in a time that does not depend on the secret, which `threshold_crypto` does
//! not (decision 78).

use blst::BLST_ERROR;
use blst::min_pk;
use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_types::{BlockId, ChainId, Digest, Epoch, Height, KeyId, MemberId, Root};
use threshold_crypto::{Signature, SignatureShare};

use crate::pairing::adapter::{self, G1_BYTES, G2_BYTES};
use crate::{CombineError, PairingKey, PairingShare, Sealed, ShareError, Signing};

/// Public key of certificates and beacon.
pub type CertificateKey = PairingKey<Signing>;

/// One member's secret of the certificate key.
pub type CertificateSecret = PairingShare<Signing>;

/// Domain of the hash to G2: the proof-of-possession ciphersuite, as Ethereum uses it.
/// No proof of possession is needed for one key that a committee made together.
pub const CERTIFICATE_DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Length of a certificate, in bytes.
pub const CERTIFICATE_BYTES: usize = G2_BYTES;

/// Length of the public key that verifies it, in bytes.
pub const CERTIFICATE_KEY_BYTES: usize = G1_BYTES;

/// What a committee signs with one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The beacon of a final block: signed with the decryption shares, never before (D1).
    Beacon {
        /// Chain.
        chain: ChainId,
        /// Epoch.
        epoch: Epoch,
        /// Height of the block.
        height: Height,
        /// The final block.
        block: BlockId,
    },
    /// The root of the sequence up to a height, after it was emitted.
    Attest {
        /// Chain.
        chain: ChainId,
        /// Epoch.
        epoch: Epoch,
        /// Last height that the root covers.
        height: Height,
        /// The chained root.
        root: Root,
    },
    /// What execution made of the sequence up to a height.
    State {
        /// Chain.
        chain: ChainId,
        /// Epoch.
        epoch: Epoch,
        /// Last height that was executed.
        height: Height,
        /// Digest of [`StateRoots`](crate::StateRoots).
        state: Digest,
    },
}

impl Subject {
    /// The message that is hashed to the curve: tag of 24 bytes ‖ chain u64 ‖ epoch u64 ‖
    /// height u64 ‖ 32 bytes, integers little-endian. 80 bytes.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let (tag, chain, epoch, height, value): (&[u8; 24], _, _, _, _) = match self {
            Self::Beacon {
                chain,
                epoch,
                height,
                block,
            } => (
                b"FAIRLANE V1 BEACON\0\0\0\0\0\0",
                chain,
                epoch,
                height,
                block.as_bytes(),
            ),
            Self::Attest {
                chain,
                epoch,
                height,
                root,
            } => (
                b"FAIRLANE V1 ATTEST\0\0\0\0\0\0",
                chain,
                epoch,
                height,
                root.as_bytes(),
            ),
            Self::State {
                chain,
                epoch,
                height,
                state,
            } => (
                b"FAIRLANE V1 STATE\0\0\0\0\0\0\0",
                chain,
                epoch,
                height,
                &state.0,
            ),
        };
        let integers = [chain.0, epoch.0, height.0].map(u64::to_le_bytes).concat();
        [&tag[..], &integers, value].concat()
    }

    fn holds(&self, public: &[u8; G1_BYTES], signature: &[u8; G2_BYTES]) -> bool {
        let (Ok(public), Ok(signature)) = (
            min_pk::PublicKey::key_validate(public),
            min_pk::Signature::sig_validate(signature, true),
        ) else {
            return false;
        };
        let verdict =
            signature.verify(false, &self.message(), CERTIFICATE_DST, &[], &public, false);
        verdict == BLST_ERROR::BLST_SUCCESS
    }
}

/// One member's part of a certificate, as it travels: 129 bytes encoded.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertificateShare {
    /// The sharing of the certificate key.
    pub key: KeyId,
    /// Who signed.
    pub member: MemberId,
    /// xᵢH(m), compressed.
    pub signature: [u8; G2_BYTES],
}

impl core::fmt::Debug for CertificateShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CertificateShare")
            .field("key", &self.key)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

/// A share that is a point of the group, not verified: ready to be combined.
#[derive(Clone)]
pub struct AcceptedShare {
    key: KeyId,
    member: MemberId,
    bytes: [u8; G2_BYTES],
    share: SignatureShare,
}

impl AcceptedShare {
    /// Whose it is.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.member
    }
}

impl core::fmt::Debug for AcceptedShare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AcceptedShare")
            .field("key", &self.key)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

/// A committee's signature: 96 bytes under a key of 48.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ThresholdCertificate(pub [u8; CERTIFICATE_BYTES]);

impl ThresholdCertificate {
    /// Whether the holders of `public` signed `subject`. Needs nothing else: this is what
    /// a light client runs.
    #[must_use]
    pub fn verify(&self, public: &[u8; CERTIFICATE_KEY_BYTES], subject: &Subject) -> bool {
        subject.holds(public, &self.0)
    }

    /// The beacon: a hash of the signature. Verify the certificate first.
    #[must_use]
    pub fn beacon(&self) -> Digest {
        Digest(blake3::derive_key("FAIRLANE V1 beacon value", &self.0))
    }
}

impl core::fmt::Debug for ThresholdCertificate {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ThresholdCertificate")
            .field(&Digest(blake3::derive_key(
                "FAIRLANE V1 certificate id",
                &self.0,
            )))
            .finish()
    }
}

/// What came of combining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certification {
    /// The certificate, verified; `None` only while [`missing`](Self::missing) is not 0.
    pub certificate: Option<ThresholdCertificate>,
    /// Members whose share is false, in the order found: to be blamed and ignored.
    pub liars: Vec<MemberId>,
    /// Shares of further members that are needed.
    pub missing: usize,
}

/// xᵢH(m).
fn sign(secret: &CertificateSecret, subject: &Subject) -> CertificateShare {
    let mut scalar = secret.expose_secret();
    scalar.reverse(); // big-endian here
    let key = min_pk::SecretKey::from_bytes(&*scalar);
    let key = key.expect("invariant: a share is canonical and not 0");
    let signature = key.sign(&subject.message(), CERTIFICATE_DST, &[]);
    CertificateShare {
        key: secret.sharing(),
        member: secret.member(),
        signature: signature.compress(),
    }
}

/// This member's share of the beacon of a block, sealed until the block is final (D1).
pub fn sign_beacon(
    secret: &CertificateSecret,
    chain: ChainId,
    epoch: Epoch,
    height: Height,
    block: BlockId,
) -> Sealed<CertificateShare> {
    let subject = Subject::Beacon {
        chain,
        epoch,
        height,
        block,
    };
    Sealed::new(block, sign(secret, &subject))
}

/// This member's share of the attestation of a root that it has emitted itself.
#[must_use]
pub fn sign_attestation(
    secret: &CertificateSecret,
    chain: ChainId,
    epoch: Epoch,
    height: Height,
    root: Root,
) -> CertificateShare {
    let subject = Subject::Attest {
        chain,
        epoch,
        height,
        root,
    };
    sign(secret, &subject)
}

/// This member's share of the attestation of a state that it has come to itself; `state` is
/// the digest of its [`StateRoots`](crate::StateRoots).
#[must_use]
pub fn sign_state(
    secret: &CertificateSecret,
    chain: ChainId,
    epoch: Epoch,
    height: Height,
    state: Digest,
) -> CertificateShare {
    let subject = Subject::State {
        chain,
        epoch,
        height,
        state,
    };
    sign(secret, &subject)
}

/// Parses what member `from` sent. Its signature is not verified.
///
/// # Errors
/// [`ShareError`]: wrong sharing or member, or no point of the group but the identity.
pub fn accept_certificate_share(
    key: &CertificateKey,
    from: MemberId,
    share: &CertificateShare,
) -> Result<AcceptedShare, ShareError> {
    if share.member != from || !key.contains(from) {
        return Err(ShareError::WrongMember(share.member));
    }
    if share.key != key.sharing() {
        return Err(ShareError::WrongKey);
    }
    if adapter::is_identity(&share.signature) {
        return Err(ShareError::BadEncoding(0));
    }
    let signature =
        Signature::from_bytes(share.signature).map_err(|_| ShareError::BadEncoding(0))?;
    Ok(AcceptedShare {
        key: share.key,
        member: from,
        bytes: share.signature,
        share: SignatureShare(signature),
    })
}

/// Verifies one member's share: what a third party does to a share that somebody is blamed
/// for.
///
/// # Errors
/// [`ShareError`] blames the member.
pub fn verify_certificate_share(
    key: &CertificateKey,
    subject: &Subject,
    share: &AcceptedShare,
) -> Result<(), ShareError> {
    if share.key != key.sharing() {
        return Err(ShareError::WrongKey);
    }
    let public = key
        .verification_key(share.member)
        .ok_or(ShareError::WrongMember(share.member))?;
    if subject.holds(&public, &share.bytes) {
        Ok(())
    } else {
        Err(ShareError::BadBatchProof)
    }
}

/// Combines shares, the first of each member counting, in the order given: t of them
/// unseen, and one by one where the result does not verify.
///
/// # Errors
/// [`CombineError::Mixed`] names a member whose share is of another sharing.
pub fn certify(
    key: &CertificateKey,
    subject: &Subject,
    shares: &[AcceptedShare],
) -> Result<Certification, CombineError> {
    let mut distinct: Vec<&AcceptedShare> = Vec::with_capacity(shares.len());
    for share in shares {
        if share.key != key.sharing() || !key.contains(share.member) {
            return Err(CombineError::Mixed(share.member));
        }
        if distinct.iter().all(|other| other.member != share.member) {
            distinct.push(share);
        }
    }
    let t = key.t();
    if distinct.len() >= t {
        let certificate = combine(key, &distinct[..t])?;
        if certificate.verify(key.public_key(), subject) {
            return Ok(Certification {
                certificate: Some(certificate),
                liars: Vec::new(),
                missing: 0,
            });
        }
    } else {
        return Ok(Certification {
            certificate: None,
            liars: Vec::new(),
            missing: t - distinct.len(),
        });
    }
    // Somebody lies. Verified shares combine to the certificate for certain.
    let (mut good, mut liars) = (Vec::with_capacity(t), Vec::new());
    for share in distinct {
        if good.len() == t {
            break;
        }
        match verify_certificate_share(key, subject, share) {
            Ok(()) => good.push(share),
            Err(_) => liars.push(share.member),
        }
    }
    let missing = t - good.len();
    let certificate = (missing == 0).then(|| combine(key, &good)).transpose()?;
    Ok(Certification {
        certificate,
        liars,
        missing,
    })
}

/// Interpolates exactly t shares of distinct members.
fn combine(
    key: &CertificateKey,
    shares: &[&AcceptedShare],
) -> Result<ThresholdCertificate, CombineError> {
    let need = key.t();
    let indexed = shares
        .iter()
        .map(|share| (share.member.index(), &share.share));
    let signature = key.set().combine_signatures(indexed);
    let signature = signature.map_err(|_| CombineError::NotEnough {
        have: shares.len(),
        need,
    })?;
    Ok(ThresholdCertificate(signature.to_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use fairlane_types::SeededRng;
    use threshold_crypto::G2Affine;
    use threshold_crypto::group::{CurveAffine, EncodedPoint};

    use super::*;

    /// H(message) in G2, in the types of the crate.
    fn point(subject: &Subject) -> G2Affine {
        // blst has no safe call that hashes alone: signing with the secret 1 does just that.
        let mut one = [0; 32];
        one[31] = 1;
        let one = min_pk::SecretKey::from_bytes(&one).expect("invariant: 1 is a secret key");
        let hashed = one
            .sign(&subject.message(), CERTIFICATE_DST, &[])
            .serialize();
        let mut encoded = <G2Affine as CurveAffine>::Uncompressed::empty();
        encoded.as_mut().copy_from_slice(&hashed);
        let point = encoded.into_affine_unchecked();
        point.expect("invariant: blst gives points of G2 in the usual encoding")
    }

    #[test]
    fn both_libraries_make_the_same_shares() {
        let mut rng = SeededRng::new(&[8; 32], b"shares");
        let (_, secrets) = crate::deal_pairing_insecure(Epoch(2), 16, &mut rng).unwrap();
        for (height, secret) in (0..).map(Height).zip(&secrets) {
            let root = Root(Digest([height.0 as u8; 32]));
            let share = sign_attestation(secret, ChainId(7), Epoch(2), height, root);
            let subject = Subject::Attest {
                chain: ChainId(7),
                epoch: Epoch(2),
                height,
                root,
            };
            let other = secret.secret().sign_g2(point(&subject)).to_bytes();
            assert_eq!(share.signature, other);
        }
    }
}

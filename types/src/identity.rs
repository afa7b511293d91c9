//! Ed25519 identity keys under one acceptance rule: ZIP-215 (cofactored, so that single
//! and batch verification always agree). Source: ZIP 215; Chalkias et al., "Taming the
//! many EdDSAs" (SSR 2020).

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{ChainId, Domain, Epoch};

/// An ed25519 public key as it travels: 32 bytes, checked when it is used.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct PublicKey(pub [u8; 32]);

/// A 64-byte ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl Default for Signature {
    fn default() -> Self {
        Self([0; 64])
    }
}

/// An ed25519 secret key; erased when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    seed: [u8; 32],
    /// What the seed expands to, the public key included: a signature needs all of it, and
    /// expanding costs as much as signing.
    expanded: SigningKey,
}

/// A signature that did not verify under the key it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify under key {key:?}")]
pub struct SignatureError {
    /// The key the signature was checked against.
    pub key: PublicKey,
}

/// One signature to be checked; plain data, so that a job can carry many of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct SigCheck {
    /// The claimed signer.
    pub key: PublicKey,
    /// The signed bytes (see [`signing_bytes`](SecretKey::sign)).
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

/// The bytes that are signed: H(domain; chain ‖ epoch ‖ body). A digest keeps jobs small.
pub(crate) fn signing_bytes(domain: Domain, chain: ChainId, epoch: Epoch, body: &[u8]) -> [u8; 32] {
    let digest = domain.hash_gathered(|bytes| {
        bytes.extend_from_slice(&chain.0.to_le_bytes());
        bytes.extend_from_slice(&epoch.0.to_le_bytes());
        bytes.extend_from_slice(body);
    });
    digest.0
}

/// Whatever signs as one identity. The seam through which a shell gives the replica its
/// key: a node has nothing but a [`SecretKey`]. What is signed is verified elsewhere, by
/// [`SigCheck`], so another signer can never make anyone accept what it signs.
pub trait Signer: core::fmt::Debug + Send + Sync {
    /// The public key of the identity.
    fn public(&self) -> PublicKey;

    /// Signs bytes that already carry their domain; deterministic.
    fn sign_raw(&self, message: &[u8]) -> Signature;

    /// Signs `body` for `domain`, `chain` and `epoch`.
    fn sign(&self, domain: Domain, chain: ChainId, epoch: Epoch, body: &[u8]) -> Signature {
        self.sign_raw(&signing_bytes(domain, chain, epoch, body))
    }
}

impl Signer for SecretKey {
    fn public(&self) -> PublicKey {
        Self::public(self)
    }
    fn sign_raw(&self, message: &[u8]) -> Signature {
        Self::sign_raw(self, message)
    }
}

impl<T: Signer + ?Sized> Signer for std::sync::Arc<T> {
    fn public(&self) -> PublicKey {
        (**self).public()
    }
    fn sign_raw(&self, message: &[u8]) -> Signature {
        (**self).sign_raw(message)
    }
}

impl SecretKey {
    /// From a 32-byte seed drawn by the shell.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let expanded = SigningKey::from(seed);
        Self { seed, expanded }
    }

    /// The seed, for writing a key file.
    #[must_use]
    pub const fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(VerificationKeyBytes::from(&self.expanded).into())
    }

    /// Signs `body` for `domain`, `chain` and `epoch`; deterministic (RFC 8032).
    #[must_use]
    pub fn sign(&self, domain: Domain, chain: ChainId, epoch: Epoch, body: &[u8]) -> Signature {
        self.sign_raw(&signing_bytes(domain, chain, epoch, body))
    }

    /// Signs bytes that already carry their domain.
    #[must_use]
    pub fn sign_raw(&self, message: &[u8]) -> Signature {
        Signature(self.expanded.sign(message).to_bytes())
    }
}

impl PublicKey {
    /// The check that [`SecretKey::sign`] with the same arguments passes.
    #[must_use]
    pub fn check(
        &self,
        domain: Domain,
        chain: ChainId,
        epoch: Epoch,
        body: &[u8],
        signature: Signature,
    ) -> SigCheck {
        let message = signing_bytes(domain, chain, epoch, body).to_vec();
        SigCheck {
            key: *self,
            message,
            signature,
        }
    }

    /// Verifies bytes that already carry their domain.
    ///
    /// # Errors
    /// [`SignatureError`] when the key or the signature is not acceptable.
    pub fn verify_raw(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let refused = SignatureError { key: *self };
        let key = VerificationKey::try_from(self.0).map_err(|_| refused)?;
        key.verify(&ed25519_zebra::Signature::from(signature.0), message)
            .map_err(|_| refused)
    }
}

impl SigCheck {
    /// Verifies this one signature.
    ///
    /// # Errors
    /// [`SignatureError`] when it does not verify.
    pub fn verify(&self) -> Result<(), SignatureError> {
        self.key.verify_raw(&self.message, &self.signature)
    }
}

/// Whether all signatures verify, by one batch equation. `entropy` is 32 bytes that the
/// signers could not foresee; it seeds the blinders, so that the result is a function of
/// the arguments alone. Agrees with [`SigCheck::verify`] on every input (ZIP-215).
#[must_use]
pub fn verify_batch(checks: &[SigCheck], entropy: &[u8; 32]) -> bool {
    match checks {
        [] => return true,
        [one] => return one.verify().is_ok(),
        _ => {}
    }
    let mut verifier = batch::Verifier::new();
    let mut transcript = blake3::Hasher::new_keyed(entropy);
    for check in checks {
        transcript
            .update(&check.key.0)
            .update(&check.signature.0)
            .update(&check.message);
        verifier.queue((
            VerificationKeyBytes::from(check.key.0),
            ed25519_zebra::Signature::from(check.signature.0),
            &check.message[..],
        ));
    }
    verifier
        .verify(SeededRng(transcript.finalize_xof()))
        .is_ok()
}

/// The indices of the signatures that do not verify: one batch check, then bisection
/// (PROTOCOL C12), so that `k` bad ones among `n` cost O(k log n) batches.
#[must_use]
pub fn verify_each(checks: &[SigCheck], entropy: &[u8; 32]) -> Vec<usize> {
    fn bisect(checks: &[SigCheck], offset: usize, entropy: &[u8; 32], bad: &mut Vec<usize>) {
        if verify_batch(checks, entropy) {
            return;
        }
        if checks.len() == 1 {
            bad.push(offset);
            return;
        }
        let (left, right) = checks.split_at(checks.len() / 2);
        bisect(left, offset, entropy, bad);
        bisect(right, offset + left.len(), entropy, bad);
    }
    let mut bad = Vec::new();
    bisect(checks, 0, entropy, &mut bad);
    bad
}

/// A generator out of 32 bytes of entropy that the shell drew: a keyed BLAKE3 stream.
/// Everything below the shells that needs randomness is given one of these.
pub struct SeededRng(blake3::OutputReader);

impl SeededRng {
    /// A stream that `context` separates from others out of the same entropy.
    #[must_use]
    pub fn new(entropy: &[u8; 32], context: &[u8]) -> Self {
        Self(
            blake3::Hasher::new_keyed(entropy)
                .update(context)
                .finalize_xof(),
        )
    }
}

impl core::fmt::Debug for SeededRng {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SeededRng(hidden)")
    }
}

impl rand_core::TryRng for SeededRng {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SeededRng {}

macro_rules! hex_text {
    ($name:ident, $len:literal) => {
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&hex::encode(&self.0[..6]))
            }
        }
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl core::str::FromStr for $name {
            type Err = hex::FromHexError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_text!(PublicKey, 32);
hex_text!(Signature, 64);

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

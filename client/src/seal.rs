//! Sealing: order → canonical bytes → threshold ciphertext → signed envelope.

use fairlane_encryption::{EncryptError, Suite, SuiteKey, ThresholdScheme};
use fairlane_types::{
    ChainId, Envelope, LANE_NONE, Label, MemberId, Millis, Order, PublicKey, SecretKey,
};
use rand_core::CryptoRng;

use crate::Pin;

/// Seals one trader's orders for one chain and key.
#[derive(Clone, Debug)]
pub struct Sealer {
    chain: ChainId,
    key: SuiteKey,
    secret: SecretKey,
    sender: PublicKey,
}

/// What a trader decides in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealOptions {
    /// Any number that this sender has not used in an order that may still be live.
    pub nonce: u64,
    /// Last finalized time at which the order may be decrypted.
    pub expiry: Millis,
    /// The member that carries the bytes, or any.
    pub lane: Option<MemberId>,
}

/// Why an order cannot be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The payload is too long.
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
}

impl Sealer {
    /// A sealer for the chain and key of `pin`.
    #[must_use]
    pub fn new(pin: &Pin, secret: SecretKey) -> Self {
        Self {
            chain: pin.genesis().chain,
            key: pin.key().clone(),
            sender: secret.public(),
            secret,
        }
    }

    /// The account.
    #[must_use]
    pub fn sender(&self) -> PublicKey {
        self.sender
    }

    /// Seals an order.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal<R: CryptoRng + ?Sized>(
        &self,
        order: &Order,
        options: SealOptions,
        rng: &mut R,
    ) -> Result<Envelope, SealError> {
        self.seal_bytes(&order.to_bytes(), options, rng)
    }

    /// Seals any payload.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_bytes<R: CryptoRng + ?Sized>(
        &self,
        payload: &[u8],
        options: SealOptions,
        rng: &mut R,
    ) -> Result<Envelope, SealError> {
        let label = Label {
            suite: self.key.scheme().suite(),
            chain: self.chain,
            key_id: self.key.id(),
            sender: self.sender,
            nonce: options.nonce,
            expiry: options.expiry,
            fee: 0,
            lane: options.lane.map_or(LANE_NONE, |member| member.0),
            reserved: [0; 19],
        };
        let ciphertext = Suite::encrypt(
            &self.key,
            &label.to_bytes(),
            payload,
            self.secret.seed(),
            rng,
        )?;
        Ok(Envelope::sign(label, ciphertext, &self.secret))
    }
}

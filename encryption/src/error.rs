//! What can be wrong with bytes from outside (ENCRYPTION 6.9). Every variant is a
//! stateless fact about the bytes, the same for every member.

use fairlane_types::MemberId;

/// Why a ciphertext is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CtError {
    /// The first byte names another scheme.
    #[error("ciphertext is of suite {got:#04x}, this key is of suite {want:#04x}")]
    Suite {
        /// The byte found (0 when there is none).
        got: u8,
        /// The suite of the key.
        want: u8,
    },
    /// Too short, too long, or the body is not of a size class.
    #[error("{0} bytes is not the length of a ciphertext")]
    Length(usize),
    /// A point is not a canonical ristretto255 encoding (RFC 9496 §4.3.1).
    #[error("a point of the ciphertext is not canonical")]
    NonCanonicalPoint,
    /// The response is not reduced modulo the group order.
    #[error("the response scalar of the ciphertext is not canonical")]
    NonCanonicalScalar,
    /// U is the identity: the ciphertext would open without a key.
    #[error("the ciphertext's key point is the identity")]
    IdentityU,
    /// The label names a key that the committee does not hold; raised by whoever looks
    /// the key up, because labels are opaque here.
    #[error("the label names an unknown encryption key")]
    UnknownKey,
    /// The proof does not verify for this key, label and body.
    #[error("the ciphertext's proof does not verify for this label and key")]
    BadProof,
}

/// Why a sender cannot encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The payload does not fit the largest size class.
    #[error("payload of {got} bytes is over the limit of {limit}")]
    PayloadTooLong {
        /// Length offered, in bytes.
        got: usize,
        /// Limit, in bytes.
        limit: usize,
    },
}

/// Why key material is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The number of members is out of range.
    #[error("a key is for 1 to {max} members, not {got}", max = crate::SHARE_HOLDERS_MAX)]
    Members {
        /// Number offered.
        got: usize,
    },
    /// Two keys of one committee are for different numbers of members.
    #[error(
        "the encryption key is for {encryption} members, the certificate key for {certificate}"
    )]
    Holders {
        /// Members with a share of the encryption key.
        encryption: usize,
        /// Members with a share of the certificate key.
        certificate: usize,
    },
    /// The threshold is not 2⌊(n−1)/3⌋ + 1.
    #[error("threshold {got} for {n} members, expected {want}")]
    Threshold {
        /// Members.
        n: usize,
        /// Threshold found.
        got: usize,
        /// Threshold of the protocol.
        want: usize,
    },
    /// A point is not in canonical encoding.
    #[error("a public key point is not canonical")]
    NonCanonicalPoint,
    /// A public key is the identity.
    #[error("a public key is the identity")]
    Identity,
    /// The verification keys are not on one polynomial with Y: quorums would disagree.
    #[error("the verification keys do not belong to the encryption key")]
    Inconsistent,
    /// A secret is zero or not reduced modulo the group order.
    #[error("the secret share is not a canonical non-zero scalar")]
    BadScalar,
    /// A secret share is not the one of this member under this key.
    #[error("the secret share does not belong to member {member} under this key")]
    ShareMismatch {
        /// The member that the share names.
        member: MemberId,
    },
}

/// Why a member's shares are refused. All but `BadEncoding` in transit, which the
/// signature rules out, are the member's own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Made for another key.
    #[error("shares are for another encryption key")]
    WrongKey,
    /// Made for another block.
    #[error("shares are for another block")]
    WrongBlock,
    /// The member they name does not exist or is not the one expected.
    #[error("shares name member {0}, which is not the one expected")]
    WrongMember(MemberId),
    /// Not one share for each order.
    #[error("{got} shares for {want} orders")]
    WrongLength {
        /// Shares found.
        got: usize,
        /// Orders in the list.
        want: usize,
    },
    /// A share or a proof is not a canonical encoding, or a share is the identity.
    #[error("share {0} is not a canonical point")]
    BadEncoding(usize),
    /// The member's signature does not verify; raised by whoever checks signatures.
    #[error("the signature over the shares does not verify")]
    BadSignature,
    /// The proof over the shares does not verify.
    #[error("the proof over the shares does not verify")]
    BadBatchProof,
}

/// Why sets of shares cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// Fewer than t.
    #[error("{have} shares, {need} are needed")]
    NotEnough {
        /// Shares at hand.
        have: usize,
        /// The threshold t.
        need: usize,
    },
    /// More than t: the coefficients of 6.7 hold for exactly t.
    #[error("{have} shares, exactly {need} can be combined")]
    TooMany {
        /// Shares given.
        have: usize,
        /// The threshold t.
        need: usize,
    },
    /// A member is named twice.
    #[error("member {0} is named twice")]
    DuplicateIndex(MemberId),
    /// A member is not a holder of this key.
    #[error("member {0} holds no share of this key")]
    IndexRange(MemberId),
    /// The shares are of different keys, blocks, lists or members than the quorum.
    #[error("the shares of member {0} do not belong to this quorum, block or list")]
    Mixed(MemberId),
}

/// Why a published plaintext does not belong to a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The ciphertext itself does not parse.
    #[error(transparent)]
    Ciphertext(#[from] CtError),
    /// The opening is not the randomness of this ciphertext and label under this key.
    #[error("the opening does not fit the ciphertext, label and key")]
    WrongOpening,
    /// The opening fits, the payload is another one.
    #[error("the payload is not the one that was encrypted")]
    WrongPayload,
}

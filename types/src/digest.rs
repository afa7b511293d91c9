//! BLAKE3-256 with a context string per type, and typed digests.

use std::cell::RefCell;
use std::sync::OnceLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::ManyHasher;

/// Room for what is kept of each domain, and for some more of them.
const DOMAINS: usize = 32;
const _: () = assert!(
    (Domain::Handover as usize) < DOMAINS,
    "the last domain has no room"
);

/// The key of each domain, once it was asked for: saves hashing the context every time.
static KEYS: [OnceLock<ContextKey>; DOMAINS] = [const { OnceLock::new() }; DOMAINS];

/// Largest buffer that is kept for the next encoding to be hashed.
const SCRATCH_BYTES_MAX: usize = 1 << 16;

thread_local! {
    /// A hasher for each domain, and a buffer: a new hasher is two kilobytes, which costs
    /// as much as hashing a Merkle node.
    static HASHERS: RefCell<[Option<Box<blake3::Hasher>>; DOMAINS]> =
        const { RefCell::new([const { None }; DOMAINS]) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a hash or a signature is about. Every hashed or signed byte string starts from
/// its own domain, so that no value of one type can be taken for a value of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// A consensus block header.
    BlockHeader,
    /// The payload (cut) of a block.
    Payload,
    /// A lane batch header.
    Batch,
    /// The entries of a lane batch.
    BatchEntries,
    /// The heads that a batch acknowledges.
    Holdings,
    /// A ciphertext together with its label.
    Ciphertext,
    /// A proposal signature.
    Proposal,
    /// A vote.
    Vote,
    /// A commit vote.
    Commit,
    /// A vote to skip a view.
    Skip,
    /// A sender's signature over its envelope.
    Envelope,
    /// A receipt for an acknowledged order.
    Receipt,
    /// A batch of decryption shares.
    ShareBatch,
    /// A Merkle leaf (an item of the sequence).
    MerkleLeaf,
    /// A Merkle inner node.
    MerkleNode,
    /// The chained root of the emitted sequence.
    SequenceRoot,
    /// The tie-break among orders of equal key.
    Tie,
    /// The genesis file.
    Genesis,
    /// The leader schedule of an epoch.
    LeaderSchedule,
    /// Development keys derived from names.
    DevKey,
    /// A snapshot of derived state.
    Snapshot,
    /// What a member says execution made of a height.
    StateClaim,
    /// Binding of a member's transport key to its identity.
    Transport,
    /// A member's dealing in a key ceremony.
    Dealing,
    /// The encryption key that came of a ceremony.
    KeyActivation,
    /// A member's approval of a next committee.
    CommitteeChange,
    /// What the next epoch starts from.
    Handover,
}

impl Domain {
    /// The context string; part of the protocol, never changed.
    #[must_use]
    pub const fn context(self) -> &'static str {
        match self {
            Self::BlockHeader => "FAIRLANE V1 block header",
            Self::Payload => "FAIRLANE V1 payload",
            Self::Batch => "FAIRLANE V1 batch",
            Self::BatchEntries => "FAIRLANE V1 batch entries",
            Self::Holdings => "FAIRLANE V1 holdings",
            Self::Ciphertext => "FAIRLANE V1 ciphertext",
            Self::Proposal => "FAIRLANE V1 proposal",
            Self::Vote => "FAIRLANE V1 vote",
            Self::Commit => "FAIRLANE V1 commit",
            Self::Skip => "FAIRLANE V1 skip",
            Self::Envelope => "FAIRLANE V1 envelope",
            Self::Receipt => "FAIRLANE V1 receipt",
            Self::ShareBatch => "FAIRLANE V1 share batch",
            Self::MerkleLeaf => "FAIRLANE V1 merkle leaf",
            Self::MerkleNode => "FAIRLANE V1 merkle node",
            Self::SequenceRoot => "FAIRLANE V1 sequence root",
            Self::Tie => "FAIRLANE V1 tie",
            Self::Genesis => "FAIRLANE V1 genesis",
            Self::LeaderSchedule => "FAIRLANE V1 leader schedule",
            Self::DevKey => "FAIRLANE V1 dev key",
            Self::Snapshot => "FAIRLANE V1 snapshot",
            Self::StateClaim => "FAIRLANE V1 state claim",
            Self::Transport => "FAIRLANE V1 transport",
            Self::Dealing => "FAIRLANE V1 dealing",
            Self::KeyActivation => "FAIRLANE V1 key activation",
            Self::CommitteeChange => "FAIRLANE V1 committee change",
            Self::Handover => "FAIRLANE V1 handover",
        }
    }

    /// Starts a hash in this domain.
    #[must_use]
    pub fn hasher(self) -> blake3::Hasher {
        blake3::Hasher::new_from_context_key(self.key())
    }

    /// Hashes many inputs in this domain together.
    #[must_use]
    pub fn many(self) -> ManyHasher {
        ManyHasher::derived(self.key())
    }

    fn key(self) -> &'static ContextKey {
        KEYS[self as usize].get_or_init(|| hash_derive_key_context(self.context()))
    }

    /// Hashes one byte string in this domain.
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> Digest {
        HASHERS.with_borrow_mut(|kept| {
            let hasher = kept[self as usize].get_or_insert_with(|| Box::new(self.hasher()));
            hasher.update(bytes);
            let digest = Digest(*hasher.finalize().as_bytes());
            // Also clears what it holds of the input.
            hasher.reset();
            digest
        })
    }

    /// Hashes the canonical encoding of `value` in this domain.
    #[must_use]
    pub fn hash_of<T: BorshSerialize>(self, value: &T) -> Digest {
        self.hash_gathered(|bytes| crate::encode_into(value, bytes))
    }

    /// Hashes what `gather` puts into an empty buffer. Many short updates of a hasher cost
    /// more than what they hash.
    #[must_use]
    pub fn hash_gathered(self, gather: impl FnOnce(&mut Vec<u8>)) -> Digest {
        let mut bytes = SCRATCH.take();
        bytes.clear();
        gather(&mut bytes);
        let digest = self.hash(&bytes);
        if bytes.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(bytes);
        }
        digest
    }
}

/// 32 bytes of BLAKE3.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Digest(pub [u8; 32]);

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&hex::encode(&self.0[..6]))
    }
}

impl core::fmt::Display for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl core::str::FromStr for Digest {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl $name {
            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0 .0
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }

        impl core::str::FromStr for $name {
            type Err = hex::FromHexError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

digest!(
    /// H(header) of a consensus block; the zero id is the genesis block's parent.
    BlockId
);
digest!(
    /// H(header) of a lane batch; the zero digest is the parent of a lane's first batch.
    BatchDigest
);
digest!(
    /// H(label ‖ ciphertext): an order's identity, the sender's signature excluded.
    CtId
);
digest!(
    /// Identity of a threshold encryption key (ENCRYPTION 6.2).
    KeyId
);
digest!(
    /// A chained root of the emitted sequence.
    Root
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domains_kept_key_is_that_of_its_own_context() {
        let domains = [
            Domain::BlockHeader,
            Domain::MerkleLeaf,
            Domain::MerkleNode,
            Domain::SequenceRoot,
            Domain::Transport,
        ];
        for domain in domains.into_iter().chain(domains) {
            let want = blake3::derive_key(domain.context(), b"bytes");
            assert_eq!(domain.hash(b"bytes"), Digest(want));
        }
    }

    #[test]
    fn a_kept_hasher_forgets_what_it_hashed() {
        let want = |bytes: &[u8]| Digest(blake3::derive_key(Domain::Tie.context(), bytes));
        for length in [0, 1, 64, 65, 1_024, 1_025, 5_000, 70_000, 3] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            assert_eq!(Domain::Tie.hash(&bytes), want(&bytes));
            assert_eq!(Domain::Tie.hash_of(&bytes), want(&crate::encode(&bytes)));
            let parts =
                |gathered: &mut Vec<u8>| bytes.chunks(7).for_each(|part| gathered.extend(part));
            assert_eq!(Domain::Tie.hash_gathered(parts), want(&bytes));
        }
    }
}

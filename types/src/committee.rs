//! Who the members are, and the arithmetic of their quorums.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{MemberId, PublicKey};

/// Fewest members with which one fault is tolerated.
pub const MEMBERS_MIN: usize = 4;
/// Most members; also the width of nothing smaller than [`SignerSet`].
pub const MEMBERS_MAX: usize = 100;

/// The members of an epoch in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize)]
pub struct Committee {
    members: Vec<PublicKey>,
}

/// Why a list of keys is not a committee.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// The number of members is out of range.
    #[error("a committee has {MEMBERS_MIN} to {MEMBERS_MAX} members, not {0}")]
    Size(usize),
    /// Two members have the same key.
    #[error("members {0} and {1} have the same identity key")]
    Duplicate(MemberId, MemberId),
}

impl Committee {
    /// Checks size and distinctness.
    ///
    /// # Errors
    /// [`CommitteeError`] names what is wrong.
    pub fn new(members: Vec<PublicKey>) -> Result<Self, CommitteeError> {
        if !(MEMBERS_MIN..=MEMBERS_MAX).contains(&members.len()) {
            return Err(CommitteeError::Size(members.len()));
        }
        let mut seen = std::collections::BTreeMap::new();
        for (index, key) in members.iter().enumerate() {
            let id = MemberId(index as u8);
            if let Some(first) = seen.insert(*key, id) {
                return Err(CommitteeError::Duplicate(first, id));
            }
        }
        Ok(Self { members })
    }

    /// Number of members, n.
    #[must_use]
    pub fn n(&self) -> usize {
        self.members.len()
    }
    /// Faults tolerated, f = ⌊(n−1)/3⌋.
    #[must_use]
    pub fn f(&self) -> usize {
        (self.n() - 1) / 3
    }
    /// Size of a quorum, q = n − f: two of them share an honest member.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.n() - self.f()
    }
    /// Decryption and BLS threshold, t = 2f + 1 ≤ q.
    #[must_use]
    pub fn threshold(&self) -> usize {
        2 * self.f() + 1
    }
    /// The identity key of a member, if there is such a member.
    #[must_use]
    pub fn key(&self, member: MemberId) -> Option<&PublicKey> {
        self.members.get(member.index())
    }
    /// The member with this identity key.
    #[must_use]
    pub fn member(&self, key: &PublicKey) -> Option<MemberId> {
        self.members
            .iter()
            .position(|k| k == key)
            .map(|i| MemberId(i as u8))
    }
    /// Whether `member` is one of the committee.
    #[must_use]
    pub fn contains(&self, member: MemberId) -> bool {
        member.index() < self.n()
    }
    /// All member ids in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = MemberId> + use<> {
        (0..self.n() as u8).map(MemberId)
    }
    /// All identity keys in order of their members.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.members
    }
}

impl BorshDeserialize for Committee {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let members = Vec::<PublicKey>::deserialize_reader(reader)?;
        Self::new(members).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
    }
}

/// A set of members as a bitmap; member 0 is the lowest bit.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct SignerSet(pub u128);

impl SignerSet {
    /// Adds a member; false if it was in already.
    pub fn insert(&mut self, member: MemberId) -> bool {
        let fresh = !self.contains(member);
        self.0 |= Self::bit(member);
        fresh
    }
    /// Takes a member out.
    pub fn remove(&mut self, member: MemberId) {
        self.0 &= !Self::bit(member);
    }
    /// Whether a member is in the set.
    #[must_use]
    pub const fn contains(self, member: MemberId) -> bool {
        self.0 & Self::bit(member) != 0
    }
    /// Number of members in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = MemberId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let lowest = left.trailing_zeros();
            // The lowest bit that is set; nothing is left once there is none.
            left &= left.wrapping_sub(1);
            (lowest < u128::BITS).then_some(MemberId(lowest as u8))
        })
    }
    /// Whether every member of the set belongs to a committee of `n`.
    #[must_use]
    pub const fn within(self, n: usize) -> bool {
        n >= 128 || self.0 >> n == 0
    }
    const fn bit(member: MemberId) -> u128 {
        if member.0 < 128 { 1 << member.0 } else { 0 }
    }
}

impl FromIterator<MemberId> for SignerSet {
    fn from_iter<I: IntoIterator<Item = MemberId>>(members: I) -> Self {
        let mut set = Self::default();
        for member in members {
            set.insert(member);
        }
        set
    }
}

impl core::fmt::Debug for SignerSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter().map(|m| m.0)).finish()
    }
}

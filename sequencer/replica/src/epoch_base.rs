//! What a member begins an epoch with (PROTOCOL §6): the word of the committee before it,
//! and the bytes that this word covers. Members of the old committee have it at the
//! boundary; who joins, or was away, asks any of them and checks it.

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{
    CERTIFICATE_KEY_BYTES, Ceremony, CertificateKeyError, CombineError, CommitteeKeys, DealError,
    KeyError, OnwardError, ReceiverSecret, SuiteKey, leads_on,
};
use fairlane_types::{
    ActiveKeys, DecodeError, Digest, Domain, Epoch, Genesis, Handover, HandoverError, MemberId,
    NextCommittee, decode,
};

use crate::dealing::Dealing;
use crate::job::Sharing;

/// Largest encoding of a base that is taken from outside, in bytes: what 100 members deal to
/// 100, and the memory of a chain at its limits.
pub const EPOCH_BASE_BYTES_MAX: usize = 256 << 20;

/// The start of an epoch after the first.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochBase {
    /// The genesis of the epoch, signed by the committee before it.
    pub handover: Handover,
    /// The committee, with its members' addresses.
    pub next: NextCommittee,
    /// What the order rule remembers ([`fairlane_mempool::fair::FairOrder::memory`]).
    pub memory: Vec<u8>,
    /// The keys whose shares were dealt on.
    pub old_keys: ActiveKeys,
    /// The dealings that count, in their order; none once the epoch is over.
    pub dealings: Vec<Dealing>,
}

/// Why bytes are no start of an epoch, or give this member no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// The hand-over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The certificate key.
    #[error(transparent)]
    Certificates(#[from] CertificateKeyError),
    /// It starts no epoch.
    #[error("it is the genesis of a first epoch")]
    First,
    /// The epoch is over: its dealings are gone, and nobody reads a share from it any more.
    #[error("the dealings that epoch {0} began with are gone: it is over")]
    Stripped(Epoch),
    /// Bytes that the hand-over does not cover.
    #[error("{0} are not those that were handed over")]
    Bytes(&'static str),
    /// An encoding.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A key in it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A dealing.
    #[error(transparent)]
    Deal(#[from] DealError),
    /// The dealings give no share of this key to this receiver.
    #[error("the dealings give this member no share: {0}")]
    Share(#[from] CombineError),
    /// Shares of another member.
    #[error("the shares are those of member {0}")]
    OtherMember(MemberId),
    /// The dealings give another key.
    #[error("the dealings give another key than the one handed over")]
    OtherKey,
}

/// What a hand-over covers of the memory.
pub(crate) fn memory_digest(memory: &[u8]) -> Digest {
    Domain::Snapshot.hash(memory)
}

/// What a hand-over covers of the dealings.
pub(crate) fn dealings_digest(dealings: &[impl BorshSerialize]) -> Digest {
    Domain::Dealing.hash_of(&dealings)
}

impl From<OnwardError> for BaseError {
    fn from(error: OnwardError) -> Self {
        match error {
            OnwardError::Handover(error) => error.into(),
            OnwardError::Certificates(error) => error.into(),
        }
    }
}

impl EpochBase {
    /// The genesis of the epoch.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.handover.genesis
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.handover.genesis.epoch()
    }

    /// Whether the committee of `before` handed all of this over, with the certificate key that is
    /// `known` where the genesis has none ([`leads_on`]).
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn verify(
        &self,
        before: &Genesis,
        known: Option<&[u8; CERTIFICATE_KEY_BYTES]>,
    ) -> Result<(), BaseError> {
        leads_on(&self.handover, before, known)?;
        self.is_covered()
    }

    /// The same without the dealings: enough to go on to the next epoch, and nothing in it to
    /// open.
    #[must_use]
    pub fn stripped(self) -> Self {
        Self {
            dealings: Vec::new(),
            ..self
        }
    }

    /// Whether it has its dealings: a resharing takes one at least.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        !self.dealings.is_empty()
    }

    /// Whether the bytes are those that the hand-over covers; dealings may be left out.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn is_covered(&self) -> Result<(), BaseError> {
        let start = self.handover.genesis.start.ok_or(BaseError::First)?;
        if start.memory != memory_digest(&self.memory) {
            return Err(BaseError::Bytes("the remembered orders"));
        }
        if start.committee != self.next.digest() {
            return Err(BaseError::Bytes("the committee's addresses"));
        }
        if self.is_whole() && start.dealings != dealings_digest(&self.dealings) {
            return Err(BaseError::Bytes("the dealings"));
        }
        Ok(())
    }

    /// The keys of the epoch and this member's shares of them.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn sharing(&self, me: MemberId, receiver: &ReceiverSecret) -> Result<Sharing, BaseError> {
        let genesis = &self.handover.genesis;
        let start = genesis.start.ok_or(BaseError::First)?;
        if !self.is_whole() {
            return Err(BaseError::Stripped(start.epoch));
        }
        let scheme = genesis.encryption.scheme;
        let certificate = &self.old_keys.certificate;
        let certificate = (!certificate.is_empty()).then_some(certificate);
        let old = CommitteeKeys {
            encryption: SuiteKey::from_bytes(scheme, &self.old_keys.encryption)?,
            certificate: certificate
                .map(|bytes| decode(bytes, bytes.len()))
                .transpose()?,
            former: None,
        };
        let ceremony = Ceremony::of_change(start.before, &self.next, old)?;
        let mut deals = Vec::with_capacity(self.dealings.len());
        for dealing in &self.dealings {
            let deal = decode(&dealing.deal, dealing.deal.len())?;
            deals.push(ceremony.verified_before(dealing.dealer, deal)?);
        }
        let (keys, shares) = ceremony.shares(&deals, me, receiver)?;
        let made = Sharing::made(keys, shares);
        let certificates = genesis.certificates.as_ref();
        let signed = ActiveKeys {
            encryption: genesis.encryption.public_key.clone(),
            certificate: certificates.map_or_else(Vec::new, |c| c.public_key.clone()),
        };
        let former = made.former.as_ref().map(|former| former.key.to_bytes());
        let signed_former = genesis.encryption.former.as_ref();
        let signed_former = signed_former.map(|former| former.public_key.clone());
        // The committee signed these: what is not signed of the base cannot change them.
        if made.public() != signed || former != signed_former {
            return Err(BaseError::OtherKey);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::deal_suite_insecure;
    use fairlane_types::{
        BlockId, ChainId, EncryptionParams, EpochStart, Height, Millis, NextKey, NextMember,
        Position, QuorumWord, ReceiverBytes, Root, Scheme, SecretKey, SeededRng, encode,
    };
    use proptest::prelude::*;

    use super::*;

    const CHAIN: ChainId = ChainId(3);

    const BOTH: [Scheme; 2] = [Scheme::Tdh2, Scheme::BaekZheng];

    type HandedOver = (EpochBase, Genesis, Vec<ReceiverSecret>);

    /// Four members that handed over to four others; the base, where it came from, and who
    /// reads shares from it.
    fn handed_over(scheme: Scheme) -> HandedOver {
        handed_over_with(scheme, NextKey::Kept)
    }

    fn handed_over_with(scheme: Scheme, kept_or_fresh: NextKey) -> HandedOver {
        let mut rng = SeededRng::new(&[5; 32], b"base");
        let keys = |from: u8| (from..from + 4).map(|seed| SecretKey::from_seed([seed; 32]));
        let (old, new): (Vec<_>, Vec<_>) = (keys(1).collect(), keys(11).collect());
        let (key, shares) = deal_suite_insecure(scheme, Epoch(0), 4, &mut rng).unwrap();
        let before = Genesis {
            chain: CHAIN,
            time: Millis(1_000),
            experiment: true,
            start: None,
            members: old.iter().map(SecretKey::public).collect(),
            encryption: EncryptionParams::dealt(scheme, key.id(), key.to_bytes()),
            certificates: None,
            lanes: Default::default(),
            consensus: Default::default(),
            order: Default::default(),
        };
        let receivers: Vec<_> = (0..4).map(|_| ReceiverSecret::generate(&mut rng)).collect();
        let members = new
            .iter()
            .zip(&receivers)
            .map(|(identity, receiver)| NextMember {
                identity: identity.public(),
                receiver: ReceiverBytes(*receiver.key().bytes()),
                quic: "host:1".to_owned(),
                api: "http://host:2".to_owned(),
            });
        let next = NextCommittee {
            chain: CHAIN,
            epoch: Epoch(1),
            key: kept_or_fresh,
            members: members.collect(),
        };
        let keys = CommitteeKeys {
            encryption: key.clone(),
            certificate: None,
            former: None,
        };
        let ceremony = Ceremony::of_change(before.hash(), &next, keys).unwrap();
        let (mut dealings, mut deals) = (Vec::new(), Vec::new());
        for (share, identity) in shares.iter().zip(&old).take(ceremony.needed()) {
            let deal = ceremony.deal_share(share, None, &mut rng).unwrap();
            dealings.push(Dealing::sign(&deal, identity, CHAIN, Epoch(0)));
            deals.push(ceremony.verify(share.member(), deal).unwrap());
        }
        let made = ceremony.keys(&deals).unwrap();
        let encryption = made.encryption;
        let former = made.former.map(|former| former.to_bytes());
        let former = former.as_deref().map(|former| (key.id(), former));
        let active = ActiveKeys {
            encryption: encryption.to_bytes(),
            certificate: Vec::new(),
        };
        let memory = encode(&(Millis(1_000), Vec::<u8>::new(), Vec::<u8>::new()));
        let start = EpochStart {
            epoch: Epoch(1),
            origin: before.hash(),
            before: before.hash(),
            height: Height(9),
            block: BlockId::default(),
            root: Root::default(),
            position: Position(2),
            committee: next.digest(),
            memory: memory_digest(&memory),
            dealings: dealings_digest(&dealings),
        };
        let genesis = before.next(
            &next,
            start,
            Millis(1_000),
            (encryption.id(), &active),
            former,
        );
        let mut word = QuorumWord::default();
        for (id, identity) in old.iter().enumerate().take(3) {
            let signature = Handover::sign(identity, Epoch(0), &genesis);
            word.add(MemberId(id as u8), signature);
        }
        let base = EpochBase {
            handover: Handover { genesis, word },
            next,
            memory,
            old_keys: ActiveKeys {
                encryption: key.to_bytes(),
                certificate: Vec::new(),
            },
            dealings,
        };
        (base, before, receivers)
    }

    #[test]
    fn members_read_their_shares_and_nobody_else_does() {
        for scheme in BOTH {
            let (base, before, receivers) = handed_over(scheme);
            assert_eq!(base.genesis().encryption.scheme, scheme);
            assert_eq!(base.verify(&before, None), Ok(()));
            for (id, receiver) in receivers.iter().enumerate() {
                let sharing = base.sharing(MemberId(id as u8), receiver).unwrap();
                assert_eq!(Some(sharing.key.id()), before.encryption.key_id);
            }
            assert!(base.sharing(MemberId(0), &receivers[1]).is_err());
        }
    }

    /// With a fresh key members read a share of that, and of the one before.
    #[test]
    fn a_fresh_key_comes_with_the_one_before() {
        BOTH.into_iter().for_each(fresh_beside_former);
    }

    fn fresh_beside_former(scheme: Scheme) {
        let (base, before, receivers) = handed_over_with(scheme, NextKey::Fresh);
        assert_eq!(base.verify(&before, None), Ok(()));
        let old = before.encryption.key_id.unwrap();
        let genesis = base.genesis();
        let until = genesis.time.plus(genesis.order.key_grace_ms);
        assert_eq!(genesis.former_key(), Some((old, until)));
        for (id, receiver) in receivers.iter().enumerate() {
            let sharing = base.sharing(MemberId(id as u8), receiver).unwrap();
            assert_eq!(Some(sharing.key.id()), genesis.encryption.key_id);
            let former = sharing.former.as_ref().unwrap();
            assert_eq!(former.key.id(), old);
            let share = sharing.share_of(&old).unwrap();
            assert_eq!(share.belongs_to(&former.key), Ok(()));
            assert!(share.belongs_to(&sharing.key).is_err());
            former.forget();
            assert!(sharing.clone().share_of(&old).is_none());
            assert!(sharing.share_of(&sharing.key.id()).is_some());
            // What is kept for good is none of the former key.
            let (me, kept) = (MemberId(id as u8), sharing.kept());
            let again = Sharing::of_kept(genesis, me, &kept).unwrap();
            assert_eq!(again.public(), sharing.public());
            assert!(again.share_of(&sharing.key.id()).is_some());
            assert!(again.share_of(&old).is_none() && again.key_of(&old).is_some());
            assert!(Sharing::of_kept(&before, me, &kept).is_err());
            let other = MemberId((id as u8 + 1) % 4);
            assert!(Sharing::of_kept(genesis, other, &kept).is_err());
        }
        // Another former key than the one that was signed.
        let mut other = base;
        let signed = other.handover.genesis.encryption.former.as_mut().unwrap();
        signed.public_key[40] ^= 1;
        let refused = other.sharing(MemberId(0), &receivers[0]);
        assert_eq!(refused.err(), Some(BaseError::OtherKey));
    }

    /// Once its epoch is over the dealings may go: the rest still verifies and opens nothing.
    #[test]
    fn without_its_dealings_it_leads_on_and_gives_no_share() {
        let (base, before, receivers) = handed_over(Scheme::Tdh2);
        let stripped = base.clone().stripped();
        assert!(base.is_whole() && !stripped.is_whole());
        assert_eq!(stripped.verify(&before, None), Ok(()));
        let nothing = stripped.sharing(MemberId(0), &receivers[0]);
        assert_eq!(nothing.err(), Some(BaseError::Stripped(Epoch(1))));
        let of_dealings = base.dealings.iter().map(|d| d.deal.len()).sum::<usize>();
        assert!(encode(&stripped).len() + of_dealings < encode(&base).len());
        let mut other = stripped;
        other.next.members[2].api.push('x');
        assert!(other.verify(&before, None).is_err());
    }

    #[test]
    fn what_was_not_handed_over_is_refused() {
        let (base, before, receivers) = handed_over(Scheme::Tdh2);
        let refused = |change: &dyn Fn(&mut EpochBase)| {
            let mut other = base.clone();
            change(&mut other);
            other.verify(&before, None).is_err()
        };
        assert!(refused(&|base| base.memory[0] ^= 1));
        assert!(refused(&|base| drop(base.dealings.pop())));
        assert!(refused(&|base| base.next.members[2].api.push('x')));
        assert!(refused(&|base| base.handover.word.signatures.truncate(2)));
        // The old keys are not signed: another one gives no share.
        let mut other = base.clone();
        other.old_keys.encryption[40] ^= 1;
        assert!(other.sharing(MemberId(0), &receivers[0]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// Whatever byte of it is changed: it does not decode, or is refused, or makes no
        /// difference to what a member gets.
        #[test]
        fn a_changed_base_gives_nothing_else(
            which in 0..2_usize, at in any::<proptest::sample::Index>(), flip in 1_u8..,
        ) {
            static MADE: std::sync::OnceLock<[HandedOver; 2]> = std::sync::OnceLock::new();
            let made = MADE.get_or_init(|| BOTH.map(handed_over));
            let (base, before, receivers) = &made[which];
            let mut bytes = encode(base);
            let place = at.index(bytes.len());
            bytes[place] ^= flip;
            if let Ok(changed) = decode::<EpochBase>(&bytes, EPOCH_BASE_BYTES_MAX)
                && changed.verify(before, None).is_ok()
                && let Ok(sharing) = changed.sharing(MemberId(0), &receivers[0])
            {
                prop_assert_eq!(changed.genesis(), base.genesis());
                let signed = &base.genesis().encryption.public_key;
                prop_assert_eq!(&sharing.key.to_bytes(), signed);
            }
        }
    }
}

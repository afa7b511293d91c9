//! The genesis file: committee, keys and every consensus parameter. Its hash is what a
//! client pins; addresses are in each node's own configuration.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    ActiveKeys, ChainId, Committee, CommitteeError, Digest, Domain, Epoch, EpochStart, Height,
    KeyId, Millis, NextCommittee, PublicKey, ReceiverBytes,
};

/// Largest genesis file that is read, in bytes.
pub const GENESIS_BYTES_MAX: usize = 4 << 20;

/// The genesis file (JSON). Unknown keys are refused; absent parameters have defaults. Each
/// later epoch has one too, made by the committee before it (see [`Handover`](crate::Handover)).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Chain id.
    pub chain: ChainId,
    /// Finalized time of the height it starts from, 0 in the first epoch.
    pub time: Millis,
    /// Marks a chain on which unsafe things (development keys, open registration, a
    /// dealer) are allowed; shown in the banner and in `/v1/info`.
    pub experiment: bool,
    /// Where an epoch after the first begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<EpochStart>,
    /// Identity keys in the order of member ids.
    pub members: Vec<PublicKey>,
    /// The encryption key.
    pub encryption: EncryptionParams,
    /// The key of beacon and attestations; without it the chain has neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificateParams>,
    /// Lanes (PROTOCOL §1).
    #[serde(default)]
    pub lanes: LaneParams,
    /// Consensus (PROTOCOL §2).
    #[serde(default)]
    pub consensus: ConsensusParams,
    /// Fair order (ORDERING.md).
    #[serde(default)]
    pub order: OrderParams,
}

/// Where the encryption key comes from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// One party made the key and could have kept it: INSECURE, experiments only.
    InsecureDealer,
    /// The members make it over their own log; nobody ever holds it (PROTOCOL §6).
    Ceremony,
    /// The committee of the epoch before dealt it: on, as it was, or made afresh; then
    /// [`EncryptionParams::former`] is there.
    Reshared,
}

/// Committees of this size and more combine in shards, unless the genesis says otherwise.
pub const SHARDED_FROM: usize = 16;

/// Encryption scheme.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Shoup–Gennaro TDH2 over ristretto255.
    Tdh2,
    /// Baek–Zheng over BLS12-381.
    BaekZheng,
}

impl Scheme {
    /// First byte of its labels and ciphertexts.
    #[must_use]
    pub const fn suite(self) -> u8 {
        match self {
            Self::Tdh2 => crate::SUITE_TDH2,
            Self::BaekZheng => crate::SUITE_BAEK_ZHENG,
        }
    }

    /// Its name in genesis, API and command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tdh2 => "tdh2",
            Self::BaekZheng => "baek-zheng",
        }
    }

    /// The scheme of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Tdh2, Self::BaekZheng]
            .into_iter()
            .find(|scheme| scheme.name() == name)
    }
}

/// The encryption key of the epoch before, where this epoch has a fresh one. Its orders are
/// opened for a while, then its shares are erased (PROTOCOL §6, THREATS A21).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerKey {
    /// Identity of the key.
    pub key_id: KeyId,
    /// The key with the verification keys of this epoch's members, in canonical encoding, as
    /// hex.
    #[serde(with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// Last finalized time at which an order that is sealed to it may be decrypted.
    pub until: Millis,
}

/// The threshold encryption key of an epoch: dealt, to be made by the members, or dealt on
/// by those of the epoch before.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionParams {
    /// Scheme.
    pub scheme: Scheme,
    /// Origin of the key.
    pub source: KeySource,
    /// Identity of a key that is there from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Such a key with its verification keys in the scheme's canonical encoding, as hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// Unless a dealer made the key: the members' keys for dealings, in the order of their
    /// ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<ReceiverBytes>,
    /// Who combines; not said, that follows from scheme and size: [`Genesis::sharded`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combining: Option<Combining>,
    /// The key of the epoch before, if this one is fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerKey>,
}

/// Who combines the decryption shares of a block (ENCRYPTION 6.7).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Combining {
    /// Every member, all of it.
    AllToAll,
    /// Two members a slice, who tell the others.
    Sharded,
}

impl Combining {
    /// As written in the genesis file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllToAll => "all-to-all",
            Self::Sharded => "sharded",
        }
    }
}

impl EncryptionParams {
    /// A dealer's key.
    #[must_use]
    pub const fn dealt(scheme: Scheme, key_id: KeyId, public_key: Vec<u8>) -> Self {
        Self {
            scheme,
            source: KeySource::InsecureDealer,
            key_id: Some(key_id),
            public_key,
            receivers: Vec::new(),
            combining: None,
            former: None,
        }
    }

    /// A key that the members make once they run.
    #[must_use]
    pub const fn ceremony(receivers: Vec<ReceiverBytes>) -> Self {
        Self {
            scheme: Scheme::Tdh2,
            source: KeySource::Ceremony,
            key_id: None,
            public_key: Vec::new(),
            receivers,
            combining: None,
            former: None,
        }
    }

    /// What does not fit the source of the key.
    fn flaw(&self, members: usize, first: bool) -> Option<&'static str> {
        let sharded = self.combining == Some(Combining::Sharded);
        if sharded && self.scheme == Scheme::BaekZheng {
            return Some("scheme baek-zheng has no sharded combining");
        }
        if let Some(former) = &self.former {
            if self.source != KeySource::Reshared {
                return Some("only a key of a later epoch has encryption.former");
            }
            if Some(former.key_id) == self.key_id {
                return Some("encryption.former is the key itself");
            }
        }
        match self.source {
            KeySource::Reshared if first => Some("the first epoch has no key to go on with"),
            KeySource::InsecureDealer | KeySource::Ceremony if !first => {
                Some("a later epoch goes on with the key of the one before")
            }
            KeySource::Reshared if self.key_id.is_none() || self.receivers.len() != members => {
                Some("a key that was dealt on has encryption.key_id and encryption.receivers")
            }
            KeySource::InsecureDealer if self.key_id.is_none() => {
                Some("a dealt key needs encryption.key_id and encryption.public_key")
            }
            KeySource::InsecureDealer if !self.receivers.is_empty() => {
                Some("a dealt key has no encryption.receivers")
            }
            KeySource::Ceremony if self.key_id.is_some() || !self.public_key.is_empty() => {
                Some("before a ceremony there is no encryption.key_id or encryption.public_key")
            }
            KeySource::Ceremony if self.receivers.len() != members => {
                Some("a ceremony needs one key in encryption.receivers for each member")
            }
            KeySource::Ceremony | KeySource::Reshared if self.scheme != Scheme::Tdh2 => {
                Some("keys of scheme baek-zheng are made by a dealer only")
            }
            KeySource::InsecureDealer | KeySource::Ceremony | KeySource::Reshared => None,
        }
    }
}

/// The threshold BLS key with which the committee attests the sequence (PROTOCOL §5).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateParams {
    /// Origin of the key.
    pub source: KeySource,
    /// A dealt key, with what verification keys follow from, in canonical encoding, as hex;
    /// empty before a ceremony.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// The root is attested once in so much finalized time, ms.
    #[serde(default = "attest_interval_ms")]
    pub attest_interval_ms: u64,
}

/// Default of [`CertificateParams::attest_interval_ms`].
const fn attest_interval_ms() -> u64 {
    100
}

impl CertificateParams {
    /// A dealer's key with the default interval.
    #[must_use]
    pub const fn dealt(public_key: Vec<u8>) -> Self {
        Self {
            source: KeySource::InsecureDealer,
            public_key,
            attest_interval_ms: attest_interval_ms(),
        }
    }

    /// A key that the members make with the encryption key, with the default interval.
    #[must_use]
    pub const fn ceremony() -> Self {
        Self {
            source: KeySource::Ceremony,
            public_key: Vec::new(),
            attest_interval_ms: attest_interval_ms(),
        }
    }

    /// What does not fit the source of the encryption key: both are made together.
    fn flaw(&self, encryption: KeySource) -> Option<&'static str> {
        match self.source {
            source if source != encryption => {
                Some("certificates.source must be that of the encryption key")
            }
            KeySource::Ceremony if !self.public_key.is_empty() => {
                Some("before a ceremony there is no certificates.public_key")
            }
            KeySource::Reshared if self.public_key.is_empty() => {
                Some("a key that was dealt on is in certificates.public_key")
            }
            KeySource::InsecureDealer | KeySource::Ceremony | KeySource::Reshared => None,
        }
    }
}

/// Rules that order the finalized lanes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum OrderRule {
    /// By assigned order indicator alone.
    Arrival,
    /// By strong precedence: what nearly all lanes have first is first.
    Strong,
    /// By median and majority of lanes; for comparison.
    Majority,
    /// By coarse time and tie; only with slots per account.
    Shuffle,
    /// In the order of lane 0; experiments only.
    Leader,
    /// One order of each lane in turn; experiments only.
    RoundRobin,
}

impl OrderRule {
    /// Every rule.
    pub const ALL: [Self; 6] = [
        Self::Arrival,
        Self::Strong,
        Self::Majority,
        Self::Shuffle,
        Self::Leader,
        Self::RoundRobin,
    ];

    /// As written in the genesis file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Strong => "strong",
            Self::Majority => "majority",
            Self::Shuffle => "shuffle",
            Self::Leader => "leader",
            Self::RoundRobin => "round-robin",
        }
    }

    /// The rule of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

/// What breaks ties among equal keys.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum TieSource {
    /// H(block_id ‖ ct_id).
    BlockId,
    /// H(beacon ‖ ct_id), where the beacon of a block is a hash of the committee's threshold
    /// signature on it: known to nobody before the block is final, and to nobody's liking.
    Beacon,
}

impl TieSource {
    /// As written in the genesis file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockId => "block-id",
            Self::Beacon => "beacon",
        }
    }
}

/// Lane parameters; each is a limit that every member enforces alike.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneParams {
    /// A lane seals a batch this long after its first pending entry, ms (M3, L5).
    pub batch_interval_ms: u64,
    /// While anything is not emitted, a head advances at least this often, ms (L4).
    pub head_interval_ms: u64,
    /// Largest batch, bytes of payload (M3).
    pub batch_bytes_max: u32,
    /// Most entries in a batch (M3).
    pub batch_entries_max: u32,
    /// Batches stored beyond a lane's last final head (M4).
    pub window_batches: u32,
    /// Entries stored beyond a lane's last final head (M4: E).
    pub window_entries: u32,
    /// Payload bytes stored beyond a lane's last final head (M4: B).
    pub window_bytes: u32,
    /// A batch stamped further in the future than this is held back, ms (L2: ε).
    pub future_ms: u64,
    /// Most entries that one cut may add per lane.
    pub cut_entries_max: u32,
}

impl Default for LaneParams {
    fn default() -> Self {
        Self {
            batch_interval_ms: 5,
            head_interval_ms: 20,
            batch_bytes_max: 512 << 10,
            batch_entries_max: 1_000,
            window_batches: 64,
            window_entries: 20_000,
            window_bytes: 16 << 20,
            future_ms: 5,
            cut_entries_max: 4_000,
        }
    }
}

/// Consensus parameters.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsensusParams {
    /// A leader waits at least this long after entering its view, ms (C10; 0–50).
    pub min_interval_ms: u64,
    /// A leader proposes at the latest after this, ms (C10).
    pub max_interval_ms: u64,
    /// Lower clamp of the measured delay Δ̂, ms (C9).
    pub delay_min_ms: u64,
    /// Upper clamp of the measured delay Δ̂, ms (C9).
    pub delay_max_ms: u64,
    /// What every member has emitted may be pruned once it is so old, ms (M6: R). At
    /// least twice TTL_max: for so long a restart looks back for outcomes.
    pub retention_ms: u64,
    /// What is so old may be pruned whatever members report, ms. A member that was away
    /// for longer cannot catch up from its peers' disks.
    pub retention_max_ms: u64,
}

impl Default for ConsensusParams {
    fn default() -> Self {
        Self {
            min_interval_ms: 15,
            max_interval_ms: 500,
            delay_min_ms: 10,
            delay_max_ms: 2_000,
            retention_ms: 600_000,
            retention_max_ms: 86_400_000,
        }
    }
}

/// Fair-order parameters.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrderParams {
    /// The rule.
    pub rule: OrderRule,
    /// Tie-break.
    pub tie: TieSource,
    /// An order lives at most this long after its first ingest, and its expiry may lie at
    /// most this far ahead of finalized time, ms (TTL_max).
    pub ttl_max_ms: u64,
    /// Stamps count at least as (f+1)-th largest head − this, ms (L2: L_max).
    pub back_dating_max_ms: u64,
    /// An order solid for this long is frozen without the lanes that lack it, ms.
    pub grace_ms: u64,
    /// Orders that are sealed to the key of the epoch before are decrypted for so long after
    /// its end, ms; then its shares are erased.
    pub key_grace_ms: u64,
    /// Most orders decrypted per block (D_max); the rest is backlog.
    pub decrypt_max: u32,
    /// Every so many heights the block commits to the order state, and a snapshot is kept.
    pub snapshot_interval: u32,
}

impl OrderParams {
    /// Whether the block of a height commits to the order state.
    #[must_use]
    pub fn commits_at(&self, height: Height) -> bool {
        height.0.is_multiple_of(u64::from(self.snapshot_interval))
    }
}

impl Default for OrderParams {
    fn default() -> Self {
        Self {
            rule: OrderRule::Strong,
            tie: TieSource::BlockId,
            ttl_max_ms: 120_000,
            back_dating_max_ms: 250,
            grace_ms: 100,
            key_grace_ms: 120_000,
            decrypt_max: 2_000,
            snapshot_interval: 256,
        }
    }
}

/// Why a genesis file cannot start a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// The members are no committee.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// A parameter is out of its range.
    #[error("{name} = {got} is out of range: {range}")]
    Range {
        /// The key as written in the file.
        name: &'static str,
        /// Its value.
        got: u64,
        /// What is allowed.
        range: &'static str,
    },
    /// The tie source needs what is not there.
    #[error("order.tie = beacon: {0}")]
    Tie(&'static str),
    /// The encryption key and where it comes from do not fit together.
    #[error("{0}")]
    Key(&'static str),
    /// Something unsafe on a chain that is not an experiment.
    #[error("{0} is allowed only with experiment = true")]
    NeedsExperiment(&'static str),
}

impl Genesis {
    /// Whether ties can be left to the beacon: somebody must sign it, and the rule must leave
    /// ties open in a way that can be closed later.
    fn check_beacon(&self) -> Result<(), GenesisError> {
        if self.certificates.is_none() {
            return Err(GenesisError::Tie("the chain has no certificate key"));
        }
        match self.order.rule {
            OrderRule::Strong | OrderRule::Arrival | OrderRule::Shuffle => Ok(()),
            OrderRule::Majority | OrderRule::Leader | OrderRule::RoundRobin => Err(
                GenesisError::Tie("the rule is none of strong, arrival and shuffle"),
            ),
        }
    }

    /// Checks every parameter and returns the committee.
    ///
    /// # Errors
    /// [`GenesisError`] names the first key that is wrong.
    pub fn validate(&self) -> Result<Committee, GenesisError> {
        let committee = Committee::new(self.members.clone())?;
        if self.encryption.source == KeySource::InsecureDealer && !self.experiment {
            return Err(GenesisError::NeedsExperiment(
                "encryption.source = insecure_dealer",
            ));
        }
        if let Some(flaw) = self.encryption.flaw(committee.n(), self.start.is_none()) {
            return Err(GenesisError::Key(flaw));
        }
        let former = self.encryption.former.as_ref();
        if former.is_some_and(|former| former.until != self.key_grace_end()) {
            return Err(GenesisError::Key(
                "encryption.former.until is not order.key_grace_ms after the time of the genesis",
            ));
        }
        if self.order.tie == TieSource::Beacon {
            self.check_beacon()?;
        }
        let certificates = self.certificates.as_ref();
        if let Some(flaw) = certificates.and_then(|c| c.flaw(self.encryption.source)) {
            return Err(GenesisError::Key(flaw));
        }
        if matches!(self.order.rule, OrderRule::Leader | OrderRule::RoundRobin) && !self.experiment
        {
            return Err(GenesisError::NeedsExperiment(
                "order.rule = leader or round-robin",
            ));
        }
        let (l, c, o) = (&self.lanes, &self.consensus, &self.order);
        let ranges = [
            (
                "certificates.attest_interval_ms",
                certificates.map_or(attest_interval_ms(), |c| c.attest_interval_ms),
                10,
                60_000,
                "10 to 60000",
            ),
            (
                "lanes.batch_interval_ms",
                l.batch_interval_ms,
                1,
                1_000,
                "1 to 1000",
            ),
            (
                "lanes.head_interval_ms",
                l.head_interval_ms,
                1,
                1_000,
                "1 to 1000",
            ),
            (
                "lanes.batch_bytes_max",
                l.batch_bytes_max.into(),
                16 << 10,
                1 << 20,
                "16 KiB to 1 MiB",
            ),
            (
                "lanes.batch_entries_max",
                l.batch_entries_max.into(),
                1,
                10_000,
                "1 to 10000",
            ),
            (
                "lanes.window_batches",
                l.window_batches.into(),
                4,
                1_024,
                "4 to 1024",
            ),
            (
                "lanes.window_entries",
                l.window_entries.into(),
                100,
                1_000_000,
                "100 to 1000000",
            ),
            (
                "lanes.window_bytes",
                l.window_bytes.into(),
                1 << 20,
                1 << 30,
                "1 MiB to 1 GiB",
            ),
            ("lanes.future_ms", l.future_ms, 0, 10_000, "0 to 10000"),
            (
                "lanes.cut_entries_max",
                l.cut_entries_max.into(),
                1,
                100_000,
                "1 to 100000",
            ),
            (
                "consensus.min_interval_ms",
                c.min_interval_ms,
                0,
                50,
                "0 to 50",
            ),
            (
                "consensus.max_interval_ms",
                c.max_interval_ms,
                10,
                60_000,
                "10 to 60000",
            ),
            (
                "consensus.delay_min_ms",
                c.delay_min_ms,
                1,
                2_000,
                "1 to 2000",
            ),
            (
                "consensus.delay_max_ms",
                c.delay_max_ms,
                c.delay_min_ms,
                60_000,
                "delay_min_ms to 60000",
            ),
            (
                "consensus.retention_ms",
                c.retention_ms,
                // An order may expire 2·TTL_max ahead, and its id is remembered TTL_max longer.
                3 * o.ttl_max_ms.min(86_400_000),
                u64::MAX,
                "at least three times order.ttl_max_ms",
            ),
            (
                "consensus.retention_max_ms",
                c.retention_max_ms,
                c.retention_ms,
                u64::MAX,
                "at least consensus.retention_ms",
            ),
            (
                "order.ttl_max_ms",
                o.ttl_max_ms,
                1_000,
                86_400_000,
                "1000 to 86400000",
            ),
            (
                "order.back_dating_max_ms",
                o.back_dating_max_ms,
                1,
                60_000,
                "1 to 60000",
            ),
            ("order.grace_ms", o.grace_ms, 1, 60_000, "1 to 60000"),
            (
                "order.key_grace_ms",
                o.key_grace_ms,
                1_000,
                86_400_000,
                "1000 to 86400000",
            ),
            (
                "order.decrypt_max",
                o.decrypt_max.into(),
                1,
                8_192,
                "1 to 8192",
            ),
            (
                "order.snapshot_interval",
                o.snapshot_interval.into(),
                1,
                1_000_000,
                "1 to 1000000",
            ),
        ];
        for (name, got, low, high, range) in ranges {
            if !(low..=high).contains(&got) {
                return Err(GenesisError::Range { name, got, range });
            }
        }
        Ok(committee)
    }

    /// What a client pins.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Domain::Genesis.hash_of(self)
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.start.map_or(Epoch(0), |start| start.epoch)
    }

    /// Whether combining is sharded: if it says so, or does not say and the committee is large
    /// enough. Suite 0x02 has no sharded combining.
    #[must_use]
    pub fn sharded(&self) -> bool {
        self.encryption.scheme == Scheme::Tdh2
            && match self.encryption.combining {
                Some(combining) => combining == Combining::Sharded,
                None => self.members.len() >= SHARDED_FROM,
            }
    }

    /// Last finalized time at which orders sealed to the key of the epoch before are opened, if
    /// this epoch has a fresh one.
    fn key_grace_end(&self) -> Millis {
        self.time.plus(self.order.key_grace_ms)
    }

    /// The key of the epoch before that is still opened with, and until when.
    #[must_use]
    pub fn former_key(&self) -> Option<(KeyId, Millis)> {
        let former = self.encryption.former.as_ref()?;
        Some((former.key_id, former.until))
    }

    /// The height it starts from: that of the last block before it.
    #[must_use]
    pub fn base(&self) -> Height {
        self.start.map_or(Height(0), |start| start.height)
    }

    /// Hash of the genesis of the first epoch.
    #[must_use]
    pub fn origin(&self) -> Digest {
        self.start.map_or_else(|| self.hash(), |start| start.origin)
    }

    /// The genesis of the epoch that follows this one with another committee and new sharings
    /// of the same keys; or with a fresh encryption key, and `former` as the new sharing of the
    /// one of this epoch.
    #[must_use]
    pub fn next(
        &self,
        next: &NextCommittee,
        start: EpochStart,
        time: Millis,
        (key_id, keys): (KeyId, &ActiveKeys),
        former: Option<(KeyId, &[u8])>,
    ) -> Self {
        let until = time.plus(self.order.key_grace_ms);
        Self {
            time,
            start: Some(start),
            members: next.members.iter().map(|member| member.identity).collect(),
            encryption: EncryptionParams {
                scheme: self.encryption.scheme,
                source: KeySource::Reshared,
                key_id: Some(key_id),
                public_key: keys.encryption.clone(),
                receivers: next.members.iter().map(|member| member.receiver).collect(),
                combining: self.encryption.combining,
                former: former.map(|(key_id, public_key)| FormerKey {
                    key_id,
                    public_key: public_key.to_vec(),
                    until,
                }),
            },
            certificates: self.certificates.as_ref().map(|params| CertificateParams {
                source: KeySource::Reshared,
                public_key: keys.certificate.clone(),
                ..params.clone()
            }),
            ..self.clone()
        }
    }
}

//! The genesis file: committee, keys and every consensus parameter. Its hash is what a
//! client pins; addresses are in each node's own configuration.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::key_params::attest_interval_ms;
use crate::{
    ActiveKeys, CertificateParams, ChainId, Combining, Committee, CommitteeError, ConsensusParams,
    Digest, Domain, EncryptionParams, Epoch, EpochStart, FormerKey, Height, KeyId, KeySource,
    LaneParams, Millis, NextCommittee, OrderParams, OrderRule, PublicKey, SHARDED_FROM, Scheme,
    TieSource,
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
        if self.order.rule == OrderRule::Shuffle
            && self.order.tie != TieSource::Beacon
            && !self.experiment
        {
            return Err(GenesisError::NeedsExperiment(
                "order.rule = shuffle without order.tie = beacon",
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

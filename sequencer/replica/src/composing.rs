//! A replica put together from its genesis and from what is on disk.

use std::collections::{BTreeMap, VecDeque};

use fairlane_consensus::{self as consensus, Core, RecordId};
use fairlane_mempool::fair::ReceiveOrder;
use fairlane_mempool::{self as mempool, Cut, Lanes};
use fairlane_types::{GenesisError, Height, MemberId};

use crate::attest_schedule::AttestSchedule;
use crate::attesting::Attesting;
use crate::beacons::Beacons;
use crate::capacity::Capacity;
use crate::ceremony::{Keyless, key_making};
use crate::combiners::Combiners;
use crate::envelope_checks::EnvelopeChecks;
use crate::epoch_change::EpochChange;
use crate::former_key::FormerKey;
use crate::openings::Openings;
use crate::payload::CutPayload;
use crate::pipeline::FinalQueue;
use crate::recovery::{RecoverError, Recovered};
use crate::replica::{Last, Replica, ReplicaConfig};
use crate::retention::Retention;
use crate::state_attesting::StateAttesting;
use crate::status::Counters;

/// Why a replica cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// The genesis file.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// What is on disk.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// This member, or its identity key, is not in the committee.
    #[error("the identity key is not that of member {0} in genesis")]
    Identity(MemberId),
    /// The ceremony that the genesis asks for cannot be held.
    #[error("encryption.receivers: {0}")]
    Ceremony(String),
    /// The stored state does not fit together.
    #[error("the stored state cannot be restored: {0}")]
    Restore(String),
}

impl Replica {
    /// A replica that goes on from what is on disk.
    ///
    /// # Errors
    /// [`ReplicaError`].
    pub fn new(config: ReplicaConfig, recovered: Recovered) -> Result<Self, ReplicaError> {
        let ReplicaConfig {
            genesis,
            me,
            identity,
            archive,
            planted,
        } = config;
        let committee = genesis.validate()?;
        if committee.key(me) != Some(&identity.public()) {
            return Err(ReplicaError::Identity(me));
        }
        let n = committee.n();
        let voting = recovered.voting;
        let restore = |error: &dyn core::fmt::Display| ReplicaError::Restore(error.to_string());
        let retention = Retention::new(&genesis.consensus, archive, me, n, &recovered);
        let mut order = recovered.order;
        order.plant(planted);
        let epoch = genesis.epoch();
        let genesis_block = consensus::genesis(
            genesis.chain,
            epoch,
            genesis.base(),
            genesis.start.map(|start| start.block).unwrap_or_default(),
            genesis.time,
            CutPayload::of(Cut::genesis(n)),
        );
        let tip = recovered.blocks.last().unwrap_or(&genesis_block).clone();
        let base = match &recovered.snapshot {
            Some(_) => recovered.blocks.first().unwrap_or(&genesis_block).clone(),
            None => genesis_block,
        };
        let core = Core::restore(
            consensus::Config {
                chain: genesis.chain,
                epoch,
                committee: committee.clone(),
                me: Some(me),
                voting,
                params: (&genesis.consensus).into(),
                clean_votes: false,
                planted,
            },
            consensus::Recovered {
                tip,
                records: recovered.records,
            },
        )
        .map_err(|error| restore(&error))?;
        let ends = recovered.blocks.iter().find(|block| block.payload.ends());
        let boundary = ends.map(|block| block.header.height);
        let mut key = recovered.key;
        let changes = std::mem::take(&mut key.changes);
        // Dealings above a change are for the next key.
        let change = changes.first().map_or(Height(u64::MAX), |c| c.height);
        let first_late = key.dealings.partition_point(|d| d.height <= change);
        let late = key.dealings.split_off(first_late);
        let time = recovered.emitted.as_ref().map_or(genesis.time, |b| b.time);
        let emitted = recovered
            .emitted
            .as_ref()
            .map_or(genesis.base(), |b| b.height);
        let former = genesis.former_key();
        let former = former.map(|(_, until)| FormerKey::new(until, emitted, time));
        let held = former.as_ref().is_some_and(FormerKey::is_live);
        let used = std::mem::take(&mut key.used);
        let mut ending = EpochChange::new(changes, late, boundary, used, held);
        if boundary.is_some() && boundary == recovered.snapshot {
            ending.remember(order.memory());
        }
        let ceremony = key_making(&genesis, committee.quorum(), key)?;
        let lanes = Lanes::restore(
            mempool::Config {
                me,
                chain: genesis.chain,
                epoch,
                committee: committee.clone(),
                lanes: genesis.lanes.clone(),
                ttl_max: fairlane_types::Millis(genesis.order.ttl_max_ms),
                genesis_time: genesis.time,
                keys: Self::first_keys(&genesis, ceremony.as_ref()),
                former: genesis.former_key(),
                suite: genesis.encryption.scheme.suite(),
                ciphertext_lens: fairlane_encryption::ciphertext_lens(genesis.encryption.scheme),
                quota: mempool::Quota::default(),
                observer: !voting,
                planted,
            },
            recovered.lanes,
        );
        let last = recovered.emitted.as_ref().map_or(
            Last {
                height: genesis.base(),
                root: genesis.start.map(|start| start.root).unwrap_or_default(),
                next: genesis
                    .start
                    .map(|start| start.position)
                    .unwrap_or_default(),
            },
            |block| Last {
                height: block.height,
                root: block.root,
                next: block.next_position(),
            },
        );
        let heights = (genesis.base(), last.height);
        let seed = (epoch, &genesis.hash());
        let combiners = Combiners::of_epoch(me, n, seed, heights, genesis.sharded());
        let interval = genesis.certificates.as_ref();
        let interval = interval.map(|c| fairlane_types::Millis(c.attest_interval_ms));
        let threshold = committee.threshold();
        let beacons = Beacons::new(n, threshold, last.height);
        let openings = Openings::new(me, threshold, last.height, planted);
        let height = base.header.height;
        let above = recovered
            .blocks
            .into_iter()
            .filter(|b| b.header.height > height)
            .collect();
        let finals = FinalQueue::restored(base, above, recovered.replayed);
        let capacity = Capacity::new(genesis.encryption.scheme);
        Ok(Self {
            genesis,
            committee,
            me,
            identity,
            voting,
            planted,
            core,
            lanes,
            order,
            receive_order: ReceiveOrder::new(n, me),
            openings,
            finals,
            envelope_checks: EnvelopeChecks::default(),
            parsed: BTreeMap::new(),
            reparsing: false,
            checks: BTreeMap::new(),
            ready: Vec::new(),
            advancing: false,
            backlog: false,
            proposable: false,
            recorded: RecordId::DURABLE,
            says: BTreeMap::new(),
            last,
            capacity,
            retention,
            combiners,
            attest_schedule: AttestSchedule::new(interval, time),
            attesting: Attesting::new(me, n, threshold),
            beacons,
            states: StateAttesting::new(me, n, threshold),
            ceremony,
            keyless: Keyless::default(),
            ending,
            former,
            recent: BTreeMap::new(),
            recent_order: VecDeque::new(),
            work: VecDeque::new(),
            core_outputs: Vec::new(),
            lane_outputs: Vec::new(),
            next_id: 0,
            writes: BTreeMap::new(),
            jobs: BTreeMap::new(),
            loads: BTreeMap::new(),
            payload_loads: BTreeMap::new(),
            shares_timer: false,
            convicted: BTreeMap::new(),
            counters: Counters::default(),
        })
    }
}

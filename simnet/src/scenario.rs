//! What to run, and what came of it.

use std::sync::Arc;

use fairlane_encryption::{
    Ceremony, CertificateKeys, ReceiverSecret, deal_pairing_insecure, deal_suite_insecure,
};
use fairlane_replica::{CeremonyKeys, CryptoContext, Sharing};
use fairlane_types::{
    CertificateParams, ChainId, Combining, EncryptionParams, Epoch, Genesis, KeySource, MemberId,
    Micros, Millis, OrderParams, OrderRule, ReceiverBytes, Scheme, TieSource,
};

use crate::byz;
use crate::check::Violation;
use crate::crypto::{Crypto, Sealing, Tier};
use crate::engine::{Nanos, Owner, Purpose, Stream};
use crate::faults::{Appetite, Plan, generate, generate_long};
use crate::marks::Marks;
use crate::net::Placement;
use crate::research::{Lab, Recorder};
use crate::world::World;

/// Reading of a true clock at the start of every run.
pub const START: Millis = Millis(1_800_000_000_000);

/// One in so many seeds has certificates: making them is most of what such a run costs.
const ATTESTED_SEEDS: u64 = 8;
/// In one of so many seeds, each with certificates, the beacon breaks ties.
const BEACON_SEEDS: u64 = 16;
/// Which one.
const BEACON_AT: u64 = 8;
/// In one of so many seeds the members make the encryption key.
const CEREMONY_SEEDS: u64 = 16;
/// Which one; another than those with certificates.
const CEREMONY_AT: u64 = 5;
/// Of so many seeds the first [`SHARDED_AT`] combine in shards.
const SHARDED_SEEDS: u64 = 5;
/// That many.
const SHARDED_AT: u64 = 2;
/// How long emitted blocks are kept where they are pruned soon: three times the least TTL_max.
const BRISK_RETENTION_MS: u64 = 3_000;
/// Finalized time between two attestations there, ms.
const ATTEST_MS: u64 = 400;
/// Virtual time after healing in which all must be well again, if nothing else is said, ms.
pub(crate) const PATIENCE_MS: u64 = 120_000;

/// Which faults a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Nothing goes wrong.
    Calm,
    /// Crashes and restarts only.
    Crash,
    /// Everything but misbehaving members.
    Faults,
    /// Everything, and up to f members misbehave.
    Swarm,
    /// Nothing but misbehaving members, exactly f of them.
    Liars,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Calm,
        Self::Crash,
        Self::Faults,
        Self::Swarm,
        Self::Liars,
    ];

    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Crash => "crash",
            Self::Faults => "faults",
            Self::Swarm => "swarm",
            Self::Liars => "liars",
        }
    }

    /// The profile of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }
}

/// A bug planted in the shell, to show that the checkers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Members that count as honest release shares with their votes.
    SharesBeforeFinal,
    /// `Stored` is reported before anything is stored.
    SendBeforeStored,
    /// A restart finds no safety record.
    SafetyForgotten,
    /// All but one of the members sign a false state.
    FalseStates,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Members.
    pub n: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Orders that traders send.
    pub orders: usize,
    /// Virtual time after healing in which all must be well again, ms.
    pub patience_ms: u64,
    /// Which faults.
    pub profile: Profile,
    /// A given plan instead of a generated one.
    pub plan: Option<Plan>,
    /// Misbehaving members by name, instead of generated ones.
    pub liars: Option<Vec<(usize, &'static str)>>,
    /// The order rule, instead of what the seed draws.
    pub rule: Option<OrderRule>,
    /// Whether the members make the key, instead of what the seed says; never where
    /// cryptography is ideal.
    pub ceremony: Option<bool>,
    /// A planted bug.
    pub planted: Option<Planted>,
    /// The rule that every honest member breaks.
    pub mutant: fairlane_types::Planted,
    /// One-way delay of every link, always the same, instead of what the seed draws, ms.
    pub delay_ms: Option<u64>,
    /// A steady run: orders come over so long, ms, and the seed changes no parameter.
    pub steady_ms: Option<u64>,
    /// A long run: orders and faults come all along so many seconds of virtual time.
    pub seconds: Option<u64>,
    /// How often heads of lanes advance, instead of the default of a genesis, ms (L4).
    pub heads_ms: Option<u64>,
    /// How long a batch waits for more, instead of the default of a genesis, ms (M3).
    pub batches_ms: Option<u64>,
    /// Keeps a line for everything that members do.
    pub log: bool,
    /// Keeps only so many lines, the last ones; 0 keeps all.
    pub log_tail: usize,
    /// Real or ideal cryptography.
    pub tier: Tier,
    /// What ciphertexts are where cryptography is ideal.
    pub sealing: Sealing,
    /// Where members are; where it is `None` all links are alike, as the seed says.
    pub placement: Option<Arc<Placement>>,
    /// Everything that a scenario file says, instead of what the seed would decide.
    pub lab: Option<Arc<Lab>>,
}

impl Scenario {
    /// A run of the given size with everything else from the seed.
    #[must_use]
    pub const fn new(n: usize, seed: u64, orders: usize, profile: Profile) -> Self {
        Self {
            n,
            seed,
            orders,
            patience_ms: PATIENCE_MS,
            profile,
            plan: None,
            liars: None,
            rule: None,
            ceremony: None,
            planted: None,
            mutant: fairlane_types::Planted::NONE,
            delay_ms: None,
            steady_ms: None,
            seconds: None,
            heads_ms: None,
            batches_ms: None,
            log: false,
            log_tail: 0,
            tier: Tier::Real,
            sealing: Sealing::Ideal,
            placement: None,
            lab: None,
        }
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        World::new(self).run()
    }

    /// Runs it and hands out what was measured on the way, if it has a lab.
    #[must_use]
    pub fn observe(&self) -> (Report, Option<Recorder>) {
        World::new(self).observe()
    }

    /// The options of the seed.
    #[must_use]
    pub fn options(&self) -> Options {
        if let Some(lab) = &self.lab {
            return lab.options.clone();
        }
        let mut rng = Stream::new(self.seed, Owner::World, Purpose::Options);
        let span_ms = rng.between(150, 1_500);
        // Faults outlast the orders a little.
        let until_ms = span_ms + rng.between(100, 1_500);
        let (span_ms, until_ms) = match self.seconds {
            // The last tenth is for orders to come out.
            Some(seconds) => (seconds * 900, seconds * 1_000),
            None => (span_ms, until_ms),
        };
        let delay_ms = *rng.pick(&[1, 3, 8, 20, 40]).unwrap_or(&8);
        let loss_per_mille = if rng.chance(250) {
            rng.between(1, 20)
        } else {
            0
        };
        let small_window = rng.chance(300);
        let interval = rng.between(1, 64) as u32;
        let decrypt_max = if rng.chance(250) {
            rng.between(1, 6) as u32
        } else {
            2_000
        };
        let appetite = Appetite {
            n: self.n,
            until_ms,
        };
        let mut plan = match (&self.plan, self.profile) {
            (Some(plan), _) => plan.clone(),
            (None, Profile::Calm | Profile::Liars) => Plan::default(),
            (None, _) if self.seconds.is_some() => generate_long(self.seed, &appetite),
            (None, _) => generate(self.seed, &appetite),
        };
        if self.profile == Profile::Crash && self.plan.is_none() {
            plan.faults.retain(|timed| timed.fault.is_crash());
        }
        // Drawn even where they are given, so that all other draws stay the same.
        let drawn = match self.profile {
            Profile::Swarm => self.draw_liars(0, &mut rng),
            Profile::Liars => self.draw_liars((self.n - 1) / 3, &mut rng),
            _ => Vec::new(),
        };
        let mut liars = self.liars.clone().unwrap_or(drawn);
        let ceremony = self
            .ceremony
            .unwrap_or(self.seed % CEREMONY_SEEDS == CEREMONY_AT)
            && self.tier == Tier::Real;
        if ceremony
            && self.liars.is_none()
            && let Some((_, name)) = liars.first_mut()
        {
            *name = "false-dealer";
        }
        // A member without its disk begins at genesis, which must be there then. Orders come for
        // as long as something is kept, so that something is pruned.
        let brisk = rng.chance(300) && !plan.loses_disk();
        if let Some(span_ms) = self.steady_ms {
            let order = OrderParams::default();
            return Options {
                span_ms,
                delay_ms: self.delay_ms.unwrap_or(delay_ms),
                steady: self.delay_ms.is_some(),
                loss_per_mille: 0,
                small_window: false,
                brisk: false,
                snapshot_interval: order.snapshot_interval,
                rule: self.rule.unwrap_or(order.rule),
                decrypt_max: order.decrypt_max,
                attest_ms: None,
                combining: None,
                tie: TieSource::BlockId,
                ceremony: false,
                plan,
                liars,
            };
        }
        Options {
            span_ms: span_ms + u64::from(brisk) * BRISK_RETENTION_MS,
            delay_ms: self.delay_ms.unwrap_or(delay_ms),
            steady: self.delay_ms.is_some(),
            loss_per_mille,
            small_window,
            brisk,
            snapshot_interval: interval,
            rule: self.rule.unwrap_or_else(|| self.draw_rule()),
            // Who checks beacons knows the dealt key.
            tie: if ceremony {
                TieSource::BlockId
            } else {
                self.tie()
            },
            decrypt_max,
            attest_ms: self
                .seed
                .is_multiple_of(ATTESTED_SEEDS)
                .then_some(ATTEST_MS),
            combining: Some(match self.seed % SHARDED_SEEDS {
                0..SHARDED_AT => Combining::Sharded,
                _ => Combining::AllToAll,
            }),
            ceremony,
            plan,
            liars,
        }
    }

    /// What breaks ties: in some of the seeds with certificates the beacon.
    fn tie(&self) -> TieSource {
        let leaves_ties = self.rule.is_none_or(|rule| {
            matches!(
                rule,
                OrderRule::Strong | OrderRule::Arrival | OrderRule::Shuffle
            )
        });
        if leaves_ties && self.seed % BEACON_SEEDS == BEACON_AT {
            TieSource::Beacon
        } else {
            TieSource::BlockId
        }
    }

    /// Half of the seeds run under rule `strong`. From a stream of its own, so that all other
    /// draws stay the same.
    fn draw_rule(&self) -> OrderRule {
        let mut rng = Stream::new(self.seed, Owner::World, Purpose::Rule);
        if self.seed % BEACON_SEEDS == BEACON_AT {
            // Rule `majority` leaves no ties; `shuffle` leaves the most.
            return match rng.below(10) {
                0..3 => OrderRule::Strong,
                3..5 => OrderRule::Arrival,
                _ => OrderRule::Shuffle,
            };
        }
        match rng.below(10) {
            0..5 => OrderRule::Strong,
            5..8 => OrderRule::Arrival,
            8 => OrderRule::Majority,
            _ => OrderRule::Shuffle,
        }
    }

    /// At least `least` and at most f liars.
    fn draw_liars(&self, least: usize, rng: &mut Stream) -> Vec<(usize, &'static str)> {
        let f = (self.n as u64 - 1) / 3;
        let mut members: Vec<_> = (0..self.n).collect();
        rng.shuffle(&mut members);
        members.truncate(rng.between(least as u64, f) as usize);
        // Half of the seeds of a small committee have a liar, and most of a larger one's.
        let names = &byz::NAMES[..byz::DRAWN];
        members
            .into_iter()
            .filter_map(|member| rng.pick(names).map(|name| (member, *name)))
            .collect()
    }

    /// The command that runs this again: one line if everything follows from the seed,
    /// else a plan file is needed.
    #[must_use]
    pub fn replay(&self) -> String {
        if let Some(span_ms) = self.steady_ms {
            let (n, seed) = (self.n, self.seed);
            let pace = |name: &str, ms: Option<u64>| {
                ms.map_or_else(String::new, |ms| format!(" --{name} {ms}ms"))
            };
            let heads = pace("heads", self.heads_ms);
            let batches = pace("batches", self.batches_ms);
            return format!(
                "simnet speed --members {n} --seed 0x{seed:x} --span {span_ms}ms{heads}{batches}"
            );
        }
        if self.plan.is_some() || self.liars.is_some() || self.delay_ms.is_some() {
            return format!("simnet replay plan.toml (seed 0x{:x})", self.seed);
        }
        let rule = self.rule.map(|rule| format!(" --rule {}", rule.name()));
        let seconds = self
            .seconds
            .map_or_else(String::new, |seconds| format!(" --seconds {seconds}"));
        let tier = match self.tier {
            Tier::Real => "",
            Tier::Ideal => " --ideal",
        };
        format!(
            "simnet replay --members {} --seed 0x{:x} --orders {} --profile {}{}{seconds}{tier}",
            self.n,
            self.seed,
            self.orders,
            self.profile.name(),
            rule.unwrap_or_default()
        )
    }
}

/// What a seed decides before the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Orders are sent within this span.
    pub span_ms: u64,
    /// Median one-way delay between members.
    pub delay_ms: u64,
    /// Whether the delay is the same for every frame.
    pub steady: bool,
    /// Loss on every link from the start.
    pub loss_per_mille: u64,
    /// Lanes may run only four batches ahead of their final part.
    pub small_window: bool,
    /// Orders live for a second, and what all have emitted leaves the disks soon after.
    pub brisk: bool,
    /// Heights between two snapshots.
    pub snapshot_interval: u32,
    /// The order rule.
    pub rule: OrderRule,
    /// What breaks ties.
    pub tie: TieSource,
    /// D_max.
    pub decrypt_max: u32,
    /// Finalized time between two attestations; `None` on a chain without certificates.
    pub attest_ms: Option<u64>,
    /// Who combines, if it does not follow from the size of the committee.
    pub combining: Option<Combining>,
    /// The members make the keys; orders come once they are there.
    pub ceremony: bool,
    /// Faults.
    pub plan: Plan,
    /// Misbehaving members.
    pub liars: Vec<(usize, &'static str)>,
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events handled.
    pub events: u64,
    /// Virtual time, ms.
    pub virtual_ms: u64,
    /// From the last fault or order sent until all was well again, ms; 0 if it never was.
    pub recovery_ms: u64,
    /// Frames delivered.
    pub frames: u64,
    /// Bytes delivered.
    pub bytes: u64,
    /// Final heights.
    pub heights: u64,
    /// Orders in the sequence.
    pub items: u64,
    /// Orders acknowledged.
    pub acknowledged: u64,
    /// Faults that honest members reported about honest ones.
    pub honest_faults: u64,
}

/// Something that a member did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Nanos,
    /// Which member.
    pub node: usize,
    /// What.
    pub what: String,
}

impl core::fmt::Display for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {} {}", self.at, self.node, self.what)
    }
}

/// An order in the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Height of its block.
    pub height: u64,
    /// Number of the order in the run.
    pub trade: usize,
    /// How it came out.
    pub outcome: &'static str,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The line that runs it again.
    pub replay: String,
    /// What was broken; empty in a good run.
    pub violations: Vec<Violation>,
    /// Rare events.
    pub marks: Marks,
    /// Hash over the whole trace.
    pub trace_hash: u128,
    /// Root of the sequence at the end.
    pub root: [u8; 32],
    /// Every order in the sequence, in order.
    pub settled: Vec<Settled>,
    /// Of each of these, when t members had released their shares: it could be opened from
    /// then on. Only an oracle knows that; empty in tier L2.
    pub openable: Vec<Option<Nanos>>,
    /// Counts.
    pub stats: Stats,
    /// What honest members reported about honest ones, the first few.
    pub suspicious: Vec<String>,
    /// What members did, if it was asked for.
    pub log: Vec<Line>,
    /// How often each liar lied: member, behaviour, times.
    pub lies: Vec<(usize, &'static str, u64)>,
}

impl Report {
    /// Whether nothing was broken.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

impl core::fmt::Display for Report {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let verdict = if self.passed() { "pass" } else { "FAIL" };
        write!(
            f,
            "{verdict} {} trace={:032x} {:?}",
            self.replay, self.trace_hash, self.stats
        )?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

/// Genesis and keys of a run.
#[must_use]
pub fn committee(
    scenario: &Scenario,
    options: &Options,
    crypto: &Crypto,
) -> (Genesis, Vec<CryptoContext>) {
    let n = scenario.n;
    let mut rng = Stream::new(scenario.seed, Owner::World, Purpose::Keys);
    let identities: Vec<_> = (0..n).map(|_| crypto.signer(rng.bytes32())).collect();
    let (key, shares) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), n, &mut rng)
        .expect("invariant: a committee is small enough to deal to");
    let receivers: Vec<_> = match options.ceremony {
        true => (0..n)
            .map(|_| Arc::new(ReceiverSecret::generate(&mut rng)))
            .collect(),
        false => Vec::new(),
    };
    let mut genesis = Genesis {
        chain: ChainId(0x5151),
        time: START,
        experiment: true,
        start: None,
        members: identities
            .iter()
            .map(|identity| identity.public())
            .collect(),
        encryption: match options.ceremony {
            true => EncryptionParams::ceremony(
                Scheme::Tdh2,
                (receivers.iter())
                    .map(|secret| ReceiverBytes(*secret.key().bytes()))
                    .collect(),
            ),
            false => EncryptionParams::dealt(Scheme::Tdh2, key.id(), key.to_bytes()),
        },
        // Nobody in a run decodes the key: jobs have it at hand.
        certificates: options
            .attest_ms
            .map(|attest_interval_ms| CertificateParams {
                source: match options.ceremony {
                    true => KeySource::Ceremony,
                    false => KeySource::InsecureDealer,
                },
                public_key: Vec::new(),
                attest_interval_ms,
            }),
        lanes: Default::default(),
        consensus: Default::default(),
        order: OrderParams {
            rule: options.rule,
            tie: options.tie,
            snapshot_interval: options.snapshot_interval,
            decrypt_max: options.decrypt_max,
            ..Default::default()
        },
    };
    genesis.encryption.combining = options.combining;
    if options.small_window {
        genesis.lanes.window_batches = 4;
    }
    if let Some(heads_ms) = scenario.heads_ms {
        genesis.lanes.head_interval_ms = heads_ms;
    }
    if let Some(batches_ms) = scenario.batches_ms {
        genesis.lanes.batch_interval_ms = batches_ms;
    }
    if let Some(lab) = &scenario.lab {
        lab.protocol.apply(&mut genesis);
    }
    if options.brisk {
        genesis.order.ttl_max_ms = 1_000;
        genesis.consensus.retention_ms = BRISK_RETENTION_MS;
    }
    let committee = genesis
        .validate()
        .expect("invariant: the parameters are in range");
    let certificates = certificate_keys(options, crypto, n, &mut rng);
    let ceremony = Ceremony::of_genesis(&genesis)
        .expect("invariant: receivers have keys")
        .map(Arc::new);
    let key = Arc::new(key);
    let keys = identities
        .into_iter()
        .zip(shares)
        .enumerate()
        .map(|(index, (identity, share))| CryptoContext {
            chain: genesis.chain,
            epoch: Epoch(0),
            committee: committee.clone(),
            me: MemberId(index as u8),
            identity,
            sharing: match &ceremony {
                Some(_) => Arc::default(),
                None => {
                    let certificates = certificates.get(index).cloned();
                    Sharing::known(Arc::clone(&key), Arc::new(share), certificates)
                }
            },
            ceremony: ceremony.as_ref().map(|ceremony| CeremonyKeys {
                ceremony: Arc::clone(ceremony),
                receiver: Arc::clone(&receivers[index]),
            }),
        })
        .collect();
    (genesis, keys)
}

/// Shares of a certificate key, where cryptography is real and the chain has a dealt one.
fn certificate_keys(
    options: &Options,
    crypto: &Crypto,
    n: usize,
    rng: &mut Stream,
) -> Vec<CertificateKeys> {
    if options.attest_ms.is_none() || options.ceremony || !matches!(crypto, Crypto::Real) {
        return Vec::new();
    }
    let (key, secrets) = deal_pairing_insecure(Epoch(0), n, rng)
        .expect("invariant: a committee is small enough to deal to");
    let key = Arc::new(key);
    let keys = |secret| CertificateKeys {
        key: Arc::clone(&key),
        secret: Arc::new(secret),
    };
    secrets.into_iter().map(keys).collect()
}

/// [`START`] in microseconds.
#[must_use]
pub const fn start() -> Micros {
    Micros::from_millis(START.0)
}

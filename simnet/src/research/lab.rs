//! A point of a scenario and a seed, as the simulated world wants them.

use fairlane_encryption::SuiteKey;
use fairlane_types::{
    ChainId, Combining, ConsensusParams, EncryptionParams, Genesis, LaneParams, OrderParams,
    Scheme, SecretKey,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::meter::ProcessorNs;
use super::place::{Matrix, place};
use super::settings::{Entry, Settings};
use super::traffic::{Intent, Traffic, seal};
use crate::byz;
use crate::costs::CostTable;
use crate::cpu::CpuModel;
use crate::crypto::{Crypto, Tier};
use crate::engine::MILLISECOND;
use crate::faults::{Fault, Plan};
use crate::net::LinkModel;
use crate::scenario::{Options, START};
use crate::workload::Trade;

/// Genesis parameters of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Protocol {
    lanes: LaneParams,
    consensus: ConsensusParams,
    order: OrderParams,
}

fn attest_ms(settings: &Settings) -> Result<Option<u64>, String> {
    match settings.int("crypto.attest_ms") {
        0 => Ok(None),
        interval @ 10.. => Ok(Some(interval)),
        _ => Err("crypto.attest_ms: 0, or at least 10".to_owned()),
    }
}

impl Protocol {
    /// Puts them into a genesis.
    pub fn apply(&self, genesis: &mut Genesis) {
        genesis.lanes = self.lanes.clone();
        genesis.consensus = self.consensus.clone();
        genesis.order = self.order.clone();
    }

    fn from_settings(settings: &Settings, n: usize) -> Result<Self, String> {
        let protocol = Self {
            lanes: group(settings, "lanes", LaneParams::default())?,
            consensus: group(settings, "consensus", ConsensusParams::default())?,
            order: group(settings, "order", OrderParams::default())?,
        };
        // The ranges are the genesis' own; members and keys do not matter for them.
        let member = |i: usize| SecretKey::from_seed([i as u8 + 1; 32]).public();
        let mut genesis = Genesis {
            chain: ChainId(0),
            time: START,
            experiment: true,
            start: None,
            members: (0..n).map(member).collect(),
            encryption: EncryptionParams::dealt(Scheme::Tdh2, Default::default(), Vec::new()),
            certificates: None,
            lanes: Default::default(),
            consensus: Default::default(),
            order: Default::default(),
        };
        protocol.apply(&mut genesis);
        let fits = genesis.validate().map(|_| protocol);
        fits.map_err(|error| format!("protocol: {error}"))
    }
}

/// The parameters of a group with what the settings say instead.
fn group<T: Serialize + DeserializeOwned>(
    settings: &Settings,
    name: &str,
    defaults: T,
) -> Result<T, String> {
    let wrong = |error: serde_json::Error| format!("protocol.{name}: {error}");
    let mut fields = serde_json::to_value(defaults).map_err(wrong)?;
    let prefix = format!("protocol.{name}.");
    for (path, value) in settings.iter() {
        if let Some(field) = path.strip_prefix(&prefix) {
            fields[field] = value.to_json();
        }
    }
    serde_json::from_value(fields).map_err(wrong)
}

/// Everything that a run is made of, besides its seed.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Members.
    pub n: usize,
    /// What the seed would decide otherwise.
    pub options: Options,
    /// Genesis parameters.
    pub protocol: Protocol,
    /// Cores and costs.
    pub cpu: CpuModel,
    /// The latency matrix.
    pub matrix: Matrix,
    /// Region per member.
    pub regions: Vec<usize>,
    /// What is sent.
    pub intents: Vec<Intent>,
    /// Longest virtual time after the last order and fault, ms.
    pub patience_ms: u64,
    /// Reads the processor time of the thread, where jobs and steps are to be measured.
    pub processor_ns: Option<ProcessorNs>,
    /// Whether spans and instants are kept for a trace.
    pub trace: bool,
    links: Vec<LinkModel>,
    settings: Settings,
    seed: u64,
}

/// Loads a matrix by the name that a scenario gives it.
pub type Matrices<'a> = dyn Fn(&str) -> Result<Matrix, String> + Sync + 'a;

impl Lab {
    /// Of a point and a seed.
    ///
    /// # Errors
    /// What the settings ask for and cannot be, in words.
    pub fn new(settings: &Settings, seed: u64, matrices: &Matrices<'_>) -> Result<Self, String> {
        let n = members(settings)?;
        let matrix = match settings.text("net.matrix") {
            "uniform" => Matrix::uniform(settings.span_ns("net.delay").max(1)),
            name => matrices(name)?,
        };
        let regions = place(&matrix, &settings.texts("committee.placement"), n)
            .map_err(|what| format!("committee.placement: {what}"))?;
        let jitter = settings.float("net.jitter");
        let bytes_per_s = settings.int("net.bandwidth_mbit").saturating_mul(125_000);
        let loss_per_mille = settings.int("net.loss_per_mille");
        let links = (0..n * n)
            .map(|pair| LinkModel {
                loss_per_mille,
                bytes_per_s,
                ..matrix.link(regions[pair / n], regions[pair % n], jitter)
            })
            .collect();
        let intents = Traffic::new(settings, &matrix, &regions, seed)?.intents()?;
        if intents.is_empty() {
            return Err("workload: no order at this rate and duration".into());
        }
        let protocol = Protocol::from_settings(settings, n)?;
        let options = Options {
            span_ms: settings.span_ns("workload.duration") / MILLISECOND,
            delay_ms: settings.span_ns("net.delay") / MILLISECOND,
            loss_per_mille,
            steady: false,
            small_window: false,
            brisk: false,
            snapshot_interval: protocol.order.snapshot_interval,
            rule: protocol.order.rule,
            tie: protocol.order.tie,
            decrypt_max: protocol.order.decrypt_max,
            attest_ms: attest_ms(settings)?,
            combining: match settings.text("crypto.combining") {
                "sharded" => Some(Combining::Sharded),
                "all-to-all" => Some(Combining::AllToAll),
                _ => None,
            },
            ceremony: false,
            plan: plan(settings, &matrix, &regions)?,
            liars: liars(settings, n)?,
        };
        let mine = settings.members("attack.members");
        if let Some(member) = mine.iter().find(|member| **member >= n) {
            return Err(format!("attack.members: there is no member {member}"));
        }
        Ok(Self {
            n,
            options,
            protocol,
            cpu: cpu(settings)?,
            processor_ns: None,
            matrix,
            regions,
            intents,
            patience_ms: settings.span_ns("run.patience") / MILLISECOND,
            trace: settings.bool("report.trace") || settings.bool("report.events"),
            links,
            settings: settings.clone(),
            seed,
        })
    }

    /// The link between two members.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> LinkModel {
        self.links[from * self.n + to]
    }

    /// The orders, sealed to the committee's key.
    #[must_use]
    pub fn trades(&self, chain: ChainId, key: &SuiteKey, crypto: &mut Crypto) -> Vec<Trade> {
        seal(&self.intents, &self.settings, self.seed, chain, key, crypto)
    }

    /// The cryptography.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match self.settings.text("crypto.tier") {
            "ideal" => Tier::Ideal,
            _ => Tier::Real,
        }
    }

    /// The name of a region.
    #[must_use]
    pub fn region_name(&self, region: usize) -> &str {
        self.matrix.regions.get(region).map_or("", String::as_str)
    }
}

/// The size of the committee.
fn members(settings: &Settings) -> Result<usize, String> {
    let n = settings.int("committee.n") as usize;
    let Some(f) = settings.get("committee.f").and_then(|f| f.as_f64()) else {
        return Ok(n);
    };
    let f = f as usize;
    if (n - 1) / 3 == f {
        return Ok(n);
    }
    // n was left at its default.
    if n == 4 {
        return Ok(3 * f + 1);
    }
    Err(format!(
        "committee.f = {f} does not go with n = {n}: f is ⌊(n−1)/3⌋"
    ))
}

fn cpu(settings: &Settings) -> Result<CpuModel, String> {
    let name = settings.text("crypto.costs");
    let table = CostTable::named(name).map_err(|what| format!("crypto.costs: {what}"))?;
    let cores = settings.int("committee.cores") as usize;
    let pool = settings.int("cpu.pool") as usize;
    Ok(CpuModel {
        cores,
        pool: if pool == 0 { cores } else { pool },
        shared_cores: settings.int("cpu.shared_cores") as usize,
        name: name.to_owned(),
        table: table.scaled(settings.float("crypto.cost_factor")),
    })
}

fn liars(settings: &Settings, n: usize) -> Result<Vec<(usize, &'static str)>, String> {
    let mut liars: Vec<(usize, &'static str)> = Vec::new();
    for entry in &settings.byzantine {
        let line = entry.line;
        let name = entry.text("behaviour");
        let name = byz::NAMES[..byz::DRAWN]
            .iter()
            .copied()
            .find(|known| Some(*known) == name);
        let name = name.ok_or_else(|| format!("[[byzantine]] in line {line}: no behaviour"))?;
        let free = |member: &usize| liars.iter().all(|(liar, _)| liar != member);
        let member = match entry.int("member") {
            Some(member) => usize::try_from(member).unwrap_or(n),
            None => (0..n).rev().find(free).unwrap_or(n),
        };
        if member >= n || !free(&member) {
            let what = "there is no such member, or it misbehaves already";
            return Err(format!("[[byzantine]] in line {line}: {what}"));
        }
        liars.push((member, name));
    }
    Ok(liars)
}

/// The faults as a plan; what has an end gets its counterpart then.
fn plan(settings: &Settings, matrix: &Matrix, regions: &[usize]) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for entry in &settings.faults {
        let wrong = |what: String| format!("[[fault]] in line {}: {what}", entry.line);
        let kind = entry.text("kind").ok_or_else(|| wrong("no kind".into()))?;
        let at = entry
            .span_ns("at")
            .ok_or_else(|| wrong("no time `at`".into()))?
            / MILLISECOND;
        let Begun { faults, end } = begun(kind, entry, matrix, regions).map_err(wrong)?;
        for fault in faults {
            plan.push(at, fault);
        }
        if let Some(until) = entry.span_ns("until") {
            if end.is_empty() {
                return Err(wrong(format!("`{kind}` has no end")));
            }
            let until = until / MILLISECOND;
            if until <= at {
                return Err(wrong("it ends before it begins".into()));
            }
            for fault in end {
                plan.push(until, fault);
            }
        }
    }
    Ok(plan.sorted())
}

/// What an entry means, and what ends it.
struct Begun {
    faults: Vec<Fault>,
    end: Vec<Fault>,
}

fn begun(kind: &str, entry: &Entry, matrix: &Matrix, regions: &[usize]) -> Result<Begun, String> {
    let n = regions.len();
    let number = |name: &str| {
        let int = entry
            .int(name)
            .ok_or_else(|| format!("`{kind}` needs `{name}`"))?;
        u64::try_from(int).map_err(|_| format!("`{name}` must not be negative"))
    };
    let member = |name: &str| match number(name)? as usize {
        member if member < n => Ok(member),
        member => Err(format!("there is no member {member}: there are {n}")),
    };
    let of_region = || {
        let name = entry
            .text("region")
            .ok_or_else(|| format!("`{kind}` needs `region`"))?;
        let region = matrix.region(name)?;
        let there: Vec<_> = (0..n).filter(|member| regions[*member] == region).collect();
        if there.is_empty() {
            return Err(format!("no member is in {name}"));
        }
        Ok(there)
    };
    let ms = || {
        entry
            .int("ms")
            .ok_or_else(|| format!("`{kind}` needs `ms`"))
    };
    let one = |fault: Fault, end: Option<Fault>| Begun {
        faults: vec![fault],
        end: end.into_iter().collect(),
    };
    Ok(match kind {
        "crash" => {
            let member = member("member")?;
            one(Fault::Crash(member), Some(Fault::Restart(member)))
        }
        "crash_all" => one(Fault::CrashAll, Some(Fault::RestartAll)),
        "restart" => one(Fault::Restart(member("member")?), None),
        "restart_all" => one(Fault::RestartAll, None),
        "partition" => {
            let side = entry
                .members("members")
                .ok_or("`partition` needs `members`")?;
            if let Some(member) = side.iter().find(|member| **member >= n) {
                return Err(format!("there is no member {member}: there are {n}"));
            }
            one(Fault::Partition(side), Some(Fault::Heal))
        }
        "block" => one(
            Fault::Block(member("member")?, member("peer")?),
            Some(Fault::Heal),
        ),
        "heal" => one(Fault::Heal, None),
        "reset" => one(Fault::Reset(member("member")?, member("peer")?), None),
        "loss" => one(Fault::Loss(number("per_mille")?), Some(Fault::Heal)),
        "slow" => {
            let slow = Fault::Slow(member("member")?, number("factor")?);
            one(slow, Some(Fault::Heal))
        }
        "slow_disk" => {
            let member = member("member")?;
            let slow = Fault::SlowDisk(member, number("factor")?);
            one(slow, Some(Fault::SlowDisk(member, 1)))
        }
        "pause" => {
            let ms = u64::try_from(ms()?).map_err(|_| "`ms` must not be negative")?;
            one(Fault::Pause(member("member")?, ms), None)
        }
        "clock_step" => one(Fault::ClockStep(member("member")?, ms()?), None),
        "disk_budget" => one(Fault::DiskBudget(member("member")?, number("bytes")?), None),
        "lose_disk" => {
            let member = member("member")?;
            one(Fault::LoseDisk(member), Some(Fault::Restart(member)))
        }
        "rot" => one(Fault::Rot(member("member")?), None),
        "region_down" => {
            let there = of_region()?;
            Begun {
                faults: there.iter().map(|member| Fault::Crash(*member)).collect(),
                end: there.into_iter().map(Fault::Restart).collect(),
            }
        }
        "region_up" => Begun {
            faults: of_region()?.into_iter().map(Fault::Restart).collect(),
            end: Vec::new(),
        },
        "region_cut" => one(Fault::Partition(of_region()?), Some(Fault::Heal)),
        other => return Err(format!("there is no fault `{other}`")),
    })
}

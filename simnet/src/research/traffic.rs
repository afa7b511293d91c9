//! What traders and an attacker send in a run of a scenario: decided before it, from the
//! seed, and sealed when it starts.

use std::sync::Arc;

use fairlane_encryption::SuiteKey;
use fairlane_types::{
    ChainId, Envelope, LANE_NONE, Label, Millis, Order, OrderAction, SUITE_TDH2, Side, TimeInForce,
};

use super::arrivals::{Arrivals, ORDERS_MAX, Zipf};
use super::place::{Matrix, place};
use super::settings::Settings;
use super::value::span_ns;
use crate::crypto::Crypto;
use crate::engine::{Nanos, Owner, Purpose, Stream};
use crate::net::LogNormal;
use crate::scenario::START;
use crate::workload::{Kind, Trade};

/// Who sends an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A trader.
    Trader,
    /// A trader whose order is worth an attack.
    Victim,
    /// The attacker.
    Attacker,
    /// The sender that floods.
    Flood,
}

impl Role {
    /// Name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trader => "trader",
            Self::Victim => "victim",
            Self::Attacker => "attacker",
            Self::Flood => "flood",
        }
    }
}

/// An attacker's order that is sent once a member has opened the victim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// The member that tells.
    pub member: usize,
    /// Receivers, and how long after the opening each gets it, nanoseconds.
    pub sends: Vec<(usize, u64)>,
}

/// An order before it is sealed.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Who sends it.
    pub role: Role,
    /// Number of the sender.
    pub sender: usize,
    /// Region of the sender.
    pub region: usize,
    /// When it is sent.
    pub sent: Nanos,
    /// Buy, sell, or a cancel.
    pub side: Option<Side>,
    /// What is sealed.
    pub payload: Vec<u8>,
    /// Receivers, and when each gets it; nearest first.
    pub sends: Vec<(usize, Nanos)>,
    /// The f+1 members nearest to the sender, the nearest first, and how much longer than
    /// to that one the way to each is, nanoseconds.
    pub near: Vec<(usize, u64)>,
    /// The order that it runs in front of.
    pub victim: Option<usize>,
    /// What sets it off, if not the clock.
    pub reaction: Option<Reaction>,
}

/// When an attacker acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Off,
    Gap,
    Arrival,
    Opening,
}

/// Places and habits of everybody who sends.
#[derive(Debug)]
pub struct Traffic<'a> {
    settings: &'a Settings,
    matrix: &'a Matrix,
    /// Region per member.
    members: &'a [usize],
    seed: u64,
    jitter: f64,
    access_ns: u64,
    fan_out: usize,
    tick_ns: u64,
    paths_ns: Vec<u64>,
    near: usize,
}

impl<'a> Traffic<'a> {
    /// Of a point of a scenario.
    ///
    /// # Errors
    /// Which path is no span.
    pub fn new(
        settings: &'a Settings,
        matrix: &'a Matrix,
        members: &'a [usize],
        seed: u64,
    ) -> Result<Self, String> {
        let n = members.len();
        let f = (n - 1) / 3;
        let fan_out = match settings.text("workload.fan_out") {
            "all" => n,
            "quorum" => n - f,
            "f+1" => f + 1,
            _ => settings.int("workload.fan_out") as usize,
        };
        Ok(Self {
            settings,
            matrix,
            members,
            seed,
            jitter: settings.float("net.jitter"),
            access_ns: settings.span_ns("workload.access"),
            fan_out: fan_out.clamp(1, n),
            tick_ns: settings.span_ns("workload.tick"),
            paths_ns: settings
                .texts("workload.paths")
                .into_iter()
                .map(|path| span_ns(path).ok_or_else(|| format!("workload.paths: {path}")))
                .collect::<Result<_, _>>()?,
            near: f + 1,
        })
    }

    /// When an order that is due leaves: at the end of its tick.
    fn leaves(&self, due: Nanos) -> Nanos {
        match self.tick_ns {
            0 => due,
            tick => Nanos(due.0.div_ceil(tick) * tick),
        }
    }

    /// Every order of the run.
    ///
    /// # Errors
    /// What the scenario asks for and cannot be, in words.
    pub fn intents(&self) -> Result<Vec<Intent>, String> {
        let settings = self.settings;
        let senders = settings.int("workload.senders") as usize;
        let regions = match settings.texts("workload.traders").as_slice() {
            [] => (0..senders)
                .map(|i| self.members[i % self.members.len()])
                .collect(),
            list => place(self.matrix, list, senders)?,
        };
        let arrivals = match settings.text("workload.arrival") {
            "hawkes" => Arrivals::Hawkes {
                branching: settings.float("workload.branching"),
                decay_ns: settings.span_ns("workload.decay"),
            },
            "constant" => Arrivals::Constant,
            _ => Arrivals::Poisson,
        };
        let span_ns = settings.span_ns("workload.duration");
        let mut rng = Stream::new(self.seed, Owner::World, Purpose::Orders);
        let times = arrivals.times(&mut rng, settings.float("workload.rate"), span_ns);
        let mut rng = Stream::new(self.seed, Owner::World, Purpose::Access);
        let flood =
            Arrivals::Poisson.times(&mut rng, settings.float("workload.flood_rate"), span_ns);
        if times.len() + flood.len() > ORDERS_MAX / 2 {
            return Err(format!("more than {} orders", ORDERS_MAX / 2));
        }
        let start = settings.span_ns("workload.start");
        let markets = Zipf::new(
            settings.int("workload.markets"),
            settings.float("workload.zipf"),
        );
        let mut intents: Vec<Intent> = Vec::new();
        for at in times {
            let sent = Nanos(start + at);
            self.trader(&mut intents, sent, &regions, &markets);
        }
        for at in flood {
            let sent = Nanos(start + at);
            let region = regions.first().copied().unwrap_or(0);
            let index = intents.len();
            let mut rng = Stream::new(self.seed, Owner::Trader(index), Purpose::Orders);
            let intent = self.order(
                index,
                Role::Flood,
                senders,
                region,
                sent,
                &markets,
                &mut rng,
            );
            intents.push(intent);
        }
        Ok(intents)
    }

    /// A trader's order, and an attacker's if it is a victim.
    fn trader(&self, intents: &mut Vec<Intent>, sent: Nanos, regions: &[usize], markets: &Zipf) {
        let index = intents.len();
        // One stream per order: another number of orders leaves the others alone.
        let mut rng = Stream::new(self.seed, Owner::Trader(index), Purpose::Orders);
        let sender = rng.below(regions.len() as u64) as usize;
        let when = match self.settings.text("attack.when") {
            "gap" => When::Gap,
            "arrival" => When::Arrival,
            "opening" => When::Opening,
            _ => When::Off,
        };
        let share = (self.settings.float("attack.share") * 1e3) as u64;
        let victim = when != When::Off && rng.chance(share);
        let role = if victim { Role::Victim } else { Role::Trader };
        let intent = self.order(
            index,
            role,
            sender,
            regions[sender],
            sent,
            markets,
            &mut rng,
        );
        intents.push(intent);
        if victim && let Some(attack) = self.attack(index, &intents[index], when, &mut rng) {
            intents.push(attack);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn order(
        &self,
        index: usize,
        role: Role,
        sender: usize,
        region: usize,
        sent: Nanos,
        markets: &Zipf,
        rng: &mut Stream,
    ) -> Intent {
        let market = markets.draw(rng);
        let cancel = rng.chance((self.settings.float("workload.cancel_share") * 1e3) as u64);
        // A victim is worth something: it trades.
        let side = (!cancel || role == Role::Victim).then(|| draw_side(rng));
        let order = self.by_distance(region, rng);
        let (ways, leaves) = (self.ways(region, index, &order), self.leaves(sent));
        let turn = leaves.0.checked_div(self.tick_ns).unwrap_or(0) as usize;
        let path = |member: usize| match self.paths_ns.len() {
            0 => 0,
            paths => self.paths_ns[(member + turn) % paths],
        };
        let sends = ways
            .into_iter()
            .map(|(member, way)| (member, leaves.plus(way + path(member))));
        Intent {
            role,
            sender,
            region,
            sent,
            side,
            payload: self.payload(index, market, side, rng),
            sends: sends.collect(),
            near: self.near(region, &order),
            victim: None,
            reaction: None,
        }
    }

    /// The attacker's answer to a victim.
    fn attack(&self, victim: usize, of: &Intent, when: When, rng: &mut Stream) -> Option<Intent> {
        let index = victim + 1;
        let mine = self.settings.members("attack.members");
        let reaction = self.settings.span_ns("attack.reaction");
        let seen = of
            .sends
            .iter()
            .filter(|(member, _)| mine.contains(member))
            .min_by_key(|(_, at)| *at);
        let (region, sent, trigger) = match when {
            When::Off => return None,
            // From the same place: what is measured is the rule, not the way.
            When::Gap => {
                let gap = self.settings.span_ns("attack.gap");
                (of.region, of.sent.plus(gap), None)
            }
            When::Arrival => {
                let (member, at) = seen?;
                (self.members[*member], at.plus(reaction), None)
            }
            When::Opening => {
                let (member, _) = seen?;
                (self.members[*member], Nanos(0), Some(*member))
            }
        };
        let reads = self.settings.text("attack.reads") == "plaintext" || when == When::Opening;
        let side = if reads { of.side } else { Some(draw_side(rng)) };
        let order = self.by_distance(region, rng);
        let mut ways = self.ways(region, index, &order);
        if when != When::Gap {
            // It sits at its member: no way of its own to the network.
            for (_, way) in &mut ways {
                *way = way.saturating_sub(self.access_ns);
            }
        }
        let reaction = trigger.map(|member| Reaction {
            member,
            sends: ways.iter().map(|(to, way)| (*to, way + reaction)).collect(),
        });
        let sends = match &reaction {
            Some(_) => Vec::new(),
            None => ways
                .into_iter()
                .map(|(to, way)| (to, sent.plus(way)))
                .collect(),
        };
        Some(Intent {
            role: Role::Attacker,
            sender: usize::MAX,
            region,
            sent,
            side,
            payload: self.payload(index, 0, side, rng),
            sends,
            near: self.near(region, &order),
            victim: Some(victim),
            reaction,
        })
    }

    /// All members, nearest to a region first; those at the same distance take turns.
    fn by_distance(&self, region: usize, rng: &mut Stream) -> Vec<usize> {
        let n = self.members.len();
        let turn = rng.below(n as u64) as usize;
        let mut order: Vec<_> = (0..n).map(|i| (i + turn) % n).collect();
        order.sort_by_key(|member| self.median_ns(region, *member));
        order
    }

    fn median_ns(&self, region: usize, member: usize) -> u64 {
        self.matrix.way_ns(region, self.members[member], 0.0).0
    }

    fn near(&self, region: usize, order: &[usize]) -> Vec<(usize, u64)> {
        let nearest = order
            .first()
            .map_or(0, |member| self.median_ns(region, *member));
        let extra = |member: &usize| (*member, self.median_ns(region, *member) - nearest);
        order.iter().take(self.near).map(extra).collect()
    }

    /// The members that get an order from a region, and the way to each.
    fn ways(&self, region: usize, index: usize, order: &[usize]) -> Vec<(usize, u64)> {
        let last_mile = LogNormal::from_quantiles(self.access_ns, self.access_ns * 3 / 2);
        let mut access = Stream::new(self.seed, Owner::Trader(index), Purpose::Access);
        // One draw for the trader's own line, one per way through the network.
        let line = last_mile.sample(&mut access);
        order
            .iter()
            .take(self.fan_out)
            .map(|&member| {
                let (p50, p90) = self
                    .matrix
                    .way_ns(region, self.members[member], self.jitter);
                let way = LogNormal::from_quantiles(p50, p90).sample(&mut access);
                (member, line + way)
            })
            .collect()
    }

    fn payload(&self, index: usize, market: u32, side: Option<Side>, rng: &mut Stream) -> Vec<u8> {
        let action = match side {
            Some(side) => OrderAction::Place {
                market,
                side,
                price_ticks: rng.between(90_000, 110_000),
                lots: rng.between(1, 500),
                tif: TimeInForce::Gtc,
                reduce_only: false,
                cloid: index as u64,
            },
            None => OrderAction::Cancel {
                market,
                cloid: rng.below(index as u64 + 1),
            },
        };
        let mut bytes = Order::new(action).to_bytes();
        let size = self.settings.int("workload.size") as usize;
        if bytes.len() < size {
            bytes.resize(size, 0);
        }
        bytes
    }
}

fn draw_side(rng: &mut Stream) -> Side {
    if rng.chance(500) {
        Side::Buy
    } else {
        Side::Sell
    }
}

/// Seals and signs what is intended.
#[must_use]
pub fn seal(
    intents: &[Intent],
    settings: &Settings,
    seed: u64,
    chain: ChainId,
    key: &SuiteKey,
    crypto: &mut Crypto,
) -> Vec<Trade> {
    let senders = settings.int("workload.senders") as usize;
    // The last two are the flood and the attacker.
    let keys: Vec<_> = (0..senders + 2)
        .map(|sender| {
            let mut stream = Stream::new(seed, Owner::Trader(sender), Purpose::Keys);
            let secret = stream.bytes32();
            (crypto.signer(secret), secret)
        })
        .collect();
    let life_ms = settings.span_ns("workload.life") / 1_000_000;
    let retry_ns = settings.span_ns("workload.retry");
    let mut trades = Vec::with_capacity(intents.len());
    for (index, intent) in intents.iter().enumerate() {
        let (signer, secret) = &keys[intent.sender.min(senders + 1)];
        let mut rng = Stream::new(seed, Owner::Trader(index), Purpose::Entropy);
        let nearest = intent.near.first();
        let label = Label {
            suite: SUITE_TDH2,
            chain,
            key_id: key.id(),
            sender: signer.public(),
            nonce: index as u64 + 1,
            expiry: Millis(START.0 + intent.sent.as_millis() + life_ms),
            fee: 0,
            lane: nearest
                .and_then(|(member, _)| u8::try_from(*member).ok())
                .unwrap_or(LANE_NONE),
            reserved: [0; 19],
        };
        let ciphertext = crypto.seal(key, &label, &intent.payload, secret, &mut rng);
        let envelope = Arc::new(Envelope::sign(label, ciphertext, signer));
        crypto.signed(&envelope);
        trades.push(Trade {
            index,
            kind: Kind::Plain,
            id: envelope.id(),
            envelope,
            payload: intent.payload.clone(),
            sends: intent.sends.clone(),
            patience_ns: retry_ns,
        });
    }
    trades
}

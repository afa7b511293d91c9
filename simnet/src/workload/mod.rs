//! What traders send: sealed with the real encryption, to subsets of the committee, with
//! unequal delays, sometimes again, and sometimes in bad faith.

mod malformed;

use std::sync::Arc;

use fairlane_encryption::SuiteKey;
use fairlane_types::{
    ChainId, CtId, Envelope, KeyId, LANE_NONE, Label, Millis, Order, OrderAction, PublicKey,
    SUITE_TDH2, Scheme, Side, Signer, TimeInForce,
};

use crate::crypto::Crypto;
use crate::engine::{MILLISECOND, Nanos, Owner, Purpose, Stream};
use crate::net::LogNormal;

pub use malformed::unopenable;

/// What is special about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// Shares account and nonce with the trader's order before it.
    SameNonce,
    /// Expires soon after it is sent: it may come out either way.
    ShortLived,
    /// A valid proof over a body that opens to nothing.
    Unopenable,
    /// A proof that fails: refused at the edge.
    BadProof,
    /// Sent to fewer than a quorum: echo must spread it.
    Narrow,
}

/// An order and how it is sent.
#[derive(Clone, Debug)]
pub struct Trade {
    /// Number in the run.
    pub index: usize,
    /// What is special about it.
    pub kind: Kind,
    /// The order's id.
    pub id: CtId,
    /// The order.
    pub envelope: Arc<Envelope>,
    /// What was sealed.
    pub payload: Vec<u8>,
    /// Members it is sent to first, and when it reaches each.
    pub sends: Vec<(usize, Nanos)>,
    /// If it is not in the sequence by then, and again after as long, it is sent again.
    pub patience_ns: u64,
}

/// What traders do in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Members.
    pub n: usize,
    /// Orders.
    pub orders: usize,
    /// The last one is sent about then, ms.
    pub span_ms: u64,
    /// Reading of a true clock at the start of the run.
    pub start: Millis,
    /// Median way from a trader to a member, ms.
    pub access_ms: u64,
    /// How long most orders live, ms.
    pub life_ms: u64,
}

/// The orders of a seed.
#[must_use]
pub fn trades(
    seed: u64,
    workload: &Workload,
    chain: ChainId,
    key: &SuiteKey,
    crypto: &mut Crypto,
) -> Vec<Trade> {
    let traders = workload.orders.div_ceil(8).clamp(2, 16);
    let keys: Vec<_> = (0..traders)
        .map(|trader| {
            let mut stream = Stream::new(seed, Owner::Trader(trader), Purpose::Keys);
            let secret = stream.bytes32();
            Trader {
                signer: crypto.signer(secret),
                secret,
            }
        })
        .collect();
    let mut trades: Vec<Trade> = Vec::with_capacity(workload.orders);
    let mut last: Vec<Option<Label>> = vec![None; traders];
    for index in 0..workload.orders {
        // One stream per order: another number of orders leaves the others alone.
        let mut rng = Stream::new(seed, Owner::Trader(index), Purpose::Orders);
        let trader = rng.below(traders as u64) as usize;
        let sent = Nanos::from_millis(5 + rng.below(workload.span_ms.max(1)));
        let kind = match rng.below(100) {
            0..=7 if last[trader].is_some() => Kind::SameNonce,
            8..=13 => Kind::ShortLived,
            // Made for one suite.
            14..=19 if key.scheme() == Scheme::Tdh2 => Kind::Unopenable,
            20..=22 => Kind::BadProof,
            23..=34 => Kind::Narrow,
            _ => Kind::Plain,
        };
        let label = label(
            kind,
            &mut rng,
            workload,
            sent,
            chain,
            key.id(),
            keys[trader].signer.public(),
        );
        let label = Label {
            suite: key.scheme().suite(),
            nonce: match (&last[trader], kind) {
                (Some(before), Kind::SameNonce) => before.nonce,
                _ => index as u64 + 1,
            },
            ..label
        };
        let payload = payload(index, &mut rng);
        let secret = &keys[trader].secret;
        let ciphertext = match kind {
            Kind::Unopenable => crypto.seal_nothing(key, &label, &mut rng),
            _ => crypto.seal(key, &label, &payload, secret, &mut rng),
        };
        last[trader] = Some(label.clone());
        let mut envelope = Envelope::sign(label, ciphertext, &keys[trader].signer);
        crypto.signed(&envelope);
        if kind == Kind::BadProof {
            envelope = spoilt(envelope, &keys[trader].signer);
        }
        let envelope = Arc::new(envelope);
        let sends = fan_out(seed, index, kind, workload, sent, &mut rng);
        trades.push(Trade {
            index,
            kind,
            id: envelope.id(),
            envelope,
            payload,
            sends,
            patience_ns: rng.between(400, 1_500) * MILLISECOND,
        });
    }
    trades
}

/// Whoever sends orders.
struct Trader {
    signer: Arc<dyn Signer>,
    secret: [u8; 32],
}

fn label(
    kind: Kind,
    rng: &mut Stream,
    workload: &Workload,
    sent: Nanos,
    chain: ChainId,
    key_id: KeyId,
    sender: PublicKey,
) -> Label {
    let life_ms = match kind {
        Kind::ShortLived => rng.between(5, 300),
        _ => workload.life_ms,
    };
    Label {
        suite: SUITE_TDH2,
        chain,
        key_id,
        sender,
        nonce: 0,
        expiry: Millis(workload.start.0 + sent.as_millis() + life_ms),
        fee: 0,
        lane: if rng.chance(500) {
            LANE_NONE
        } else {
            rng.below(workload.n as u64) as u8
        },
        reserved: [0; 19],
    }
}

fn payload(index: usize, rng: &mut Stream) -> Vec<u8> {
    Order::new(OrderAction::Place {
        market: rng.below(4) as u32,
        side: if rng.chance(500) {
            Side::Buy
        } else {
            Side::Sell
        },
        price_ticks: rng.between(90_000, 110_000),
        lots: rng.between(1, 500),
        tif: TimeInForce::Gtc,
        reduce_only: false,
        cloid: index as u64,
    })
    .to_bytes()
}

/// The same order with a proof that fails, well signed.
fn spoilt(envelope: Envelope, signer: &dyn Signer) -> Envelope {
    let Envelope {
        label,
        mut ciphertext,
        ..
    } = envelope;
    if let Some(last) = ciphertext.last_mut() {
        *last ^= 1;
    }
    Envelope::sign(label, ciphertext, signer)
}

/// Members that get the order, each after a delay of its own, so that lanes disagree.
fn fan_out(
    seed: u64,
    index: usize,
    kind: Kind,
    workload: &Workload,
    sent: Nanos,
    rng: &mut Stream,
) -> Vec<(usize, Nanos)> {
    let n = workload.n;
    let f = (n - 1) / 3;
    let mut members: Vec<_> = (0..n).collect();
    rng.shuffle(&mut members);
    members.truncate(match kind {
        Kind::Narrow => rng.between(1, f as u64 + 1) as usize,
        // Different members get the two orders of one nonce.
        Kind::SameNonce => n / 2,
        _ if rng.chance(700) => n,
        _ => rng.between(f as u64 + 1, n as u64) as usize,
    });
    let access_ns = workload.access_ms * MILLISECOND;
    let way = LogNormal::from_quantiles(access_ns, access_ns * 3);
    let mut access = Stream::new(seed, Owner::Trader(index), Purpose::Access);
    members
        .into_iter()
        .map(|member| (member, sent.plus(way.sample(&mut access))))
        .collect()
}

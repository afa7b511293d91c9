//! `fairlane submit`.

use std::time::{Duration, Instant};

use fairlane_client::wire::{OrderBody, OrderWord, ReceiptBody, Wait};
use fairlane_client::{
    ClientError, Committee, FanOut, Feed, Pin, SealOptions, Sealer, Start, check_receipt, dev,
    sample,
};
use fairlane_node::home::HomeError;
use fairlane_node::key_files::read_seed;
use fairlane_types::{Envelope, Height, Item, Millis, Order, SecretKey};
use rand_core::Rng;

use crate::args::SubmitArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::seed;
use crate::term::{Term, short};

/// Seals, submits, checks the receipt and waits.
pub async fn run(args: SubmitArgs, term: Term) -> Outcome {
    let order = order(&args)?;
    let secret = secret(&args)?;
    let committee = super::trust::committee(&args.trust, &args.to, term).await?;
    let pin = committee.pin();
    if args.trader.is_some() && !pin.genesis().experiment {
        return Err(
            Problem::preflight("anyone can derive a development trader's key")
                .next("use --key FILE on a chain that is no experiment"),
        );
    }
    let mut rng = seed::rng("submit")?;
    let options = SealOptions {
        nonce: args.nonce.unwrap_or_else(|| rng.next_u64()),
        expiry: Millis(seed::now_ms().saturating_add(args.ttl_s.saturating_mul(1_000))),
        lane: None,
    };
    let mut seal = |pin: &Pin| {
        let sealer = Sealer::new(pin, secret.clone());
        let sealed = sealer.seal(&order, options, &mut rng);
        sealed.map_err(Problem::usage)
    };
    let (start, mut envelope) = (Instant::now(), seal(pin)?);
    let note = |envelope: &Envelope| {
        let (id, bytes) = (envelope.id(), envelope.encoded_len());
        term.note(term.dim(&format!("sealed {id} ({bytes} bytes)")));
    };
    note(&envelope);
    let renewed;
    let (committee, receipt) = match send(&committee, &envelope, args.fan_out).await {
        // An epoch began meanwhile. The nonce stays, so that one of the two can come out.
        Err(error) if error.is_old_key() => {
            renewed = super::trust::committee(&args.trust, &args.to, term).await?;
            envelope = seal(renewed.pin())?;
            note(&envelope);
            (&renewed, send(&renewed, &envelope, args.fan_out).await?)
        }
        answer => (&committee, answer?),
    };
    let (id, pin) = (envelope.id(), committee.pin());
    let receipt_json = ReceiptBody::from(&receipt);
    if args.wait == Wait::Accepted {
        let value = serde_json::json!({ "receipt": receipt_json });
        term.result(&value, || {
            format!(
                "{} laned by member {} at seq {} · order {id}",
                term.green("✔"),
                receipt.lane,
                receipt.seq
            )
        });
        return Ok(());
    }
    // The same envelope again is the same order: the answer now waits. The member that
    // acknowledged it first knows it; with one address that is the one there is.
    let n = committee.members().len();
    let member = &committee.members()[receipt.lane.index() % n];
    let limit = Duration::from_millis(args.timeout_ms);
    let answer = member.submit_and_wait(&envelope, args.wait, limit).await?;
    check_receipt(pin, id, &answer.receipt.into())?;
    let ms = start.elapsed().as_secs_f64() * 1_000.0;
    let mut attested = false;
    if let Some(item) = answer.order.item.clone() {
        let item = Item::try_from(item)
            .map_err(|error| Problem::new(Exit::Verification, error.to_string()))?;
        fairlane_client::check_opening(pin, &item, &envelope)?;
        attested = place(committee, &answer.order, &item, limit).await?;
    }
    let value = serde_json::json!({
        "receipt": receipt_json, "order": answer.order, "attested": attested,
        "ms": crate::measure::round(ms),
    });
    let word = if attested {
        "attested"
    } else {
        "on a member's word"
    };
    term.result(&value, || {
        format!(
            "{} {} · height {} · position {} · {word} · {ms:.1} ms · order {}",
            term.green("✔"),
            answer.order.status.word(),
            answer.order.height.map_or("-".into(), |h| h.to_string()),
            answer.order.position.map_or("-".into(), |p| p.to_string()),
            short(id),
        )
    });
    match answer.order.status {
        OrderWord::Undecryptable | OrderWord::Expired | OrderWord::DuplicateNonce => {
            Err(Problem::failed(format!(
                "the order came out as {}",
                answer.order.status.word()
            )))
        }
        _ => Ok(()),
    }
}

/// Whether the item is where a member said in the sequence that the committee has attested; false on
/// a chain without attestations, and where none came in time.
async fn place(
    committee: &Committee,
    order: &OrderBody,
    item: &Item,
    limit: Duration,
) -> Outcome<bool> {
    let (Some(height), Some(_)) = (order.height, committee.pin().certificate_key()) else {
        return Ok(false);
    };
    let (pin, members) = (committee.pin().clone(), committee.members().to_vec());
    let mut feed = Feed::new(pin, members, Start::At(Height(height)))?;
    let Ok(block) = tokio::time::timeout(limit, feed.next_block()).await else {
        return Ok(false);
    };
    let place = item.position;
    match block?
        .items
        .into_iter()
        .find(|found| found.position == place)
    {
        Some(found) if found == *item && order.position == Some(place.0) => Ok(true),
        _ => Err(Problem::new(
            Exit::Verification,
            format!(
                "a member says that the order is at position {place} in height {height}; in the \
                 sequence that the committee attested it is not"
            ),
        )),
    }
}

/// Fan-out first; with none of them, whoever else takes it.
async fn send(
    committee: &Committee,
    envelope: &Envelope,
    fan_out: Option<u8>,
) -> Result<fairlane_types::Receipt, ClientError> {
    let n = committee.members().len();
    let id = envelope.id();
    let first = usize::from(id.as_bytes()[0]) % n.max(1);
    // What nearly all members hear first comes first.
    let count = fan_out.map_or(n, usize::from).min(n);
    if count > 1 {
        let plan = FanOut::around(first, count, n, &[]);
        // One of f+1 is honest; no member can hold up the others' receipts.
        let enough = plan
            .targets()
            .len()
            .min(committee.pin().committee().f() + 1);
        let mut last = None;
        for delivery in committee.submit_until(envelope, &plan, enough).await {
            match delivery.result {
                Ok(receipt) => return Ok(receipt),
                Err(error) => last = Some(error),
            }
        }
        if let Some(error) = last.filter(|error| !error.is_retryable()) {
            return Err(error);
        }
    }
    committee.submit_to_any(envelope, first).await?.result
}

fn order(args: &SubmitArgs) -> Outcome<Order> {
    if let Some(json) = &args.order {
        return sample::parse_order(json)
            .map_err(|error| Problem::usage(format!("the order: {error}")));
    }
    let Some(op) = &args.op else {
        return Err(Problem::usage("no order was given").next(
            "give it as JSON or with --op, --market, --side, --price-ticks, --lots, --cloid",
        ));
    };
    let mut order = serde_json::Map::new();
    let mut put = |key: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            order.insert(key.into(), value);
        }
    };
    put("op", Some(op.as_str().into()));
    put("market", args.market.map(Into::into));
    put("side", args.side.as_deref().map(Into::into));
    put("price_ticks", args.price_ticks.map(Into::into));
    put("lots", args.lots.map(Into::into));
    put("tif", args.tif.as_deref().map(Into::into));
    put("cloid", args.cloid.map(Into::into));
    put("reduce_only", args.reduce_only.then(|| true.into()));
    sample::parse_order(&serde_json::Value::from(order).to_string())
        .map_err(|error| Problem::usage(format!("the order: {error}")))
}

fn secret(args: &SubmitArgs) -> Outcome<SecretKey> {
    if let Some(name) = &args.trader {
        return Ok(dev::trader_key(name));
    }
    let Some(path) = &args.key else {
        return Err(Problem::usage("give --trader NAME or --key FILE"));
    };
    read_seed(path).map_err(|error| match error {
        HomeError::Missing(path) => Problem::preflight(format!("{} is missing", path.display())),
        error => error.into(),
    })
}

//! Sample orders: one JSON object a line, times relative to the start.

use fairlane_types::{Order, OrderAction, Side, TimeInForce};
use serde::{Deserialize, Serialize};

/// Longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 10;

/// A line as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at_ms: u64,
    trader: String,
    op: Op,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    market: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price_ticks: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lots: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tif: Option<TimeInForce>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reduce_only: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cloid: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fan_out: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Place,
    Cancel,
    CancelAll,
}

/// A sample order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When to submit it, ms after the start.
    pub at_ms: u64,
    /// Name of the development trader.
    pub trader: String,
    /// The order.
    pub order: Order,
    /// Members it is sent to; all of them if none.
    pub fan_out: Option<u8>,
}

/// A line that is no sample order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SampleError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Line {
    fn order(&self) -> Result<Order, String> {
        fn need<T: Copy>(value: Option<T>, key: &str, op: &str) -> Result<T, String> {
            value.ok_or_else(|| format!("{op} needs {key}"))
        }
        let refuse = |given: bool, key: &str, op: &str| {
            if given {
                Err(format!("{op} has no {key}"))
            } else {
                Ok(())
            }
        };
        let no_place_keys = |op: &str| {
            refuse(self.side.is_some(), "side", op)?;
            refuse(self.price_ticks.is_some(), "price_ticks", op)?;
            refuse(self.lots.is_some(), "lots", op)?;
            refuse(self.tif.is_some(), "tif", op)?;
            refuse(self.reduce_only.is_some(), "reduce_only", op)
        };
        let action = match self.op {
            Op::Place => OrderAction::Place {
                market: need(self.market, "market", "place")?,
                side: need(self.side, "side", "place")?,
                price_ticks: need(self.price_ticks, "price_ticks", "place")?,
                lots: need(self.lots, "lots", "place")?,
                tif: self.tif.unwrap_or(TimeInForce::Gtc),
                reduce_only: self.reduce_only.unwrap_or(false),
                cloid: need(self.cloid, "cloid", "place")?,
            },
            Op::Cancel => {
                no_place_keys("cancel")?;
                OrderAction::Cancel {
                    market: need(self.market, "market", "cancel")?,
                    cloid: need(self.cloid, "cloid", "cancel")?,
                }
            }
            Op::CancelAll => {
                no_place_keys("cancel_all")?;
                refuse(self.cloid.is_some(), "cloid", "cancel_all")?;
                OrderAction::CancelAll {
                    market: self.market,
                }
            }
        };
        // The codec decides what is an order: a zero price or size is none.
        Order::from_bytes(&Order::new(action).to_bytes()).map_err(|error| error.to_string())
    }
}

/// Parses one order without `at_ms` and `trader`, as a user types it.
///
/// # Errors
/// What is wrong with it.
pub fn parse_order(json: &str) -> Result<Order, String> {
    let mut value: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(json).map_err(|error| error.to_string())?;
    for key in ["at_ms", "trader", "fan_out"] {
        if value.contains_key(key) {
            return Err(format!("{key} is not part of an order"));
        }
    }
    value.insert("at_ms".into(), 0.into());
    value.insert("trader".into(), "-".into());
    let line: Line = serde_json::from_value(value.into()).map_err(|error| error.to_string())?;
    line.order()
}

/// One order as JSON with the keys of a sample line.
#[must_use]
pub fn describe_order(order: &Order) -> serde_json::Value {
    match &order.action {
        OrderAction::Place {
            market,
            side,
            price_ticks,
            lots,
            tif,
            reduce_only,
            cloid,
        } => serde_json::json!({
            "op": "place", "market": market, "side": side, "price_ticks": price_ticks,
            "lots": lots, "tif": tif, "reduce_only": reduce_only, "cloid": cloid,
        }),
        OrderAction::Cancel { market, cloid } => {
            serde_json::json!({ "op": "cancel", "market": market, "cloid": cloid })
        }
        OrderAction::CancelAll { market } => {
            serde_json::json!({ "op": "cancel_all", "market": market })
        }
    }
}

/// Parses a file; blank lines are skipped, everything else must be right.
///
/// # Errors
/// The first line that is wrong.
pub fn parse(text: &str) -> Result<Vec<Sample>, SampleError> {
    let mut samples = Vec::new();
    let mut last_ms = 0;
    for (index, text) in text.lines().enumerate() {
        let wrong = |reason: String| SampleError {
            line: index + 1,
            reason,
        };
        if text.trim().is_empty() {
            continue;
        }
        if text.len() > LINE_BYTES_MAX {
            return Err(wrong(format!("over {LINE_BYTES_MAX} bytes")));
        }
        let line: Line = serde_json::from_str(text).map_err(|error| {
            // The position within the line is of use, its line number is not.
            let message = error.to_string();
            let end = message.rfind(" at line ").unwrap_or(message.len());
            wrong(format!("{} (column {})", &message[..end], error.column()))
        })?;
        if line.trader.is_empty() || line.trader.len() > 64 {
            return Err(wrong("trader is a name of 1 to 64 bytes".into()));
        }
        if line.fan_out == Some(0) {
            return Err(wrong("fan_out must not be 0".into()));
        }
        if line.at_ms < last_ms {
            return Err(wrong(format!(
                "at_ms {} goes back from {last_ms}",
                line.at_ms
            )));
        }
        last_ms = line.at_ms;
        let order = line.order().map_err(wrong)?;
        samples.push(Sample {
            at_ms: line.at_ms,
            trader: line.trader,
            order,
            fan_out: line.fan_out,
        });
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_parses() {
        let text = r#"{"at_ms":0,"trader":"alice","op":"place","market":1,"side":"buy","price_ticks":100,"lots":3,"tif":"post_only","cloid":7,"fan_out":2}

{"at_ms":5,"trader":"bob","op":"cancel","market":1,"cloid":7}
{"at_ms":5,"trader":"bob","op":"cancel_all"}"#;
        let samples = parse(text).unwrap();
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].fan_out, Some(2));
        assert_eq!(
            samples[2].order.action,
            OrderAction::CancelAll { market: None }
        );
        for sample in &samples {
            let mut json = describe_order(&sample.order);
            if json["market"].is_null() {
                json.as_object_mut().unwrap().remove("market");
            }
            assert_eq!(parse_order(&json.to_string()), Ok(sample.order.clone()));
        }
    }

    #[test]
    fn every_wrong_line_is_named_with_its_number() {
        let good = r#"{"at_ms":9,"trader":"a","op":"cancel_all"}"#;
        let cases = [
            (
                r#"{"at_ms":9,"trader":"a","op":"cancel_all","size":1}"#,
                "unknown field `size`",
            ),
            (
                r#"{"at_ms":9,"trader":"a","op":"replace"}"#,
                "unknown variant `replace`",
            ),
            (
                r#"{"at_ms":9,"trader":"a","op":"place","market":1}"#,
                "place needs side",
            ),
            (
                r#"{"at_ms":9,"trader":"a","op":"cancel","market":1}"#,
                "cancel needs cloid",
            ),
            (
                r#"{"at_ms":9,"trader":"a","op":"cancel_all","lots":1}"#,
                "cancel_all has no lots",
            ),
            (
                r#"{"at_ms":9,"trader":"","op":"cancel_all"}"#,
                "trader is a name",
            ),
            (r#"{"at_ms":8,"trader":"a","op":"cancel_all"}"#, "goes back"),
            (
                r#"{"at_ms":9,"trader":"a","op":"cancel_all","fan_out":0}"#,
                "fan_out",
            ),
            (
                r#"{"at_ms":9,"trader":"a","op":"place","market":1,"side":"buy","price_ticks":0,"lots":1,"cloid":1}"#,
                "must not be 0",
            ),
            ("{", "EOF"),
        ];
        for (bad, word) in cases {
            let error = parse(&format!("{good}\n{bad}\n{good}")).unwrap_err();
            assert_eq!(error.line, 2, "{error}");
            assert!(error.reason.contains(word), "{error} lacks {word}");
        }
    }
}

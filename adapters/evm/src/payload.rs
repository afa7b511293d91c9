//! What an engine says it built. It is passed back as it came; what matters here is read out
//! of it and compared with what was asked for.

use serde_json::Value;

/// An execution payload: the fields that are checked, and all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// Number of the EVM block.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// Hash of the one before.
    pub parent: [u8; 32],
    /// Seconds since 1970.
    pub timestamp: u64,
    /// What contracts see as randomness.
    pub randao: [u8; 32],
    /// Who gets the fees.
    pub fee_recipient: [u8; 20],
    /// Most gas.
    pub gas_limit: u64,
    /// Raw transactions.
    pub transactions: Vec<Vec<u8>>,
    /// As the engine wrote it.
    pub json: Value,
}

impl Payload {
    /// Reads an `executionPayload`.
    ///
    /// # Errors
    /// The name of the field that is missing or malformed.
    pub fn from_json(json: Value) -> Result<Self, &'static str> {
        let transactions = json.get("transactions").and_then(Value::as_array);
        let transactions = transactions.ok_or("transactions")?;
        let transactions: Option<_> = transactions.iter().map(bytes).collect();
        Ok(Self {
            number: number_of(&json, "blockNumber")?,
            hash: fixed_of(&json, "blockHash")?,
            parent: fixed_of(&json, "parentHash")?,
            timestamp: number_of(&json, "timestamp")?,
            randao: fixed_of(&json, "prevRandao")?,
            fee_recipient: fixed_of(&json, "feeRecipient")?,
            gas_limit: number_of(&json, "gasLimit")?,
            transactions: transactions.ok_or("transactions")?,
            json,
        })
    }
}

/// `0x` and digits.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

/// A field of N bytes.
pub(crate) fn fixed_of<const N: usize>(
    json: &Value,
    name: &'static str,
) -> Result<[u8; N], &'static str> {
    let found = json.get(name).and_then(bytes);
    found.and_then(|b| b.try_into().ok()).ok_or(name)
}

/// A field that is a quantity of at most 64 bits.
pub(crate) fn number_of(json: &Value, name: &'static str) -> Result<u64, &'static str> {
    let digits = json.get(name).and_then(Value::as_str);
    let digits = digits
        .and_then(|text| text.strip_prefix("0x"))
        .ok_or(name)?;
    // `from_str_radix` alone would take a sign.
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(name);
    }
    u64::from_str_radix(digits, 16).map_err(|_| name)
}

/// A quantity as the API writes it.
pub(crate) fn quantity(number: u64) -> Value {
    Value::String(format!("0x{number:x}"))
}

/// Bytes as the API writes them.
pub(crate) fn data(bytes: &[u8]) -> Value {
    Value::String(format!("0x{}", hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn valid() -> Value {
        json!({
            "blockNumber": "0x10", "blockHash": data(&[1; 32]), "parentHash": data(&[2; 32]),
            "timestamp": "0x64", "prevRandao": data(&[3; 32]), "feeRecipient": data(&[4; 20]),
            "gasLimit": "0x1c9c380", "transactions": ["0x02c0", "0x"], "extra": {"kept": true},
        })
    }

    #[test]
    fn it_reads_what_is_there_and_keeps_the_rest() {
        let payload = Payload::from_json(valid()).unwrap();
        assert_eq!((payload.number, payload.timestamp), (16, 100));
        assert_eq!(payload.transactions, [vec![2, 0xc0], vec![]]);
        assert_eq!(payload.json, valid());
        for (field, bad) in [
            ("blockNumber", json!("0x")),
            ("blockNumber", json!("0x+1")),
            ("blockNumber", json!("0x10000000000000000")),
            ("blockHash", json!("0x00")),
            ("timestamp", json!(100)),
            ("transactions", json!(["02"])),
            ("transactions", json!("0x02")),
            ("feeRecipient", Value::Null),
        ] {
            let mut json = valid();
            json[field] = bad;
            assert_eq!(Payload::from_json(json), Err(field));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_payload_or_an_error(
            at in 0usize..400, byte: u8, cut in 0usize..400, noise: Vec<u8>,
        ) {
            let mut text = valid().to_string().into_bytes();
            let at = at % text.len();
            text[at] = byte;
            let shorter = &text[..cut % text.len()];
            for bytes in [&text[..], shorter, &noise] {
                if let Ok(json) = serde_json::from_slice(bytes) {
                    let _ = Payload::from_json(json);
                }
            }
        }
    }
}

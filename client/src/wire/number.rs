//! Numbers and bytes in JSON bodies: a `u64` is a decimal string (a JavaScript number
//! would lose digits), bytes are hex.

/// A `u64` or a newtype around one as a decimal string.
pub mod dec {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the string.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads the string; refuses signs, blanks, leading zeros and numbers.
    ///
    /// # Errors
    /// The deserializer's, or that the text is not a decimal `u64`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        parse(&text)
            .ok_or_else(|| D::Error::custom(format!("expected a decimal string, not {text:?}")))
    }

    pub(crate) fn parse(text: &str) -> Option<u64> {
        let canonical = text == "0" || !text.starts_with(['0', '+', '-']);
        text.parse().ok().filter(|_| canonical)
    }
}

/// An optional `u64` as a decimal string.
pub mod dec_option {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the string or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the string or null.
    ///
    /// # Errors
    /// The deserializer's, or that the text is not a decimal `u64`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = <Option<std::borrow::Cow<'de, str>>>::deserialize(from)? else {
            return Ok(None);
        };
        super::dec::parse(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("expected a decimal string, not {text:?}")))
    }
}

pub(super) mod hex_option {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(bytes) => to.serialize_str(&hex::encode(bytes)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        <Option<std::borrow::Cow<'de, str>>>::deserialize(from)?
            .map(|text| hex::decode(&*text).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use fairlane_types::Root;

    use super::super::info::Head;

    #[test]
    fn numbers_are_strings_and_nothing_else() {
        for text in [
            "\"07\"",
            "\"+7\"",
            "\"-0\"",
            "7",
            "\"\"",
            "\" 7\"",
            "\"18446744073709551616\"",
        ] {
            let json = format!(
                "{{\"height\":{text},\"root\":\"{0}\",\"time_ms\":\"0\",\"next_position\":\"0\"}}",
                "0".repeat(64)
            );
            assert!(serde_json::from_str::<Head>(&json).is_err(), "{text}");
        }
        let head = Head {
            height: u64::MAX,
            root: Root::default(),
            time_ms: 0,
            next_position: 9,
        };
        let json = serde_json::to_string(&head).unwrap();
        assert!(json.contains("\"18446744073709551615\""));
        assert_eq!(serde_json::from_str::<Head>(&json).unwrap(), head);
    }
}

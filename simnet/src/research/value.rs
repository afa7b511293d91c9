//! Values of a scenario: what TOML can say, less tables and dates.

use toml::de::DeValue;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// From parsed TOML; `None` for tables, dates and numbers out of range.
    #[must_use]
    pub fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Some(match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(int) => {
                Self::Int(i64::from_str_radix(int.as_str(), int.radix()).ok()?)
            }
            DeValue::Float(float) => Self::Float(float.as_str().parse().ok()?),
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| Self::from_toml(item.get_ref()));
                Self::List(items.collect::<Option<_>>()?)
            }
            DeValue::Datetime(_) | DeValue::Table(_) => return None,
        })
    }

    /// From the text of one TOML value; a word that is none stands for itself.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        match DeValue::parse(text) {
            Ok(value) => Self::from_toml(value.get_ref()),
            Err(_) => Some(Self::Text(text.to_owned())),
        }
    }

    /// What kind of thing it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
        }
    }

    /// As a number.
    #[must_use]
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(*int as f64),
            Self::Float(float) => Some(*float),
            Self::Bool(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Without quotes, for tables and labels.
    #[must_use]
    pub fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::plain).collect();
                items.join(" ")
            }
            other => other.to_string(),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Int(int) => (*int).into(),
            Self::Float(float) => (*float).into(),
            Self::Bool(value) => (*value).into(),
            Self::Text(text) => text.clone().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
        }
    }
}

/// As TOML writes it.
impl core::fmt::Display for Value {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => write!(f, "{float:?}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A span of time such as `250us`, `15ms`, `2s` or `1.5m`, in nanoseconds.
#[must_use]
pub fn span_ns(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (digits, unit) = text.split_at(split);
    let scale = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        _ => return None,
    };
    let ns = digits.parse::<f64>().ok()? * scale;
    // Beyond a day nothing is simulated.
    (ns <= 86_400e9).then_some(ns as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!(span_ns("15ms"), Some(15_000_000));
        assert_eq!(span_ns("1.5s"), Some(1_500_000_000));
        assert_eq!(span_ns("250us"), Some(250_000));
        for bad in ["15", "", "ms", "1h", "1..5s", "-3s", "1e9s", "90000s"] {
            assert_eq!(span_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_read_back() {
        for text in ["12", "-4", "0.5", "true", "\"a b\"", "[1, 2]", "[\"x\"]"] {
            let value = Value::from_text(text).unwrap();
            assert_eq!(value.to_string(), text);
        }
        assert_eq!(
            Value::from_text("hawkes").unwrap(),
            Value::Text("hawkes".into())
        );
        assert_eq!(Value::from_text("{a=1}"), None);
    }
}

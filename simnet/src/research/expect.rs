//! Claims about the figures of a run: `p99_ms = "< 500"`, or
//! `attack_first = "> 0.5 when attack.reads = plaintext"`.

use super::metrics::METRICS;
use super::settings::Settings;
use super::value::Value;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Below.
    Less,
    /// At most.
    AtMost,
    /// Equal.
    Equal,
    /// At least.
    AtLeast,
    /// Above.
    Greater,
}

impl Comparison {
    const ALL: [(&'static str, Self); 5] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::Greater),
        ("=", Self::Equal),
    ];

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Equal => (left - right).abs() < 1e-9,
            Self::AtLeast => left >= right,
            Self::Greater => left > right,
        }
    }
}

/// A claim about every run, or about those with a parameter of some value.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The metric.
    pub metric: &'static str,
    comparison: Comparison,
    limit: f64,
    when: Option<(String, Value)>,
}

impl Claim {
    /// Reads a claim about a metric.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(metric: &str, text: &str) -> Result<Self, String> {
        let known = METRICS.iter().find(|(name, _)| *name == metric);
        let (metric, _) = known.ok_or_else(|| format!("there is no metric `{metric}`"))?;
        let (claim, when) = match text.split_once(" when ") {
            Some((claim, when)) => (claim, Some(when)),
            None => (text, None),
        };
        let claim = claim.trim();
        let (sign, comparison) = Comparison::ALL
            .into_iter()
            .find(|(sign, _)| claim.starts_with(sign))
            .ok_or_else(|| format!("{text:?} does not begin with <, <=, =, >= or >"))?;
        let number = claim.strip_prefix(sign).unwrap_or("").trim();
        let limit = match number.parse::<f64>() {
            Ok(limit) if limit.is_finite() => limit,
            _ => return Err(format!("{number:?} is not a number")),
        };
        let when = match when {
            None => None,
            Some(when) => {
                let (key, value) = when
                    .split_once('=')
                    .ok_or_else(|| format!("{when:?} is not `key = value`"))?;
                let value = Value::from_text(value.trim()).ok_or("a table is no value")?;
                Some((key.trim().to_owned(), value))
            }
        };
        Ok(Self {
            metric,
            comparison,
            limit,
            when,
        })
    }

    /// The key that it depends on.
    #[must_use]
    pub fn condition(&self) -> Option<(&str, &Value)> {
        self.when.as_ref().map(|(key, value)| (key.as_str(), value))
    }

    /// The same with the condition's value in the form in which settings keep it.
    #[must_use]
    pub fn with_condition(mut self, value: Value) -> Self {
        if let Some(when) = &mut self.when {
            when.1 = value;
        }
        self
    }

    /// Whether a run is spoken of.
    #[must_use]
    pub fn applies(&self, settings: &Settings) -> bool {
        match &self.when {
            None => true,
            Some((key, value)) => settings.get(key) == Some(value),
        }
    }

    /// Whether a figure fits; a figure that a run does not have fits no claim.
    #[must_use]
    pub fn holds(&self, figure: Option<f64>) -> bool {
        figure.is_some_and(|figure| self.comparison.holds(figure, self.limit))
    }
}

impl core::fmt::Display for Claim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let of = Comparison::ALL.iter().find(|(_, c)| *c == self.comparison);
        let sign = of.map_or("", |(sign, _)| sign);
        write!(f, "{} {sign} {}", self.metric, self.limit)?;
        match &self.when {
            Some((key, value)) => write!(f, " when {key} = {}", value.plain()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_and_judged() {
        let claim = Claim::parse("p99_ms", "< 500").unwrap();
        assert!(claim.holds(Some(499.9)) && !claim.holds(Some(500.0)) && !claim.holds(None));
        assert_eq!(claim.to_string(), "p99_ms < 500");
        let claim = Claim::parse("violations", "= 0 when committee.n = 4").unwrap();
        assert_eq!(claim.condition(), Some(("committee.n", &Value::Int(4))));
        assert!(claim.holds(Some(0.0)) && !claim.holds(Some(1.0)));
        for sign in ["<=", ">=", "<", ">", "="] {
            let claim = Claim::parse("p50_ms", &format!("{sign} 1")).unwrap();
            let want = [sign.contains('<'), sign.contains('='), sign.contains('>')];
            let got = [0.5, 1.0, 1.5].map(|figure| claim.holds(Some(figure)));
            assert_eq!(got, want, "{sign}");
        }
        for (metric, text) in [
            ("p98_ms", "< 1"),
            ("p99_ms", "500"),
            ("p99_ms", "< x"),
            ("p99_ms", "< nan"),
            ("p99_ms", "< 1 when n"),
        ] {
            assert!(Claim::parse(metric, text).is_err(), "{metric} {text}");
        }
    }
}

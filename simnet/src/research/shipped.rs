//! The scenarios and matrices that come with the program.

use super::place::Matrix;
use crate::net::{self, MATRIX_BYTES_MAX};

/// Scenarios by name.
pub const SCENARIOS: [(&str, &str); 17] = [
    ("first", include_str!("../../scenarios/first.toml")),
    ("healthy", include_str!("../../scenarios/healthy.toml")),
    (
        "healthy-100",
        include_str!("../../scenarios/healthy-100.toml"),
    ),
    (
        "leader-crash",
        include_str!("../../scenarios/leader-crash.toml"),
    ),
    ("partition", include_str!("../../scenarios/partition.toml")),
    ("byzantine", include_str!("../../scenarios/byzantine.toml")),
    (
        "slow-member",
        include_str!("../../scenarios/slow-member.toml"),
    ),
    ("combining", include_str!("../../scenarios/combining.toml")),
    ("overload", include_str!("../../scenarios/overload.toml")),
    (
        "region-outage",
        include_str!("../../scenarios/region-outage.toml"),
    ),
    ("fairness", include_str!("../../scenarios/fairness.toml")),
    (
        "front-running",
        include_str!("../../scenarios/front-running.toml"),
    ),
    ("loopback", include_str!("../../scenarios/loopback.toml")),
    ("wan-eu", include_str!("../../scenarios/wan-eu.toml")),
    ("wan-us", include_str!("../../scenarios/wan-us.toml")),
    ("wan-us-eu", include_str!("../../scenarios/wan-us-eu.toml")),
    ("wan-world", include_str!("../../scenarios/wan-world.toml")),
];

/// A matrix that is made up, for examples and tests; those that were measured are
/// [`net::Matrix::shipped`].
pub const THREE_REGIONS: &str = include_str!("../../data/latency/three-regions.csv");

/// The text of a shipped scenario.
#[must_use]
pub fn scenario(name: &str) -> Option<&'static str> {
    let found = SCENARIOS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text)
}

/// A shipped matrix, or the one in a file.
///
/// # Errors
/// What is wrong, in words.
pub fn matrix(name: &str) -> Result<Matrix, String> {
    if name == "three-regions" {
        return Matrix::parse(name, THREE_REGIONS);
    }
    if let Ok(shipped) = net::Matrix::shipped(name) {
        return Matrix::of(name, &shipped).ok_or_else(|| "it has no region".to_owned());
    }
    let read = std::fs::metadata(name).and_then(|meta| {
        if meta.len() > MATRIX_BYTES_MAX as u64 {
            return Err(std::io::Error::other("too large"));
        }
        std::fs::read_to_string(name)
    });
    let text = read.map_err(|error| {
        let known: Vec<_> = net::Matrix::shipped_names().collect();
        let known = known.join(", ");
        format!(
            "net.matrix = {name:?}: no shipped matrix (uniform, three-regions, {known}), and as a \
             file: {error}"
        )
    })?;
    Matrix::parse(name, &text).map_err(|what| format!("{name}: {what}"))
}

//! Where members and traders are, and how far from each other.

use sha2::{Digest as _, Sha256};

use crate::net::{self, LinkModel};

/// A latency matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Name in reports.
    pub name: String,
    /// Hash of the file, in hex; of the delay for `uniform`.
    pub hash: String,
    /// Regions.
    pub regions: Vec<String>,
    /// Median and 90th percentile of the way from a region to another, nanoseconds.
    ways: Vec<(u64, u64)>,
}

/// Ratio of 90th percentile to median where there is no matrix.
const UNIFORM_P90: f64 = 1.5;

impl Matrix {
    /// One region in which every way takes so long.
    #[must_use]
    pub fn uniform(delay_ns: u64) -> Self {
        let p90 = (delay_ns as f64 * UNIFORM_P90) as u64;
        Self {
            name: "uniform".into(),
            hash: hex(&Sha256::digest(format!("uniform {delay_ns}"))),
            regions: vec!["local".into()],
            ways: vec![(delay_ns, p90)],
        }
    }

    /// Reads the CSV of a matrix ([`net::Matrix`]).
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let parsed = net::Matrix::parse(text).map_err(|error| error.to_string())?;
        Self::of(name, &parsed).ok_or_else(|| "it has no region".to_owned())
    }

    /// A matrix under a name; `None` if it has no region.
    #[must_use]
    pub fn of(name: &str, matrix: &net::Matrix) -> Option<Self> {
        let regions = matrix.regions().to_vec();
        let n = regions.len();
        let ways: Option<_> = (0..n * n)
            .map(|pair| matrix.one_way_ns(pair / n, pair % n))
            .map(|way| way.map(|(p50, p90)| (p50.max(1), p90.max(p50).max(1))))
            .collect();
        Some(Self {
            name: name.to_owned(),
            hash: hex(&matrix.hash()),
            ways: ways.filter(|_| n > 0)?,
            regions,
        })
    }

    /// The number of a region.
    ///
    /// # Errors
    /// The regions there are.
    pub fn region(&self, name: &str) -> Result<usize, String> {
        let at = self.regions.iter().position(|region| region == name);
        at.ok_or_else(|| {
            let known = self.regions.join(", ");
            format!("`{name}` is no region of matrix {}: {known}", self.name)
        })
    }

    /// Median and 90th percentile of the way between two regions, nanoseconds; `jitter`
    /// scales the distance between them.
    #[must_use]
    pub fn way_ns(&self, from: usize, to: usize, jitter: f64) -> (u64, u64) {
        let (p50, p90) = self.ways[from * self.regions.len() + to];
        (p50, p50 + ((p90 - p50) as f64 * jitter) as u64)
    }

    /// The link between two regions.
    #[must_use]
    pub fn link(&self, from: usize, to: usize, jitter: f64) -> LinkModel {
        let (p50, p90) = self.way_ns(from, to, jitter);
        LinkModel::new(p50, p90)
    }
}

/// The first eight bytes of a hash, in hex.
fn hex(digest: &[u8]) -> String {
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The region of each of `count` members or traders. `region:k` puts k there; with names
/// alone they take turns; an empty list is the first region.
///
/// # Errors
/// What is wrong, in words.
pub fn place(matrix: &Matrix, list: &[&str], count: usize) -> Result<Vec<usize>, String> {
    if list.is_empty() {
        return Ok(vec![0; count]);
    }
    let mut counted = Vec::new();
    let mut named = Vec::new();
    for entry in list {
        match entry.rsplit_once(':') {
            Some((name, number)) => {
                let number: usize = number
                    .parse()
                    .map_err(|_| format!("`{entry}`: region:count was expected"))?;
                let region = matrix.region(name)?;
                if number > count {
                    return Err(format!("`{entry}` is more than all {count}"));
                }
                counted.extend(std::iter::repeat_n(region, number));
            }
            None => named.push(matrix.region(entry)?),
        }
    }
    match (counted.len(), named.is_empty()) {
        (0, false) => Ok((0..count).map(|i| named[i % named.len()]).collect()),
        (all, true) if all == count => Ok(counted),
        (all, true) => Err(format!("the placement names {all}, there are {count}")),
        (_, false) => Err("either every region has a count, or none has".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "# made up\nfrom,to,p50_us,p90_us\n\
        a,a,1000,2000\na,b,10000,12000\nb,a,20000,20000\nb,b,2000,2000\n";

    #[test]
    fn a_matrix_is_read() {
        let matrix = Matrix::parse("m", CSV).unwrap();
        assert_eq!(matrix.regions, ["a", "b"]);
        assert_eq!(matrix.way_ns(0, 1, 1.0), (5_000_000, 6_000_000));
        assert_eq!(matrix.way_ns(0, 1, 0.0), (5_000_000, 5_000_000));
        assert_eq!(matrix.way_ns(0, 1, 2.0), (5_000_000, 7_000_000));
        for (bad, want) in [
            ("from,to,p50_us,p90_us\n", "no region"),
            ("from,to,p50_us,p90_us\na,b,1,1", "row from"),
        ] {
            let error = Matrix::parse("m", bad).unwrap_err();
            assert!(error.contains(want), "{bad:?}: {error}");
        }
    }

    #[test]
    fn members_are_placed() {
        let matrix = Matrix::parse("m", CSV).unwrap();
        assert_eq!(place(&matrix, &[], 2), Ok(vec![0, 0]));
        assert_eq!(place(&matrix, &["b", "a"], 3), Ok(vec![1, 0, 1]));
        assert_eq!(place(&matrix, &["b:1", "a:2"], 3), Ok(vec![1, 0, 0]));
        for bad in [
            vec!["c"],
            vec!["a:2"],
            vec!["a:1", "b"],
            vec!["a:x"],
            vec!["a:99"],
        ] {
            assert!(place(&matrix, &bad, 3).is_err(), "{bad:?}");
        }
    }
}

//! Where members and traders are, and how far from each other: latency matrices as CSV,
//! round trips of a packet in milliseconds or microseconds, median and 90th percentile per directed pair
//! of regions. One way is half of a round trip.

use sha2::{Digest as _, Sha256};

use crate::engine::{MILLISECOND, SECOND};
use crate::net::LinkModel;

/// Most regions of a matrix.
const REGIONS_MAX: usize = 256;
/// Largest file of a matrix, in bytes.
pub const MATRIX_BYTES_MAX: usize = 16 << 20;

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
            hash: digest(format!("uniform {delay_ns}").as_bytes()),
            regions: vec!["local".into()],
            ways: vec![(delay_ns, p90)],
        }
    }

    /// Reads a CSV with the columns `from`, `to`, and `p50_ms` and `p90_ms` or `p50_us` and
    /// `p90_us`, in any order and among others; `#` starts a comment. Every pair must be there, same regions too.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        if text.len() > MATRIX_BYTES_MAX {
            return Err(format!("larger than {MATRIX_BYTES_MAX} bytes"));
        }
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (_, head) = lines.next().ok_or("no line")?;
        let titles: Vec<_> = head.split(',').map(str::trim).collect();
        let (median, tail, unit_ns) = if titles.contains(&"p50_us") {
            ("p50_us", "p90_us", 1_000.0)
        } else {
            ("p50_ms", "p90_ms", MILLISECOND as f64)
        };
        let column = |title: &str| {
            let at = titles.iter().position(|t| *t == title);
            at.ok_or_else(|| format!("no column `{title}` in `{head}`"))
        };
        let columns = [
            column("from")?,
            column("to")?,
            column(median)?,
            column(tail)?,
        ];
        let mut regions: Vec<String> = Vec::new();
        let mut rows = Vec::new();
        for (number, line) in lines {
            let cells: Vec<_> = line.split(',').map(str::trim).collect();
            let cell = |i: usize| cells.get(columns[i]).copied();
            let wrong = || format!("line {number}: `{line}` is no pair with two delays");
            let (Some(from), Some(to)) = (cell(0), cell(1)) else {
                return Err(wrong());
            };
            let p50 = cell(2)
                .and_then(|text| half(text, unit_ns))
                .ok_or_else(wrong)?;
            let p90 = cell(3)
                .and_then(|text| half(text, unit_ns))
                .ok_or_else(wrong)?;
            let mut index = |name: &str| match regions.iter().position(|r| r == name) {
                Some(at) => at,
                None => {
                    regions.push(name.to_owned());
                    regions.len() - 1
                }
            };
            let pair = (index(from), index(to));
            rows.push((pair, (p50, p90.max(p50))));
            if regions.len() > REGIONS_MAX {
                return Err(format!("more than {REGIONS_MAX} regions"));
            }
        }
        let n = regions.len();
        let mut ways = vec![None; n * n];
        for ((from, to), way) in rows {
            ways[from * n + to] = Some(way);
        }
        let missing = ways.iter().position(Option::is_none);
        if let Some(at) = missing {
            let (from, to) = (&regions[at / n], &regions[at % n]);
            return Err(format!("no line from {from} to {to}"));
        }
        if n == 0 {
            return Err("no pair of regions".into());
        }
        Ok(Self {
            name: name.to_owned(),
            hash: digest(text.as_bytes()),
            regions,
            ways: ways.into_iter().flatten().collect(),
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

/// Half of so many units, in nanoseconds, at least 1; a minute at most.
fn half(text: &str, unit_ns: f64) -> Option<u64> {
    let ns = text.parse::<f64>().ok()? * unit_ns;
    let sane = (0.0..=60.0 * SECOND as f64).contains(&ns);
    sane.then(|| ((ns / 2.0) as u64).max(1))
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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

    const CSV: &str = "# made up\nfrom,to,p50_ms,p90_ms\na,a,1,2\na,b,10,12\nb,a,20,20\nb,b,2,1\n";

    #[test]
    fn a_matrix_is_read() {
        let matrix = Matrix::parse("m", CSV).unwrap();
        assert_eq!(matrix.regions, ["a", "b"]);
        assert_eq!(matrix.way_ns(0, 1, 1.0), (5_000_000, 6_000_000));
        assert_eq!(matrix.way_ns(0, 1, 0.0), (5_000_000, 5_000_000));
        assert_eq!(matrix.way_ns(1, 1, 2.0), (1_000_000, 1_000_000));
        for (bad, want) in [
            ("", "no line"),
            ("from,to,p50_ms,p90_ms\n", "no pair"),
            ("from,to,p50_ms\na,a,1", "p90_ms"),
            ("from,to,p50_ms,p90_ms\na,a,x,1", "line 2"),
            ("from,to,p50_ms,p90_ms\na,a,nan,1", "line 2"),
            ("from,to,p50_ms,p90_ms\na,a,1,-1", "line 2"),
            ("from,to,p50_ms,p90_ms\na,b,1,1", "no line from a to a"),
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

//! Latency matrices: round-trip times between regions, measured by others, shipped as CSV
//! under `simnet/data/latency/` with source and date in the head of each file.
//!
//! One way is half a round trip. Median and 90th percentile of a directed pair fix its
//! log-normal ([`LogNormal::from_quantiles`](super::LogNormal::from_quantiles)).

use sha2::{Digest as _, Sha256};

use super::LinkModel;

/// Longest matrix that is read, in bytes.
pub const MATRIX_BYTES_MAX: usize = 4 << 20;
/// Most regions in a matrix.
pub const REGIONS_MAX: usize = 256;

/// The first line of the table.
const HEAD: &str = "from,to,p50_us,p90_us";

/// Matrices that come with the simulator, by name.
const SHIPPED: [(&str, &str); 2] = [
    ("aws-2026", include_str!("../../data/latency/aws-2026.csv")),
    (
        "gcp-fantoch",
        include_str!("../../data/latency/gcp-fantoch.csv"),
    ),
];

/// What is wrong with a matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// There is no such file.
    #[error("no matrix `{0}`; shipped are {1}")]
    Unknown(String, String),
    /// Over [`MATRIX_BYTES_MAX`] or [`REGIONS_MAX`].
    #[error("a matrix has at most {REGIONS_MAX} regions and {MATRIX_BYTES_MAX} bytes")]
    Size,
    /// The table does not begin as it should.
    #[error("line {0}: expected `{HEAD}`")]
    Head(usize),
    /// A line is not a row of the table.
    #[error("line {line}: {what}")]
    Row {
        /// Line, from 1.
        line: usize,
        /// What is wrong, in words.
        what: &'static str,
    },
    /// A pair of regions has no row.
    #[error("there is no row from {0} to {1}")]
    Missing(String, String),
    /// No such region.
    #[error("no region `{0}` in this matrix")]
    Region(String),
}

/// Round-trip quantiles of every directed pair of regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Names, ascending.
    regions: Vec<String>,
    /// (p50, p90) in microseconds, row by row.
    round_trips: Vec<(u64, u64)>,
    /// Comment lines in front of the table: where the figures are from.
    source: String,
    hash: [u8; 32],
}

impl Matrix {
    /// Names of the shipped matrices.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// A shipped matrix.
    ///
    /// # Errors
    /// [`MatrixError::Unknown`].
    pub fn shipped(name: &str) -> Result<Self, MatrixError> {
        let text = SHIPPED.iter().find(|(known, _)| *known == name);
        let (_, text) = text.ok_or_else(|| {
            let names: Vec<_> = Self::shipped_names().collect();
            MatrixError::Unknown(name.to_owned(), names.join(", "))
        })?;
        Self::parse(text)
    }

    /// Reads a matrix: lines that start with `#`, then the head, then a row for each
    /// directed pair, each region to itself included.
    ///
    /// # Errors
    /// [`MatrixError`] names the line.
    pub fn parse(text: &str) -> Result<Self, MatrixError> {
        if text.len() > MATRIX_BYTES_MAX {
            return Err(MatrixError::Size);
        }
        let mut source = String::new();
        let mut rows = std::collections::BTreeMap::new();
        let mut headed = false;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if let Some(comment) = line.strip_prefix('#') {
                source.push_str(comment.trim());
                source.push('\n');
            } else if !headed {
                if line.trim_end() != HEAD {
                    return Err(MatrixError::Head(number));
                }
                headed = true;
            } else if !line.trim().is_empty() {
                let (pair, quantiles) =
                    row(line).map_err(|what| MatrixError::Row { line: number, what })?;
                if rows.insert(pair, quantiles).is_some() {
                    let what = "a second row for this pair";
                    return Err(MatrixError::Row { line: number, what });
                }
            }
        }
        if !headed {
            return Err(MatrixError::Head(text.lines().count() + 1));
        }
        let mut regions: Vec<String> = rows
            .keys()
            .flat_map(|(from, to)| [from.to_string(), to.to_string()])
            .collect();
        regions.sort_unstable();
        regions.dedup();
        if regions.len() > REGIONS_MAX {
            return Err(MatrixError::Size);
        }
        let mut round_trips = Vec::with_capacity(regions.len() * regions.len());
        for from in &regions {
            for to in &regions {
                let quantiles = rows.get(&(from.as_str(), to.as_str()));
                let missing = || MatrixError::Missing(from.clone(), to.clone());
                round_trips.push(*quantiles.ok_or_else(missing)?);
            }
        }
        Ok(Self {
            regions,
            round_trips,
            source,
            hash: Sha256::digest(text.as_bytes()).into(),
        })
    }

    /// Names of the regions, ascending.
    #[must_use]
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// Where the figures are from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-256 of the file, for outputs.
    #[must_use]
    pub const fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The number of a region.
    ///
    /// # Errors
    /// [`MatrixError::Region`].
    pub fn region(&self, name: &str) -> Result<usize, MatrixError> {
        self.regions
            .binary_search_by(|region| region.as_str().cmp(name))
            .map_err(|_| MatrixError::Region(name.to_owned()))
    }

    /// Median and 90th percentile of one way between two regions, by number, in
    /// nanoseconds; `None` if there is no such region.
    #[must_use]
    pub fn one_way_ns(&self, from: usize, to: usize) -> Option<(u64, u64)> {
        let n = self.regions.len();
        let inside = from < n && to < n;
        let (p50, p90) = *self.round_trips.get(from * n + to).filter(|_| inside)?;
        Some((p50 * 500, p90 * 500))
    }

    /// The link from a member in one region to one in another: no loss, 1 Gbit/s.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Option<LinkModel> {
        let (p50, p90) = self.one_way_ns(from, to)?;
        Some(LinkModel::new(p50, p90))
    }
}

/// Where the members of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    matrix: Matrix,
    /// Region of each member.
    regions: Vec<usize>,
}

impl Placement {
    /// `n` members, each in one of the named regions, in turn.
    ///
    /// # Errors
    /// [`MatrixError::Region`]; no name at all is one too.
    pub fn in_turn(matrix: Matrix, names: &[&str], n: usize) -> Result<Self, MatrixError> {
        let known = names.iter().map(|name| matrix.region(name));
        let known = known.collect::<Result<Vec<_>, _>>()?;
        if known.is_empty() {
            return Err(MatrixError::Region(String::new()));
        }
        let regions = known.iter().copied().cycle().take(n).collect();
        Ok(Self { matrix, regions })
    }

    /// The matrix.
    #[must_use]
    pub const fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// Name of a member's region.
    #[must_use]
    pub fn region_of(&self, member: usize) -> Option<&str> {
        let region = *self.regions.get(member)?;
        self.matrix.regions.get(region).map(String::as_str)
    }

    /// The link between two members; `None` if one of them has no place.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Option<LinkModel> {
        let (from, to) = (*self.regions.get(from)?, *self.regions.get(to)?);
        self.matrix.link(from, to)
    }
}

/// Two regions, and the quantiles of the round trip between them in µs.
type Row<'a> = ((&'a str, &'a str), (u64, u64));

/// A row of the table.
fn row(line: &str) -> Result<Row<'_>, &'static str> {
    let mut cells = line.split(',').map(str::trim);
    let mut cell = || cells.next().ok_or("a row has four cells");
    let pair = (cell()?, cell()?);
    if pair.0.is_empty() || pair.1.is_empty() {
        return Err("a region has a name");
    }
    // A minute is longer than any way on earth.
    let time = |cell: &str| match cell.parse::<u32>() {
        Ok(us) if (1..=60_000_000).contains(&us) => Ok(u64::from(us)),
        _ => Err("times are whole microseconds from 1 to 60000000"),
    };
    let quantiles = (time(cell()?)?, time(cell()?)?);
    if quantiles.1 < quantiles.0 {
        return Err("the 90th percentile is below the median");
    }
    match cells.next() {
        None => Ok((pair, quantiles)),
        Some(_) => Err("a row has four cells"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Owner, Purpose, Stream};

    #[test]
    fn shipped_matrices_are_whole_and_name_their_source() {
        for name in Matrix::shipped_names() {
            let matrix = Matrix::shipped(name).unwrap();
            assert!(matrix.regions().len() >= 17, "{name}");
            assert!(matrix.source().contains("Measured"), "{name}");
        }
        let aws = Matrix::shipped("aws-2026").unwrap();
        assert_eq!(aws.regions().len(), 33);
        let (from, to) = (aws.region("us-east-1"), aws.region("eu-west-1"));
        let (p50, p90) = aws.one_way_ns(from.unwrap(), to.unwrap()).unwrap();
        assert_eq!((p50, p90), (34_811_000, 37_317_000));
        assert_eq!(aws.one_way_ns(0, 33), None);
        let gcp = Matrix::shipped("gcp-fantoch").unwrap();
        let (from, to) = (gcp.region("us-east1"), gcp.region("europe-west1"));
        let (p50, p90) = gcp.one_way_ns(from.unwrap(), to.unwrap()).unwrap();
        assert_eq!((p50, p90), (46_576_000, 46_837_000));
        assert!(matches!(
            Matrix::shipped("moon"),
            Err(MatrixError::Unknown(..))
        ));
    }

    #[test]
    fn members_are_placed_in_turn() {
        let aws = Matrix::shipped("aws-2026").unwrap();
        let names = ["us-east-1", "eu-west-1"];
        let placement = Placement::in_turn(aws.clone(), &names, 5).unwrap();
        assert_eq!(placement.region_of(4), Some("us-east-1"));
        assert_eq!(placement.region_of(5), None);
        let there = placement.link(0, 1).unwrap();
        assert_eq!(there.latency.median(), 34_811_000);
        assert_eq!(placement.link(2, 3), Some(there));
        assert_eq!(placement.link(0, 5), None);
        assert!(Placement::in_turn(aws.clone(), &[], 4).is_err());
        assert!(Placement::in_turn(aws, &["mars"], 4).is_err());
    }

    #[test]
    fn faults_are_named() {
        let parse = |rows: &str| Matrix::parse(&format!("# x\n{HEAD}\n{rows}"));
        assert!(parse("a,a,5,6\n").is_ok());
        for rows in [
            "a,a,5\n",
            "a,a,5,6,7\n",
            "a,a,0,6\n",
            "a,a,7,6\n",
            "a,a,5,60000001\n",
            ",a,5,6\n",
            "a,a,5,6\na,a,5,6\n",
        ] {
            assert!(
                matches!(parse(rows), Err(MatrixError::Row { .. })),
                "{rows}"
            );
        }
        assert!(matches!(parse("a,b,5,6\n"), Err(MatrixError::Missing(..))));
        assert_eq!(Matrix::parse("a,b,1,2\n"), Err(MatrixError::Head(1)));
        assert_eq!(Matrix::parse(""), Err(MatrixError::Head(1)));
    }

    /// A changed byte of a good file gives an error or another good matrix, never a panic.
    #[test]
    fn mutated_files_are_read_or_refused() {
        let (_, text) = SHIPPED[0];
        let text: String = text.lines().take(12).collect::<Vec<_>>().join("\n");
        let mut rng = Stream::new(3, Owner::World, Purpose::Test);
        for _ in 0..3_000 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] = rng.bits() as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            if let Ok(matrix) = Matrix::parse(&String::from_utf8_lossy(&bytes)) {
                let n = matrix.regions().len();
                assert!(n == 0 || matrix.one_way_ns(n - 1, n - 1).is_some());
            }
        }
    }
}

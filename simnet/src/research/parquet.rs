//! The tables of a sweep as Parquet (feature `parquet`): the columns of the CSV files, with types.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::metrics::METRICS;

/// Lines of a row group.
const GROUP_LINES: usize = 100_000;

/// Titles of columns of whole numbers.
const WHOLE: [&str; 7] = [
    "seed",
    "members",
    "order",
    "nearest",
    "position",
    "victim",
    "failed_claims",
];

/// What a column holds. Empty cells are nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Real,
}

impl Kind {
    /// By the title of the column.
    fn of(title: &str) -> Self {
        let whole = WHOLE.contains(&title);
        let real = title.ends_with("_ms") || METRICS.iter().any(|(name, _)| *name == title);
        if whole {
            Self::Whole
        } else if real {
            Self::Real
        } else {
            Self::Text
        }
    }

    fn field(self, title: &str) -> Result<Arc<Type>, ParquetError> {
        let (physical, converted) = match self {
            Self::Text => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
            Self::Whole => (Physical::INT64, ConvertedType::NONE),
            Self::Real => (Physical::DOUBLE, ConvertedType::NONE),
        };
        let field = Type::primitive_type_builder(title, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_converted_type(converted)
            .build()?;
        Ok(Arc::new(field))
    }
}

/// Writes the table of a CSV file into a Parquet file beside it.
///
/// # Errors
/// The path and what is wrong with it.
pub fn from_csv(from: &Path, to: &Path) -> Result<(), String> {
    let part = to.with_extension("parquet.part");
    let told = |error: &dyn core::fmt::Display| format!("{}: {error}", to.display());
    let lines =
        csv::Reader::from_path(from).map_err(|error| format!("{}: {error}", from.display()))?;
    let file = File::create(&part).map_err(|error| told(&error))?;
    write(lines, file).map_err(|error| told(&error))?;
    std::fs::rename(&part, to).map_err(|error| told(&error))
}

fn write(mut lines: csv::Reader<File>, file: File) -> Result<(), ParquetError> {
    let outside = |error: csv::Error| ParquetError::External(Box::new(error));
    let titles = lines.headers().map_err(outside)?.clone();
    let kinds: Vec<_> = titles.iter().map(Kind::of).collect();
    let fields = titles
        .iter()
        .zip(&kinds)
        .map(|(title, kind)| kind.field(title));
    let schema = Type::group_type_builder("table")
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
    let mut records = lines.records();
    loop {
        let group: Vec<_> = records
            .by_ref()
            .take(GROUP_LINES)
            .collect::<Result<_, _>>()
            .map_err(outside)?;
        if group.is_empty() {
            break;
        }
        let mut row_group = writer.next_row_group()?;
        for (column, kind) in kinds.iter().enumerate() {
            let cells = group.iter().map(|line| line.get(column).unwrap_or(""));
            write_column(&mut row_group, *kind, cells)?;
        }
        row_group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn write_column<'a>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    kind: Kind,
    cells: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), ParquetError> {
    let there: Vec<i16> = cells
        .clone()
        .map(|cell| i16::from(!cell.is_empty()))
        .collect();
    let cells = cells.filter(|cell| !cell.is_empty());
    let no = |cell: &str| ParquetError::General(format!("no number: {cell}"));
    let mut column = group
        .next_column()?
        .ok_or_else(|| ParquetError::General("too many columns".into()))?;
    match (column.untyped(), kind) {
        (ColumnWriter::ByteArrayColumnWriter(out), Kind::Text) => {
            let cells: Vec<ByteArray> = cells.map(ByteArray::from).collect();
            out.write_batch(&cells, Some(&there), None)?;
        }
        (ColumnWriter::Int64ColumnWriter(out), Kind::Whole) => {
            // Seeds use all 64 bits.
            let cells: Vec<i64> = cells
                .map(|cell| {
                    cell.parse::<u64>()
                        .map(u64::cast_signed)
                        .map_err(|_| no(cell))
                })
                .collect::<Result<_, _>>()?;
            out.write_batch(&cells, Some(&there), None)?;
        }
        (ColumnWriter::DoubleColumnWriter(out), Kind::Real) => {
            let cells: Vec<f64> = cells
                .map(|cell| cell.parse().map_err(|_| no(cell)))
                .collect::<Result<_, _>>()?;
            out.write_batch(&cells, Some(&there), None)?;
        }
        _ => return Err(ParquetError::General("a column of another type".into())),
    }
    column.close()
}

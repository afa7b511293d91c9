//! `fairlane docs`: tables of the documentation, out of the code.

use fairlane_client::wire::error_table;

use crate::args::DocsTable;
use crate::exit::Outcome;
use crate::term::Term;

/// Prints a table.
pub fn run(table: DocsTable, term: Term) -> Outcome {
    match table {
        DocsTable::ErrorCodes => term.line(error_table().trim_end()),
    }
    Ok(())
}

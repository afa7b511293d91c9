//! Tables, plots and traces of what runs measured. Everything here is made from the kept
//! rows of a sweep (traces: from the record of a run), so that a report can be made again
//! from a merged folder. No script, no font and no file from elsewhere is needed to read it.

mod figures;
mod html;
mod perfetto;
mod plot;
#[cfg(feature = "png")]
mod png;
mod table;

pub use figures::{Figure, Point, figures, points};
pub use html::html;
pub use perfetto::{events, perfetto};
pub use plot::{Bars, Panel, Plot, Series, Style, picture};
#[cfg(feature = "png")]
pub use png::Painter;
pub use table::table;

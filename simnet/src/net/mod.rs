//! The network between simulated members: authenticated links with one ordered stream per
//! message class, as the node's QUIC transport gives them.

mod fabric;
mod matrix;
mod model;

pub use fabric::{Arrival, Fabric, Released, Sent};
pub use matrix::{MATRIX_BYTES_MAX, Matrix, MatrixError, Placement, REGIONS_MAX};
pub use model::{LinkModel, LogNormal};
pub(crate) use model::{exp, ln};

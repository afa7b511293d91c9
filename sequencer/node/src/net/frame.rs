//! Frames on a stream: length, then bytes; the limit is checked before anything is
//! allocated (A29).

use std::sync::Arc;

use bytes::Bytes;
use fairlane_replica::Class;
use quinn::{ReadError, ReadExactError, RecvStream};
use tokio::sync::Semaphore;

use super::LinkFault;
use crate::inbox::Charge;

/// Bytes of the length in front of a frame.
pub(super) const LENGTH_BYTES: usize = 4;
/// A frame counts at least this much towards its sender's budget, so that tiny ones are
/// bounded in number too.
pub const FRAME_CHARGE_MIN: usize = 512;

/// Bytes of one member and class that may wait for the core: one frame of the largest
/// size, or some thousands of small ones.
#[must_use]
pub const fn inbound_bytes_max(class: Class) -> usize {
    class.frame_bytes_max()
}

/// Why reading ended.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// By the sender's fault.
    Fault(LinkFault),
    /// With the connection.
    Connection,
}

impl From<ReadExactError> for ReadEnd {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_)
            | ReadExactError::ReadError(ReadError::Reset(_) | ReadError::ClosedStream) => {
                Self::Fault(LinkFault::Ended)
            }
            ReadExactError::ReadError(_) => Self::Connection,
        }
    }
}

/// The length in front of a frame.
pub(super) fn length_prefix(frame: &Bytes) -> Bytes {
    // invariant: frames longer than their class allows (≤ 16 MiB) are never queued
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    Bytes::copy_from_slice(&length.to_le_bytes())
}

/// Reads the byte that names the class of a stream.
pub(super) async fn read_class(stream: &mut RecvStream) -> Result<Class, ReadEnd> {
    let mut code = [0];
    stream.read_exact(&mut code).await?;
    Class::from_code(code[0]).ok_or(ReadEnd::Fault(LinkFault::Class))
}

/// Reads a frame once its sender's budget has room for it; until then the stream's flow
/// control holds the sender back.
pub(super) async fn read_frame(
    stream: &mut RecvStream,
    class: Class,
    budget: &Arc<Semaphore>,
) -> Result<(Bytes, Charge), ReadEnd> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 {
        return Err(ReadEnd::Fault(LinkFault::Empty));
    }
    if length > class.frame_bytes_max() {
        return Err(ReadEnd::Fault(LinkFault::Oversized));
    }
    // invariant: a charge is at most the whole budget, so it is granted in the end
    let charge = length.max(FRAME_CHARGE_MIN).min(inbound_bytes_max(class));
    let charge = u32::try_from(charge).unwrap_or(u32::MAX);
    if budget.available_permits() < charge as usize {
        metrics::counter!("fairlane_net_held_back_total", "class" => class.name()).increment(1);
    }
    let Ok(permit) = Arc::clone(budget).acquire_many_owned(charge).await else {
        return Err(ReadEnd::Connection);
    };
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok((Bytes::from(bytes), Charge::from(permit)))
}

//! What later epochs began with: from there clients follow the committee, and members that
//! are behind, or are to join, go on.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use fairlane_client::wire::{BINARY, ErrorCode};
use fairlane_replica::{EpochBase, Table, epoch_key};
use fairlane_types::{Epoch, decode, encode};

use super::Api;
use super::body::{InPath, segment};
use super::fail::Fail;
use super::info::joined;

/// The hand-over that began an epoch, borsh.
pub(crate) async fn handover(
    State(api): State<Arc<Api>>,
    InPath(epoch): InPath,
) -> Result<impl IntoResponse, Fail> {
    let row = row(&api, &epoch).await?;
    let base: EpochBase = decode(&row, row.len()).map_err(|error| {
        tracing::error!(%error, "a stored epoch does not decode");
        Fail::new(ErrorCode::Internal, "the stored epoch does not decode")
    })?;
    Ok(([(header::CONTENT_TYPE, BINARY)], encode(&base.handover)))
}

/// All that a member begins an epoch with, borsh.
pub(crate) async fn base(
    State(api): State<Arc<Api>>,
    InPath(epoch): InPath,
) -> Result<impl IntoResponse, Fail> {
    Ok(([(header::CONTENT_TYPE, BINARY)], row(&api, &epoch).await?))
}

async fn row(api: &Arc<Api>, epoch: &str) -> Result<Vec<u8>, Fail> {
    let epoch = Epoch(segment(epoch, "an epoch number")?);
    let api = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let row = api.node.reader().get(Table::Epochs, &epoch_key(epoch))?;
        let message = || format!("this member did not begin epoch {epoch}");
        row.ok_or_else(|| Fail::new(ErrorCode::NotFound, message()))
    });
    joined(read.await)
}

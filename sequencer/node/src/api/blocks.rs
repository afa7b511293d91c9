//! Blocks and certificates by height.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use fairlane_client::wire::{
    ApiError, BINARY, BLOCKS_PAGE_MAX, BlockBody, CertBody, ErrorCode, Frame,
};
use fairlane_replica::{FinalBlock, Table, height_key};
use fairlane_types::Height;
use serde::Deserialize;

use super::Api;
use super::body::{self, Args, InPath, Media, segment};
use super::fail::Fail;
use super::info::{head, joined};
use crate::store::StoreReader;

/// Stops a page after so many bytes of blocks.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Most ancestors that one certificate is looked for above.
const HEADERS_MAX: u64 = 256;

/// The height asked for is not kept (any more, or yet).
pub(crate) fn out_of_range(asked: Height, first: Height, head: Height) -> Fail {
    let message = format!("height {asked} is not in {first} to {head}, which is what is kept");
    Fail(
        ApiError::new(ErrorCode::OutOfRange, message).with(serde_json::json!({
            "first_available": first.to_string(), "head": head.to_string(),
        })),
    )
}

pub(crate) async fn block(
    State(api): State<Arc<Api>>,
    InPath(height): InPath,
    headers: HeaderMap,
) -> Result<Response, Fail> {
    let answer = body::accept(&headers, &[Media::Json, Media::Binary], Media::Json)?;
    let (head, first) = head(&api).await?;
    let asked = match height.as_str() {
        "latest" => Height(head.height),
        text => Height(segment(text, "a height or \"latest\"")?),
    };
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let key = height_key(asked);
        Ok(reading.node.reader().get(Table::Sequence, &key)?)
    });
    let Some(bytes) = joined(read.await)? else {
        return Err(out_of_range(asked, first, Height(head.height)));
    };
    if answer == Media::Binary {
        return Ok(([(header::CONTENT_TYPE, BINARY)], bytes).into_response());
    }
    let block = fairlane_types::decode(&bytes, bytes.len())
        .map_err(|_| Fail::new(ErrorCode::Internal, "the block on disk does not decode"))?;
    Ok(Json(BlockBody::from(&block)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageArgs {
    from: u64,
    until: Option<u64>,
}

/// Blocks `from ≤ height < until`, as many as fit a page; `next` is where to go on.
pub(crate) async fn page(
    State(api): State<Arc<Api>>,
    Args(args): Args<PageArgs>,
    headers: HeaderMap,
) -> Result<Response, Fail> {
    let answer = body::accept(&headers, &[Media::Json, Media::Binary], Media::Json)?;
    let (head, first) = head(&api).await?;
    let (from, last) = (Height(args.from), Height(head.height));
    if from < first || from > last.next() {
        return Err(out_of_range(from, first, last));
    }
    let end = args.until.unwrap_or(u64::MAX).min(last.next().0);
    let count = usize::try_from(end.saturating_sub(from.0)).unwrap_or(usize::MAX);
    let count = count.min(BLOCKS_PAGE_MAX);
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        Ok(reading.node.reader().blocks(from, count, PAGE_BYTES_MAX)?)
    });
    let blocks = joined(read.await)?;
    if blocks.first().is_some_and(|block| block.height != from) {
        // Pruned while we looked.
        return Err(out_of_range(from, blocks[0].height, last));
    }
    if answer == Media::Binary {
        let bytes: Vec<u8> = blocks
            .into_iter()
            .flat_map(|block| Frame::Block(block).to_bytes())
            .collect();
        return Ok(([(header::CONTENT_TYPE, BINARY)], bytes).into_response());
    }
    let next = from.plus(blocks.len() as u64);
    let blocks: Vec<_> = blocks.iter().map(BlockBody::from).collect();
    Ok(Json(serde_json::json!({
        "blocks": blocks, "next": next.to_string(), "head": last.to_string(),
    }))
    .into_response())
}

pub(crate) async fn certificate(
    State(api): State<Arc<Api>>,
    InPath(height): InPath,
) -> Result<Json<CertBody>, Fail> {
    let asked = Height(segment(&height, "a height")?);
    let reading = api.clone();
    let read = tokio::task::spawn_blocking(move || certify(reading.node.reader(), asked));
    match joined(read.await)? {
        Some(body) => Ok(Json(body)),
        None => {
            let (head, first) = head(&api).await?;
            Err(out_of_range(asked, first, Height(head.height)))
        }
    }
}

/// The nearest final certificate at or above a height, with the headers down to it: a
/// block that became final as an ancestor has none of its own.
fn certify(reader: &StoreReader, asked: Height) -> Result<Option<CertBody>, Fail> {
    let mut headers = Vec::new();
    for offset in 0..HEADERS_MAX {
        let height = asked.plus(offset);
        let Some(bytes) = reader.get(Table::Blocks, &height_key(height))? else {
            return Ok(None);
        };
        let block: FinalBlock = fairlane_types::decode(&bytes, bytes.len())
            .map_err(|_| Fail::new(ErrorCode::Internal, "a block on disk does not decode"))?;
        headers.push(block.header);
        if let Some(certificate) = block.certificate {
            headers.reverse();
            return Ok(Some(CertBody::new(asked, &certificate, &headers)));
        }
    }
    Ok(None)
}

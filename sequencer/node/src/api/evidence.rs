//! Proofs of misbehaviour that this member keeps (PROTOCOL §8), for anyone to check.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fairlane_client::wire::{EvidenceBody, EvidenceRecord};
use fairlane_replica::{Evidence, Table};

use super::Api;
use super::fail::Fail;
use super::info::joined;

/// Most records in an answer; the oldest offence of each kind comes first.
const RECORDS_MAX: usize = 64;
/// Stops an answer after so many bytes of records.
const BYTES_MAX: usize = 4 << 20;

pub(crate) async fn evidence(State(api): State<Arc<Api>>) -> Result<Response, Fail> {
    let read = tokio::task::spawn_blocking(move || {
        let rows =
            api.node
                .reader()
                .scan(Table::Evidence, &[], &[0xff; 64], RECORDS_MAX, BYTES_MAX)?;
        let records = rows.into_iter().filter_map(|(_, bytes)| {
            let evidence: Evidence = fairlane_types::decode(&bytes, bytes.len()).ok()?;
            let (kind, accused) = (evidence.kind().to_owned(), evidence.accused().0);
            Some(EvidenceRecord {
                kind,
                accused,
                proof: bytes,
            })
        });
        let evidence = records.collect();
        let key = api.node.encryption_key()?;
        let activation = key.map(|key| key.activation_bytes()).unwrap_or_default();
        Ok(EvidenceBody {
            genesis: api.genesis_hash,
            activation,
            evidence,
        })
    });
    Ok(Json(joined(read.await)?).into_response())
}

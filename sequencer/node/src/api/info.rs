//! What a member says of the chain and of itself.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use fairlane_client::wire::{
    BATCH_MAX, BLOCKS_PAGE_MAX, EpochBody, ErrorCode, FormerKeyBody, Head, InfoBody, JSON, Limits,
    MemberBody, ORDER_BODY_BYTES_MAX, WAIT_MS_MAX,
};
use fairlane_types::{Genesis, Height, PAYLOAD_BYTES_MAX, Root};

use super::Api;
use super::body::{InPath, segment};
use super::fail::Fail;
use crate::known_key::KnownKey;

/// Version of the API's contract.
const API_VERSION: u32 = 1;

pub(crate) async fn info(State(api): State<Arc<Api>>) -> Result<Json<InfoBody>, Fail> {
    let genesis = api.node.genesis();
    let (n, f) = (genesis.members.len(), (genesis.members.len() - 1) / 3);
    let (head, first) = head(&api).await?;
    let key_id = key(&api).await?.map(|known| known.key.id());
    Ok(Json(InfoBody {
        version: env!("CARGO_PKG_VERSION").into(),
        api: API_VERSION,
        chain: genesis.chain.0,
        genesis: api.genesis_hash,
        experiment: genesis.experiment,
        member: api.node.me().0,
        members: n as u8,
        quorum: (n - f) as u8,
        threshold: (2 * f + 1) as u8,
        epoch: genesis.epoch().0,
        scheme: genesis.encryption.scheme.name().into(),
        key_id,
        head,
        first_available: first.0,
        now_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
        limits: Limits {
            order_bytes: ORDER_BODY_BYTES_MAX as u32,
            batch: BATCH_MAX as u32,
            payload_bytes: PAYLOAD_BYTES_MAX as u32,
            ttl_ms: genesis.order.ttl_max_ms,
            blocks: BLOCKS_PAGE_MAX as u32,
            wait_ms: WAIT_MS_MAX,
        },
    }))
}

/// The genesis file; whoever trusts it compares its hash with one from elsewhere.
pub(crate) async fn genesis(State(api): State<Arc<Api>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JSON)], api.genesis_json.clone())
}

pub(crate) async fn epoch(
    State(api): State<Arc<Api>>,
    InPath(epoch): InPath,
) -> Result<Json<EpochBody>, Fail> {
    let genesis = api.node.genesis();
    let asked = match epoch.as_str() {
        "current" => genesis.epoch().0,
        text => segment(text, "an epoch number or \"current\"")?,
    };
    if asked != genesis.epoch().0 {
        let message = format!(
            "epoch {asked} is not known; the current one is {}",
            genesis.epoch()
        );
        return Err(Fail::new(ErrorCode::NotFound, message));
    }
    let (n, f) = (genesis.members.len(), (genesis.members.len() - 1) / 3);
    let known = key(&api).await?.ok_or_else(|| {
        let status = api.node.status().borrow().dealings;
        let message = format!(
            "the members are making the encryption key: {} of {} dealings are final",
            status.0, status.1
        );
        Fail::new(ErrorCode::NoEncryptionKey, message)
    })?;
    Ok(Json(EpochBody {
        epoch: asked,
        chain: genesis.chain.0,
        genesis: api.genesis_hash,
        members: members(genesis),
        quorum: (n - f) as u8,
        threshold: (2 * f + 1) as u8,
        scheme: genesis.encryption.scheme.name().into(),
        suite: genesis.encryption.scheme.suite(),
        key_id: known.key.id(),
        public_key: known.key.to_bytes(),
        activation: known.activation_bytes(),
        certificate_key: known.certificate.map_or_else(Vec::new, Vec::from),
        former: genesis.former_key().map(|(key_id, until)| FormerKeyBody {
            key_id,
            until_ms: until.0,
        }),
        first_height: genesis.base().next().0,
        last_height: None,
    }))
}

fn members(genesis: &Genesis) -> Vec<MemberBody> {
    let keys = genesis.members.iter().enumerate();
    keys.map(|(id, key)| MemberBody {
        id: id as u8,
        key: *key,
    })
    .collect()
}

/// The encryption key; `None` while the members are making it.
async fn key(api: &Arc<Api>) -> Result<Option<Arc<KnownKey>>, Fail> {
    let api = api.clone();
    let read = tokio::task::spawn_blocking(move || Ok(api.node.encryption_key()?));
    joined(read.await)
}

/// The last emitted block, and the first height that is kept (the next one if none is).
pub(crate) async fn head(api: &Arc<Api>) -> Result<(Head, Height), Fail> {
    let api = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let reader = api.node.reader();
        let Some((first, last)) = reader.emitted_range()? else {
            return Ok((empty_head(&api), Height(1)));
        };
        let head = match reader.block(last)? {
            Some(block) => Head {
                height: last.0,
                root: block.root,
                time_ms: block.time.0,
                next_position: block.next_position().0,
            },
            None => empty_head(&api),
        };
        Ok::<_, Fail>((head, first))
    });
    joined(read.await)
}

fn empty_head(api: &Api) -> Head {
    Head {
        height: 0,
        root: Root::default(),
        time_ms: api.node.genesis().time.0,
        next_position: 0,
    }
}

/// The result of a blocking read.
pub(crate) fn joined<T>(
    result: Result<Result<T, Fail>, tokio::task::JoinError>,
) -> Result<T, Fail> {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "a read for the API ended early");
        Err(Fail::new(ErrorCode::Internal, "the read ended early"))
    })
}

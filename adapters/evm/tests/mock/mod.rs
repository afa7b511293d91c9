//! An execution client on loopback: a chain with accounts' nonces for a state, the engine port's
//! rules on tokens, parameters and the order of calls, and ways to fail.
//!
//! A transaction is `[2, sender, nonce]`, valid if it has its sender's next nonce.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const SECRET: [u8; 32] = [0x5a; 32];

/// What the client does with a list that has an invalid transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// op-geth: refuses the list.
    Refuses,
    /// op-reth: leaves the transaction out.
    LeavesOut,
}

/// When the connection breaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Break {
    Never,
    /// Instead of call number n: it is not done.
    Before(u64),
    /// After call number n is done: the answer is lost.
    After(u64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub number: u64,
    pub parent: String,
    pub timestamp: u64,
    pub beacon_root: String,
    pub transactions: Vec<Vec<u8>>,
    nonces: BTreeMap<u8, u8>,
}

pub struct State {
    pub manner: Manner,
    pub breaks: Break,
    /// Methods in the order they were called, with "+" where attributes were given.
    pub calls: Vec<String>,
    pub blocks: BTreeMap<String, Block>,
    pub head: String,
    payloads: BTreeMap<String, (String, Value)>,
    /// Changes an answer before it is sent.
    pub forge: Option<fn(&str, &mut Value)>,
    /// On Cancun: payloads V3 and no others.
    pub cancun: bool,
    /// Answers that say SYNCING before the client is ready.
    pub syncing: u64,
    /// Calls so far.
    pub total: u64,
}

#[derive(Clone)]
pub struct Mock(Arc<Mutex<State>>);

fn hex0x(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().expect("a quantity is a string");
    let digits = text.strip_prefix("0x").expect("a quantity begins with 0x");
    assert!(
        digits == "0" || !digits.starts_with('0'),
        "{text} has leading zeros"
    );
    u64::from_str_radix(digits, 16).unwrap()
}

fn raw(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap()
}

impl Mock {
    pub fn new(manner: Manner) -> Self {
        let genesis = Block {
            number: 0,
            parent: hex0x(&[0; 32]),
            timestamp: 1,
            beacon_root: hex0x(&[0; 32]),
            transactions: Vec::new(),
            nonces: BTreeMap::new(),
        };
        let hash = hex0x(&[0x99; 32]);
        Self(Arc::new(Mutex::new(State {
            manner,
            breaks: Break::Never,
            calls: Vec::new(),
            blocks: BTreeMap::from([(hash.clone(), genesis)]),
            head: hash,
            payloads: BTreeMap::new(),
            forge: None,
            cancun: false,
            syncing: 0,
            total: 0,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Calls since this was asked last.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    /// Blocks from the genesis to the head.
    pub fn chain(&self) -> Vec<Block> {
        let state = self.state();
        let mut chain = Vec::new();
        let mut at = state.head.clone();
        while let Some(block) = state.blocks.get(&at) {
            chain.push(block.clone());
            at = block.parent.clone();
        }
        chain.reverse();
        chain
    }

    /// Serves on a port of the loopback until the test ends.
    pub async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mock = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mock = mock.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let mock = mock.clone();
                        async move { mock.answer(request).await }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    // Ends with an error where the test breaks the connection.
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        address
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, String> {
        let token = request.headers().get("authorization");
        let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !token.is_some_and(is_good) {
            let mut refusal = Response::new(Full::new(Bytes::from_static(b"no")));
            *refusal.status_mut() = StatusCode::UNAUTHORIZED;
            return Ok(refusal);
        }
        assert_eq!(request.headers()["content-type"], "application/json");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let call: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(call["jsonrpc"], "2.0");
        let mut state = self.state();
        state.total += 1;
        if state.breaks == Break::Before(state.total) {
            return Err("broken before".into());
        }
        let method = call["method"].as_str().unwrap().to_owned();
        let mut result = state.call(&method, &call["params"]);
        if let (Ok(result), Some(forge)) = (&mut result, state.forge) {
            forge(&method, result);
        }
        if state.breaks == Break::After(state.total) {
            return Err("broken after".into());
        }
        let answer = match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
            Err((code, message)) => json!({
                "jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message},
            }),
        };
        Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
    }
}

/// Checks a token without the code that makes them: its parts, tag and age.
fn is_good(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, tag] = parts[..] else {
        return false;
    };
    let decoded: Option<Vec<Vec<u8>>> = [header, claims, tag].into_iter().map(unbase64).collect();
    let Some(decoded) = decoded else { return false };
    let header: Value = serde_json::from_slice(&decoded[0]).unwrap();
    assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
    let claims: Value = serde_json::from_slice(&decoded[1]).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(claims["iat"].as_u64().unwrap().abs_diff(now) < 60);
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    mac.update(signed.as_bytes());
    mac.verify_slice(&decoded[2]).is_ok()
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for byte in text.bytes() {
        bits = bits << 6 | u32::from(digit(byte)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

type Answer = Result<Value, (i64, &'static str)>;

/// A method of another fork than the chain's.
const UNSUPPORTED: (i64, &str) = (-38005, "Unsupported fork");

fn hash_of(parent: &str, timestamp: &Value, beacon_root: &str, transactions: &Value) -> String {
    let mut hash = Sha256::new();
    hash.update(parent);
    hash.update(timestamp.as_str().unwrap());
    hash.update(beacon_root);
    hash.update(transactions.to_string());
    hex0x(&hash.finalize())
}

impl State {
    fn call(&mut self, method: &str, params: &Value) -> Answer {
        let with = !params[1].is_null() && method == "engine_forkchoiceUpdatedV3";
        self.calls
            .push(format!("{method}{}", if with { "+" } else { "" }));
        match method {
            "eth_getBlockByNumber" => {
                assert_eq!(*params, json!(["latest", false]));
                let block = &self.blocks[&self.head];
                Ok(json!({
                    "number": format!("0x{:x}", block.number), "hash": self.head,
                    "timestamp": format!("0x{:x}", block.timestamp),
                    "parentBeaconBlockRoot": block.beacon_root,
                }))
            }
            "engine_forkchoiceUpdatedV3" => self.choose(params),
            "engine_getPayloadV3" | "engine_newPayloadV3" if !self.cancun => Err(UNSUPPORTED),
            "engine_getPayloadV4" | "engine_newPayloadV4" if self.cancun => Err(UNSUPPORTED),
            "engine_getPayloadV3" | "engine_getPayloadV4" => {
                let id = params[0].as_str().unwrap();
                let (_, payload) = self.payloads.get(id).ok_or((-38001, "Unknown payload"))?;
                Ok(json!({"executionPayload": payload, "blockValue": "0x0"}))
            }
            "engine_newPayloadV3" | "engine_newPayloadV4" => Ok(self.new_payload(params)),
            _ => Err((-32601, "the method does not exist")),
        }
    }

    fn choose(&mut self, params: &Value) -> Answer {
        let head = params[0]["headBlockHash"].as_str().unwrap().to_owned();
        assert_eq!(params[0]["safeBlockHash"], *head);
        assert_eq!(params[0]["finalizedBlockHash"], *head);
        if self.syncing > 0 {
            self.syncing -= 1;
            return Ok(json!({"payloadStatus": {"status": "SYNCING"}, "payloadId": null}));
        }
        assert!(
            self.blocks.contains_key(&head),
            "the choice of an unknown block"
        );
        assert!(
            self.blocks[&head].number >= self.blocks[&self.head].number,
            "a choice of the past"
        );
        self.head = head.clone();
        let mut id = Value::Null;
        if !params[1].is_null() {
            let payload = self.build(&head, &params[1])?;
            let name = format!("0x{:016x}", self.payloads.len());
            id = json!(name);
            self.payloads.insert(name, (head.clone(), payload));
        }
        let status = json!({"status": "VALID", "latestValidHash": head, "validationError": null});
        Ok(json!({"payloadStatus": status, "payloadId": id}))
    }

    fn build(&mut self, parent: &str, attributes: &Value) -> Answer {
        assert_eq!(attributes["noTxPool"], true);
        assert_eq!(attributes["withdrawals"], json!([]));
        let block = &self.blocks[parent];
        let timestamp = number(&attributes["timestamp"]);
        if timestamp <= block.timestamp {
            return Err((-38003, "Invalid payload attributes: time"));
        }
        let mut nonces = block.nonces.clone();
        let mut taken = Vec::new();
        for transaction in attributes["transactions"].as_array().unwrap() {
            let bytes = raw(transaction);
            let &[2, sender, nonce] = &bytes[..] else {
                panic!("no transaction of this client: {bytes:?}");
            };
            let next = nonces.entry(sender).or_insert(0);
            if nonce == *next {
                *next += 1;
                taken.push(transaction.clone());
            } else if self.manner == Manner::Refuses {
                return Err((-38003, "Invalid payload attributes: nonce"));
            }
        }
        let taken = Value::Array(taken);
        let root = attributes["parentBeaconBlockRoot"].as_str().unwrap();
        let hash = hash_of(parent, &attributes["timestamp"], root, &taken);
        Ok(json!({
            "parentHash": parent, "blockHash": hash,
            "blockNumber": format!("0x{:x}", block.number + 1),
            "timestamp": attributes["timestamp"], "prevRandao": attributes["prevRandao"],
            "feeRecipient": attributes["suggestedFeeRecipient"], "gasLimit": attributes["gasLimit"],
            "transactions": taken,
        }))
    }

    fn new_payload(&mut self, params: &Value) -> Value {
        let payload = &params[0];
        // V3: payload, versioned hashes of blobs, parent beacon root; V4: and requests.
        let parameters = if self.cancun { 3 } else { 4 };
        assert_eq!(params.as_array().unwrap().len(), parameters);
        assert_eq!(params[1], json!([]), "there are no blobs");
        assert!(self.cancun || params[3] == json!([]));
        let parent = payload["parentHash"].as_str().unwrap();
        let Some(before) = self.blocks.get(parent) else {
            return json!({"status": "SYNCING"});
        };
        let hash = payload["blockHash"].as_str().unwrap().to_owned();
        // The parent beacon root is part of the header: another one is another block.
        let root = params[2].as_str().unwrap();
        if hash
            != hash_of(
                parent,
                &payload["timestamp"],
                root,
                &payload["transactions"],
            )
        {
            return json!({"status": "INVALID_BLOCK_HASH", "validationError": "beacon root"});
        }
        let mut nonces = before.nonces.clone();
        let transactions: Vec<_> = payload["transactions"]
            .as_array()
            .unwrap()
            .iter()
            .map(raw)
            .collect();
        for transaction in &transactions {
            *nonces.entry(transaction[1]).or_insert(0) += 1;
        }
        let block = Block {
            number: number(&payload["blockNumber"]),
            parent: parent.to_owned(),
            timestamp: number(&payload["timestamp"]),
            beacon_root: params[2].as_str().unwrap().to_owned(),
            transactions,
            nonces,
        };
        // Told twice, it must be the same block.
        if let Some(known) = self.blocks.insert(hash.clone(), block.clone()) {
            assert_eq!(known, block);
        }
        json!({"status": "VALID", "latestValidHash": hash})
    }
}

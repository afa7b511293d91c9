//! Makes an execution client build the sequence's EVM blocks, and nothing else.
//!
//! For each slot: `engine_forkchoiceUpdatedV3` on the head with the slot's transactions
//! (`noTxPool`, `transactions` and `gasLimit` as the OP stack extends the payload attributes),
//! `engine_getPayload`, `engine_newPayload`, `engine_forkchoiceUpdatedV3` to the new head, which
//! is safe and finalized at once: the sequence is.
//!
//! - *Nothing is kept here.* A block's parent beacon root is the root of the sequence at its
//!   last height. After a crash anywhere the client's head says which that is, and what was
//!   half done is done again, with the same hash. Contracts can look the roots up (EIP-4788).
//! - *What the engine built is compared with what was asked for* before it becomes the head.
//! - *An invalid transaction is left out, and only it.* The rule is: each one counts if it is
//!   valid after those before it. op-reth does that by itself; op-geth refuses the whole list,
//!   and the first offender is found by halving. All operators get the same block.

use std::collections::VecDeque;

use fairlane_types::{Digest, Height, Root, SequencedBlock};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::payload::{data, fixed_of, number_of, quantity};
use crate::{Batch, Engine, EngineError, Payload, Slots};

/// The API's code for attributes that cannot be built on.
const INVALID_ATTRIBUTES: i64 = -38003;
const CHOICE: &str = "engine_forkchoiceUpdatedV3";
const LATEST: &str = "eth_getBlockByNumber";

/// Which fork the chain is on, for as long as it is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// Cancun, Ecotone: payloads V3.
    Cancun,
    /// Prague, Isthmus: payloads V4, without requests.
    Prague,
}

impl Fork {
    const fn get_method(self) -> &'static str {
        match self {
            Self::Cancun => "engine_getPayloadV3",
            Self::Prague => "engine_getPayloadV4",
        }
    }

    const fn new_method(self) -> &'static str {
        match self {
            Self::Cancun => "engine_newPayloadV3",
            Self::Prague => "engine_newPayloadV4",
        }
    }
}

/// What all operators of a rollup must have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Length of a slot, in whole seconds, at most [`SLOT_SECONDS_MAX`](crate::SLOT_SECONDS_MAX).
    pub slot_seconds: u64,
    /// Gas of a block. A transaction that does not fit any more is left out.
    pub gas_limit: u64,
    /// Who gets the fees.
    pub fee_recipient: [u8; 20],
    /// Fork.
    pub fork: Fork,
}

/// The client's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    number: u64,
    hash: [u8; 32],
    timestamp: u64,
}

/// What became of a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was in the client's head, or pushed, already.
    Known,
    /// It is taken.
    Taken,
}

/// Drives one execution client.
pub struct Driver {
    engine: Engine,
    rules: Rules,
    head: Head,
    /// Root of the sequence that the head was made from.
    sealed: Root,
    /// Root and height of the last one pushed, once the feed has come by `sealed`.
    last: Option<(Root, Height)>,
    slots: Slots,
    due: VecDeque<Batch>,
    left_out: u64,
    /// A call's answer was lost: the client may be further than `head`.
    unsure: bool,
}

fn answer(method: &'static str, field: &'static str) -> EngineError {
    EngineError::Answer {
        method,
        reason: format!("no or malformed {field}"),
    }
}

/// What contracts see as randomness: of no use to a rollup that draws from it, since the
/// committee knows it first, but different in each block.
pub(crate) fn randao(root: &Root) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"FAIRLANE V1 evm randao");
    hash.chain_update(root.0.0).finalize().into()
}

impl Driver {
    /// Asks the client where it is. `start` is the root before height 1, for a client that
    /// has nothing but its genesis.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn connect(
        mut engine: Engine,
        rules: Rules,
        start: Root,
    ) -> Result<Self, EngineError> {
        let (head, root) = latest(&mut engine).await?;
        Ok(Self {
            engine,
            rules,
            head,
            sealed: root.unwrap_or(start),
            last: None,
            slots: Slots::new(rules.slot_seconds),
            due: VecDeque::new(),
            left_out: 0,
            unsure: false,
        })
    }

    /// Number and hash of the client's head.
    #[must_use]
    pub const fn head(&self) -> (u64, [u8; 32]) {
        (self.head.number, self.head.hash)
    }

    /// Root of the sequence that the head was made from: the feed may start after it.
    #[must_use]
    pub const fn sealed(&self) -> Root {
        self.sealed
    }

    /// Transactions left out as invalid since the start of this process.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether the feed has come by the root that the head was made from.
    #[must_use]
    pub const fn is_following(&self) -> bool {
        self.last.is_some()
    }

    /// Takes a height of a checked feed, from anywhere at or before the head's on. Calls
    /// nothing; [`Self::advance`] does.
    ///
    /// # Errors
    /// [`EngineError::Fork`]; nothing changed.
    pub fn push(&mut self, block: &SequencedBlock) -> Result<Pushed, EngineError> {
        match self.last {
            None if block.parent_root == self.sealed => {}
            None if block.root == self.sealed => {
                self.last = Some((block.root, block.height));
                return Ok(Pushed::Known);
            }
            None => return Ok(Pushed::Known),
            Some((_, height)) if block.height <= height => return Ok(Pushed::Known),
            Some((root, _)) if block.parent_root == root => {}
            Some((after, _)) => {
                let got = block.height;
                return Err(EngineError::Fork { after, got });
            }
        }
        let closed = self.slots.push(block);
        self.due.extend(closed);
        self.last = Some((block.root, block.height));
        Ok(Pushed::Taken)
    }

    /// Whether a slot is complete and not in the client's chain.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Has the next complete slot built, if there is one; gives it.
    ///
    /// # Errors
    /// [`EngineError`]; the slot stays due, and may be tried again or by another process.
    pub async fn advance(&mut self) -> Result<Option<Batch>, EngineError> {
        let Some(batch) = self.due.front().cloned() else {
            return Ok(None);
        };
        if self.unsure {
            let (head, root) = latest(&mut self.engine).await?;
            self.unsure = false;
            if root == Some(batch.root) {
                self.seal(head, &batch);
                return Ok(Some(batch));
            }
        }
        let result = self.make(&batch).await;
        self.unsure = result.is_err();
        result.map(|()| Some(batch))
    }

    /// Has one batch built on the head, and makes it the head.
    async fn make(&mut self, batch: &Batch) -> Result<(), EngineError> {
        if batch.timestamp <= self.head.timestamp {
            return Err(EngineError::Time {
                slot: batch.timestamp,
                head: self.head.timestamp,
            });
        }
        let id = self.build(batch).await?;
        let payload = self.fetch(batch, id).await?;
        let root = data(&batch.root.0.0);
        let mut params = vec![payload.json, json!([]), root];
        if self.rules.fork == Fork::Prague {
            params.push(json!([]));
        }
        let method = self.rules.fork.new_method();
        let status = self.engine.call(method, Value::Array(params)).await?;
        valid(method, &status)?;
        let head = Head {
            number: payload.number,
            hash: payload.hash,
            timestamp: payload.timestamp,
        };
        self.choose(&head, Value::Null).await?;
        self.left_out += (batch.transactions.len() - payload.transactions.len()) as u64;
        self.seal(head, batch);
        Ok(())
    }

    fn seal(&mut self, head: Head, batch: &Batch) {
        self.head = head;
        self.sealed = batch.root;
        self.due.pop_front();
    }

    /// Sets the fork choice; gives the payload id if attributes were given.
    async fn choose(&mut self, head: &Head, attributes: Value) -> Result<Value, EngineError> {
        let hash = data(&head.hash);
        let state = json!({
            "headBlockHash": hash, "safeBlockHash": hash, "finalizedBlockHash": hash,
        });
        let result = self.engine.call(CHOICE, json!([state, attributes])).await?;
        valid(CHOICE, result.get("payloadStatus").unwrap_or(&Value::Null))?;
        Ok(result.get("payloadId").cloned().unwrap_or_default())
    }

    /// Starts a block of these transactions on the head; none if they are refused.
    async fn try_build(
        &mut self,
        batch: &Batch,
        transactions: &[&Vec<u8>],
    ) -> Result<Option<Value>, EngineError> {
        let transactions: Vec<Value> = transactions.iter().map(|raw| data(raw)).collect();
        let attributes = json!({
            "timestamp": quantity(batch.timestamp),
            "prevRandao": data(&randao(&batch.root)),
            "suggestedFeeRecipient": data(&self.rules.fee_recipient),
            "withdrawals": [],
            "parentBeaconBlockRoot": data(&batch.root.0.0),
            "transactions": transactions,
            "noTxPool": true,
            "gasLimit": quantity(self.rules.gas_limit),
        });
        let head = self.head;
        match self.choose(&head, attributes).await {
            Ok(id) if id.is_string() => Ok(Some(id)),
            Ok(_) => Err(answer(CHOICE, "payloadId")),
            Err(EngineError::Refused { code, .. }) if code == INVALID_ATTRIBUTES => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts the batch's block, without the transactions that the engine refuses.
    async fn build(&mut self, batch: &Batch) -> Result<Value, EngineError> {
        let mut kept: Vec<&Vec<u8>> = batch.transactions.iter().collect();
        // The first so many are known to be good.
        let mut good = 0;
        loop {
            if let Some(id) = self.try_build(batch, &kept).await? {
                return Ok(id);
            }
            if kept.len() == good {
                return Err(EngineError::Refused {
                    method: CHOICE,
                    code: INVALID_ATTRIBUTES,
                    message: "also without the transactions that were refused".into(),
                });
            }
            // The longest good start: `good` is one, `bad` is too long.
            let mut bad = kept.len();
            while bad - good > 1 {
                let middle = good + (bad - good) / 2;
                if self.try_build(batch, &kept[..middle]).await?.is_some() {
                    good = middle;
                } else {
                    bad = middle;
                }
            }
            kept.remove(bad - 1);
        }
    }

    /// Gets the block that was built, and compares it with what was asked for.
    async fn fetch(&mut self, batch: &Batch, id: Value) -> Result<Payload, EngineError> {
        let method = self.rules.fork.get_method();
        let mut result = self.engine.call(method, json!([id])).await?;
        let json = result.get_mut("executionPayload").map(Value::take);
        let json = json.ok_or_else(|| answer(method, "executionPayload"))?;
        let payload = Payload::from_json(json).map_err(|field| answer(method, field))?;
        let mut asked = batch.transactions.iter();
        let in_order = payload
            .transactions
            .iter()
            .all(|raw| asked.any(|a| a == raw));
        for (same, field) in [
            (payload.parent == self.head.hash, "parentHash"),
            (
                self.head.number.checked_add(1) == Some(payload.number),
                "blockNumber",
            ),
            (payload.timestamp == batch.timestamp, "timestamp"),
            (payload.randao == randao(&batch.root), "prevRandao"),
            (
                payload.fee_recipient == self.rules.fee_recipient,
                "feeRecipient",
            ),
            (payload.gas_limit == self.rules.gas_limit, "gasLimit"),
            (in_order, "transactions"),
        ] {
            if !same {
                return Err(EngineError::Answer {
                    method,
                    reason: format!("{field} is not what was asked for"),
                });
            }
        }
        Ok(payload)
    }
}

/// The client's head, and the root that it was made from unless it is the genesis.
async fn latest(engine: &mut Engine) -> Result<(Head, Option<Root>), EngineError> {
    let block = engine.call(LATEST, json!(["latest", false])).await?;
    let wrong = |field| answer(LATEST, field);
    let head = Head {
        number: number_of(&block, "number").map_err(wrong)?,
        hash: fixed_of(&block, "hash").map_err(wrong)?,
        timestamp: number_of(&block, "timestamp").map_err(wrong)?,
    };
    if head.number == 0 {
        return Ok((head, None));
    }
    let root = fixed_of(&block, "parentBeaconBlockRoot").map_err(wrong)?;
    Ok((head, Some(Root(Digest(root)))))
}

/// Whether a payload status is VALID.
fn valid(method: &'static str, status: &Value) -> Result<(), EngineError> {
    match status.get("status").and_then(Value::as_str) {
        Some("VALID") => Ok(()),
        Some("SYNCING" | "ACCEPTED") => Err(EngineError::Syncing { method }),
        Some("INVALID" | "INVALID_BLOCK_HASH") => {
            let reason = status.get("validationError").and_then(Value::as_str);
            let reason = reason.unwrap_or("no reason given").to_owned();
            Err(EngineError::Invalid { method, reason })
        }
        _ => Err(answer(method, "status")),
    }
}

//! A trader, what it sent, and what has to come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fairlane_client::wire::ErrorCode;
use fairlane_client::{Member, Pin, SealOptions, Sealer, check_proof};
use fairlane_types::{
    CtId, Envelope, KeyId, Millis, Outcome, SecretKey, SeededRng, SequencedBlock,
};

use crate::Machine;
use crate::common::PATIENCE;

/// Orders a second, as a rule.
pub const RATE: u64 = 40;

/// What was sent, by nonce: sealed once, or to another key again.
#[derive(Default)]
pub struct Sent {
    pub payloads: BTreeMap<u64, Vec<u8>>,
    pub sealed: BTreeMap<CtId, u64>,
    pub acknowledged: BTreeSet<CtId>,
}

impl Sent {
    /// What came out of some orders, by nonce: what was sealed, whether it was acknowledged, and its
    /// outcome.
    pub fn what_became_of(
        &self,
        orders: &BTreeSet<u64>,
        outcomes: &BTreeMap<CtId, Outcome>,
    ) -> BTreeMap<u64, Vec<(CtId, bool, Option<Outcome>)>> {
        let mut found: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (id, nonce) in &self.sealed {
            if orders.contains(nonce) {
                let outcome = outcomes.get(id).cloned();
                let acknowledged = self.acknowledged.contains(id);
                found
                    .entry(*nonce)
                    .or_default()
                    .push((*id, acknowledged, outcome));
            }
        }
        found
    }

    /// Every acknowledged order came out as what was sealed; of one that was sealed twice one
    /// did. Returns how many were.
    pub fn complete(&self, outcomes: &BTreeMap<CtId, Outcome>) -> usize {
        let mut opened: BTreeMap<u64, usize> = BTreeMap::new();
        for (id, outcome) in outcomes {
            let nonce = self.sealed[id];
            if let Outcome::Opened { payload, .. } = outcome {
                assert_eq!(payload, &self.payloads[&nonce]);
                *opened.entry(nonce).or_default() += 1;
            }
        }
        for id in &self.acknowledged {
            let nonce = self.sealed[id];
            let (times, outcome) = (opened.get(&nonce), outcomes.get(id));
            assert_eq!(
                times,
                Some(&1),
                "order {nonce}: {id} came out as {outcome:?}"
            );
        }
        self.sealed.len() - self.payloads.len()
    }
}

/// A trader that sends every order to all machines until one acknowledges it, and seals it again
/// if one says that its key is old. It seals to the key of `pin`, which others may move on.
pub async fn trade(
    pin: Arc<Mutex<Pin>>,
    apis: Vec<Member>,
    rate: u64,
    (sent, stop): (Arc<Mutex<Sent>>, Arc<AtomicBool>),
) {
    let mut tasks = tokio::task::JoinSet::new();
    for nonce in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let order = Order {
            nonce,
            expiry: Millis(now + 100_000),
        };
        sent.lock().unwrap().payloads.insert(nonce, order.payload());
        tasks.spawn(order.send(apis.clone(), Arc::clone(&pin), Arc::clone(&sent)));
        tokio::time::sleep(Duration::from_millis(1_000 / rate)).await;
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

pub struct Order {
    nonce: u64,
    expiry: Millis,
}

impl Order {
    fn payload(&self) -> Vec<u8> {
        format!("order {}", self.nonce).into_bytes()
    }

    fn seal(&self, pin: &Pin, sent: &Mutex<Sent>) -> Envelope {
        let trader = Sealer::new(pin, SecretKey::from_seed([1; 32]));
        let options = SealOptions {
            nonce: self.nonce,
            expiry: self.expiry,
            lane: None,
        };
        let seed = pin.genesis().epoch().0.to_le_bytes();
        let mut rng = SeededRng::new(&[9; 32], &[seed, self.nonce.to_le_bytes()].concat());
        let envelope = trader
            .seal_bytes(&self.payload(), options, &mut rng)
            .unwrap();
        sent.lock()
            .unwrap()
            .sealed
            .insert(envelope.id(), self.nonce);
        envelope
    }

    async fn send(self, apis: Vec<Member>, pin: Arc<Mutex<Pin>>, sent: Arc<Mutex<Sent>>) {
        let until = Instant::now() + PATIENCE;
        let mut known = pin.lock().unwrap().clone();
        let mut envelope = self.seal(&known, &sent);
        loop {
            let mut answers = tokio::task::JoinSet::new();
            for api in apis.clone() {
                let envelope = envelope.clone();
                answers.spawn(async move { (api.submit(&envelope).await, api) });
            }
            let (mut taken, mut known_to_them, mut old) = (false, false, None);
            while let Some(answer) = answers.join_next().await {
                match answer.unwrap() {
                    (Ok(_), _) => taken = true,
                    (Err(error), api) if error.is_old_key() => old = Some(api),
                    // It, or what was sealed before it, is in the sequence or on its way.
                    (Err(error), _) => {
                        let codes = [ErrorCode::AlreadySequenced, ErrorCode::NonceUsed];
                        known_to_them |= error.code().is_some_and(|code| codes.contains(&code));
                    }
                }
            }
            if taken {
                sent.lock().unwrap().acknowledged.insert(envelope.id());
            }
            if taken || known_to_them {
                return;
            }
            if let Some(api) = old
                && let Ok(present) = api.pin_after(&known).await
                && present.key().id() != known.key().id()
            {
                pin.lock().unwrap().clone_from(&present);
                known = present;
                envelope = self.seal(&known, &sent);
                continue;
            }
            assert!(Instant::now() < until, "nobody takes order {}", self.nonce);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The keys that orders were opened with in each epoch.
pub fn by_epoch(blocks: &[SequencedBlock]) -> BTreeMap<u64, BTreeSet<KeyId>> {
    let mut keys: BTreeMap<u64, BTreeSet<KeyId>> = BTreeMap::new();
    for block in blocks {
        for item in &block.items {
            if matches!(item.outcome, Outcome::Opened { .. }) {
                keys.entry(block.epoch.0)
                    .or_default()
                    .insert(item.label.key_id);
            }
        }
    }
    keys
}

/// Openings verify under the orders' own keys, whatever the present one is.
pub async fn check_some_openings(pin: &Pin, machine: &Machine, blocks: &[SequencedBlock]) {
    let mut checked: BTreeSet<(u64, KeyId)> = BTreeSet::new();
    for block in blocks {
        for item in &block.items {
            let opened = matches!(item.outcome, Outcome::Opened { .. });
            if opened && checked.insert((block.epoch.0, item.label.key_id)) {
                let proof = machine.api.proof(item.ct_id).await.unwrap();
                assert!(proof.envelope.is_some());
                check_proof(pin, item.ct_id, &proof).unwrap();
            }
        }
    }
    assert!(checked.len() >= 3);
}

//! What a run begins with.

use std::sync::{Arc, OnceLock};

use fairlane_encryption::{ReceiverSecret, SuiteKey, deal_suite_insecure};
use fairlane_replica::Sharing;
use fairlane_types::{
    CertificateParams, ChainId, EncryptionParams, Epoch, Genesis, OrderParams, OrderRule,
    ReceiverBytes, SecretKey,
};

use crate::engine::Stream;
use crate::scenario::START;

use super::Epochs;
use super::machine::committee_of;

/// How long a former key opens orders.
const KEY_GRACE_MS: u64 = 2_500;

pub(super) type Keys = (Arc<SecretKey>, Arc<ReceiverSecret>);
pub(super) type Shares = Vec<Arc<OnceLock<Sharing>>>;

/// The genesis of the first committee, and the shares of its key where a dealer made it.
pub(super) fn first_genesis(
    plan: &Epochs,
    first: &[usize],
    keys: &[Keys],
    secret: &mut Stream,
    rng: &mut Stream,
) -> (Genesis, Shares) {
    let n = first.len();
    let (key, shares) = deal_suite_insecure(plan.scheme, Epoch(0), n, secret)
        .expect("invariant: a committee is small enough to deal to");
    let receivers = first
        .iter()
        .map(|m| ReceiverBytes(*keys[*m].1.key().bytes()));
    let encryption = if plan.ceremony {
        EncryptionParams::ceremony(plan.scheme, receivers.collect())
    } else {
        EncryptionParams::dealt(plan.scheme, key.id(), key.to_bytes())
    };
    let key: Arc<SuiteKey> = Arc::new(key);
    let sharing = |share| Sharing::known(Arc::clone(&key), Arc::new(share), None);
    let shares = match plan.ceremony {
        true => Vec::new(),
        false => shares.into_iter().map(sharing).collect(),
    };
    let rules = [OrderRule::Strong, OrderRule::Arrival];
    let genesis = Genesis {
        chain: ChainId(0x6161),
        time: START,
        experiment: true,
        start: None,
        members: first.iter().map(|m| keys[*m].0.public()).collect(),
        encryption,
        // Made with the encryption key, or not at all.
        certificates: plan.ceremony.then(CertificateParams::ceremony),
        lanes: Default::default(),
        consensus: Default::default(),
        order: OrderParams {
            rule: rules[rng.below(2) as usize],
            snapshot_interval: [4, 16, 256][rng.below(3) as usize],
            // Shorter than orders live, so that some are sealed again.
            key_grace_ms: KEY_GRACE_MS,
            ..Default::default()
        },
    };
    debug_assert_eq!(committee_of(&genesis).n(), n);
    (genesis, shares)
}

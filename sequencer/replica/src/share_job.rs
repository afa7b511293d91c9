//! Decryption shares as jobs: making them, combining them, and opening what another member
//! combined (PROTOCOL D1, D4, D5; ENCRYPTION 6.6 to 6.8).

use std::sync::Arc;

use fairlane_encryption::{
    KeyBatch, Opened, Plain, ShareError, Suite, SuiteParsed, ThresholdScheme, resolve,
};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, Height, KeyId, MemberId, SeededRng, verify_each,
};

use crate::job::{CryptoContext, finalized};
use crate::share_message::{KeyMessage, ShareFault, ShareMessage, list_digest};

/// What is needed to make shares: the list, and the proof that its block is final.
#[derive(Clone, Debug)]
pub struct SharesJob {
    /// Height of the block.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// What D(c) is dealt into.
    pub slices: Vec<ShareSlice>,
    /// A final certificate of the block or of a descendant.
    pub certificate: Certificate,
    /// Headers from the certified block down to the child of `block`.
    pub path: Vec<BlockHeader>,
}

/// A slice of D(c): orders that are sealed to one key.
#[derive(Clone, Debug)]
pub struct ShareSlice {
    /// The key.
    pub key: KeyId,
    /// The orders.
    pub list: Vec<Arc<SuiteParsed>>,
}

/// Share sets to combine.
#[derive(Clone, Debug)]
pub struct CombineJob {
    /// Height of the block.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// The slice of D(c).
    pub slice: u16,
    /// The key that its orders are sealed to.
    pub key: KeyId,
    /// The slice's orders.
    pub list: Vec<Arc<SuiteParsed>>,
    /// What members sent, at most one each, in the order of arrival.
    pub sets: Vec<(MemberId, Arc<ShareMessage>)>,
    /// The others wait to be told what it gives.
    pub tell: bool,
}

/// What a combiner told, to be opened.
#[derive(Clone, Debug)]
pub struct OpenKeysJob {
    /// The block.
    pub block: BlockId,
    /// The key that the slice's orders are sealed to.
    pub key: KeyId,
    /// The slice's orders.
    pub list: Vec<Arc<SuiteParsed>>,
    /// Who told it.
    pub from: MemberId,
    /// What it told.
    pub message: Arc<KeyMessage>,
}

/// Result of combining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combined {
    /// One verdict for each order; all are there unless `missing` is over 0.
    pub outcomes: Vec<Option<Opened>>,
    /// Members whose set is false, with what is wrong with it.
    pub liars: Vec<(MemberId, ShareFault)>,
    /// Further sets that are needed.
    pub missing: usize,
    /// What to tell the others, where they wait for it and nothing is missing.
    pub told: Option<Box<KeyBatch>>,
}

/// Of a key whose share is gone none are made: what was final before that has come out here.
pub(crate) fn make_shares(
    context: &CryptoContext,
    job: &SharesJob,
    entropy: &[u8; 32],
) -> Option<Vec<Arc<ShareMessage>>> {
    let sharing = context.sharing.get()?;
    let token = finalized(context, &job.certificate, &job.path, entropy)?;
    let mut rng = SeededRng::new(entropy, b"shares");
    let (key, chain, epoch) = (&context.identity, context.chain, context.epoch);
    let mut made = Vec::with_capacity(job.slices.len());
    for (slice, ShareSlice { key: id, list }) in job.slices.iter().enumerate() {
        let Some(share) = sharing.share_of(id) else {
            continue;
        };
        let sealed = Suite::shares(&share, job.block, list, &mut rng);
        let shares = sealed.take(&token).ok()?;
        let list = list_digest(list.iter().map(AsRef::as_ref));
        let (slice, batch) = (slice as u16, shares.batch());
        let signed = ShareMessage::sign(job.height, slice, list, batch, key, chain, epoch);
        made.push(Arc::new(signed));
    }
    Some(made)
}

pub(crate) fn open_keys(
    context: &CryptoContext,
    job: &OpenKeysJob,
    entropy: &[u8; 32],
) -> Result<Vec<(usize, Option<Plain>)>, ShareError> {
    let key = context.key_of(&job.key).ok_or(ShareError::WrongKey)?;
    let batch = &job.message.batch;
    key.open_told(batch, job.block, &job.list, job.from, entropy)
}

/// Signatures first, so that whatever is found false afterwards convicts its maker.
pub(crate) fn combine(context: &CryptoContext, job: &CombineJob, entropy: &[u8; 32]) -> Combined {
    let Some(key) = context.key_of(&job.key) else {
        return Combined {
            outcomes: vec![None; job.list.len()],
            liars: Vec::new(),
            missing: context.committee.threshold(),
            told: None,
        };
    };
    let want = list_digest(job.list.iter().map(AsRef::as_ref));
    let mut liars = Vec::new();
    let checks: Vec<_> = job
        .sets
        .iter()
        .filter_map(|(member, set)| {
            let identity = context.committee.key(*member)?;
            Some(set.signature_check(identity, context.chain, context.epoch))
        })
        .collect();
    let forged = if checks.len() == job.sets.len() {
        verify_each(&checks, entropy)
    } else {
        (0..job.sets.len()).collect()
    };
    let mut accepted = Vec::new();
    for (index, (member, set)) in job.sets.iter().enumerate() {
        let shares = if forged.binary_search(&index).is_ok() {
            Err(ShareFault::Signature)
        } else if set.list != want || set.slice != job.slice {
            Err(ShareFault::List)
        } else {
            let batch = set.batch.clone();
            Suite::accept(key, job.block, job.list.len(), *member, batch).map_err(ShareFault::False)
        };
        match shares {
            Ok(shares) => accepted.push((*member, shares)),
            Err(error) => liars.push((*member, error)),
        }
    }
    let sets: Vec<_> = accepted
        .iter()
        .map(|(member, shares)| (*member, shares))
        .collect();
    match resolve::<Suite, _>(key, &job.list, &sets, entropy) {
        Ok(resolution) => {
            let false_sets = resolution.liars.into_iter();
            liars.extend(false_sets.map(|(member, error)| (member, ShareFault::False(error))));
            let opened = |outcome: &Option<Opened>| matches!(outcome, Some(Opened::Plain(_)));
            let opened = resolution.outcomes.iter().map(opened);
            let points = resolution.points.filter(|_| job.tell);
            let told = points.and_then(|p| p.batch(key, job.block, context.me, opened));
            Combined {
                told: told.map(Box::new),
                outcomes: resolution.outcomes,
                liars,
                missing: resolution.missing,
            }
        }
        // `accept` lets only sets of this key, block and length through, so this cannot
        // be; if it is, the sets at hand open nothing and others are waited for.
        Err(_) => Combined {
            outcomes: vec![None; job.list.len()],
            liars,
            missing: key.t(),
            told: None,
        },
    }
}

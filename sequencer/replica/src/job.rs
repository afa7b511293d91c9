//! Costly cryptography as data: the replica asks, a shell's pool computes (boundary rule
//! 3). [`run_job`] is a pure function of the job, the keys and 32 bytes of entropy.

use std::sync::{Arc, OnceLock};

use fairlane_encryption::{
    Attestation, Ceremony, CertificateKeys, CertificateShare, Certification, CombineError, CtError,
    Opened, ReceiverSecret, StateAttestation, Subject, Suite, SuiteKey, SuiteParsed, SuiteSecret,
    ThresholdScheme, accept_certificate_share, resolve, sign_attestation, sign_state,
};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, ChainId, Committee, CtId, Digest, Envelope, Epoch, Height,
    MemberId, Root, SeededRng, SigCheck, Signer, decode, verify_each,
};

use crate::dealing::Dealing;
use crate::share_message::{ShareFault, ShareMessage, list_digest};

/// Keys and parameters that jobs work with.
#[derive(Clone, Debug)]
pub struct CryptoContext {
    /// Chain.
    pub chain: ChainId,
    /// Epoch.
    pub epoch: Epoch,
    /// The committee.
    pub committee: Committee,
    /// This member.
    pub me: MemberId,
    /// Its identity key.
    pub identity: Arc<dyn Signer>,
    /// The encryption key and this member's share of it: set from the start where a dealer
    /// made them, else by [`Job::Conclude`], once.
    pub sharing: Arc<OnceLock<Sharing>>,
    /// What a ceremony for the key needs, on a chain that has one.
    pub ceremony: Option<CeremonyKeys>,
    /// The certificate key, on a chain that has one.
    pub certificates: Option<CertificateKeys>,
}

impl CryptoContext {
    /// The encryption key, once there is one.
    #[must_use]
    pub fn key(&self) -> Option<&Arc<SuiteKey>> {
        self.sharing.get().map(|sharing| &sharing.key)
    }
}

/// An encryption key and one member's share of it.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The epoch's encryption key.
    pub key: Arc<SuiteKey>,
    /// This member's share of it.
    pub share: Arc<SuiteSecret>,
}

impl Sharing {
    /// A sharing that is known from the start.
    #[must_use]
    pub fn known(key: Arc<SuiteKey>, share: Arc<SuiteSecret>) -> Arc<OnceLock<Self>> {
        Arc::new(OnceLock::from(Self { key, share }))
    }
}

/// A key ceremony and what this member reads its part of the key with.
#[derive(Clone, Debug)]
pub struct CeremonyKeys {
    /// The ceremony of the genesis.
    pub ceremony: Arc<Ceremony>,
    /// This member's secret for dealings.
    pub receiver: Arc<ReceiverSecret>,
}

/// A piece of work.
#[derive(Clone, Debug)]
pub enum Job {
    /// Verify signatures; the result names those that fail.
    Verify(Vec<SigCheck>),
    /// Verify sender signature and ciphertext proof of each envelope (M5, stateless).
    Envelopes(Vec<(CtId, Arc<Envelope>)>),
    /// Make this member's shares for a final block (D1, D2).
    Shares(Box<SharesJob>),
    /// Combine share sets into plaintexts (D5).
    Combine(Box<CombineJob>),
    /// Make this member's share of an attestation: only of what it has emitted itself.
    Attest {
        /// Last height that the root covers.
        height: Height,
        /// The root.
        root: Root,
    },
    /// Combine shares of a certificate.
    Certify(Box<CertifyJob>),
    /// Check an attestation that another member combined.
    CheckAttestation(Box<Attestation>),
    /// Make this member's share of the attestation of a state that its shell came to.
    AttestState {
        /// Last height that was executed.
        height: Height,
        /// Digest of the state's roots.
        state: Digest,
    },
    /// Check the attestation of a state that another member combined.
    CheckState(Box<StateAttestation>),
    /// Make this member's dealing in the key ceremony.
    Deal,
    /// Judge a dealing that a final block carries.
    Judge(Arc<Dealing>),
    /// Make the key, and this member's share of it, from the dealings that count.
    Conclude(Box<ConcludeJob>),
}

impl Job {
    /// Whether consensus waits for it; such jobs go first.
    #[must_use]
    pub const fn urgent(&self) -> bool {
        matches!(self, Self::Verify(_))
    }

    /// Short name for metrics and cost tables.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Verify(_) => "verify_signatures",
            Self::Envelopes(_) => "verify_envelopes",
            Self::Shares(_) => "make_shares",
            Self::Combine(_) => "combine",
            Self::Attest { .. } => "attest",
            Self::Certify(_) => "certify",
            Self::CheckAttestation(_) => "check_attestation",
            Self::AttestState { .. } => "attest_state",
            Self::CheckState(_) => "check_state",
            Self::Deal => "deal",
            Self::Judge(_) => "judge_dealing",
            Self::Conclude(_) => "conclude_ceremony",
        }
    }

    /// Number of signatures, envelopes or orders, for metrics and cost models.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Verify(sigs) => sigs.len(),
            Self::Envelopes(list) => list.len(),
            Self::Shares(job) => job.list.len(),
            Self::Combine(job) => job.list.len(),
            Self::Attest { .. }
            | Self::AttestState { .. }
            | Self::CheckAttestation(_)
            | Self::CheckState(_)
            | Self::Deal
            | Self::Judge(_) => 1,
            Self::Conclude(job) => job.dealings.len(),
            Self::Certify(job) => job.shares.len(),
        }
    }
}

impl Job {
    /// Takes another job's items in, so that both are checked as one batch, which costs
    /// less; [`JobResult::split`] gives each its result. What cannot be joined is given
    /// back.
    ///
    /// # Errors
    /// The other job, unless both verify and stay below `items_max` together.
    pub fn join(&mut self, other: Self, items_max: usize) -> Result<(), Self> {
        if self.items() + other.items() > items_max {
            return Err(other);
        }
        match (self, other) {
            (Self::Verify(sigs), Self::Verify(more)) => sigs.extend(more),
            (Self::Envelopes(list), Self::Envelopes(more)) => list.extend(more),
            (_, other) => return Err(other),
        }
        Ok(())
    }
}

impl JobResult {
    /// The results of jobs that were joined, by their numbers of items.
    #[must_use]
    pub fn split(self, items: &[usize]) -> Vec<Self> {
        if items.len() == 1 {
            return vec![self];
        }
        match self {
            Self::Verified { bad } => {
                let mut from = 0;
                let part = |count: &usize| {
                    let range = from..from + count;
                    from = range.end;
                    let of_it = bad.iter().filter(|at| range.contains(at));
                    let bad = of_it.map(|at| at - range.start).collect();
                    Self::Verified { bad }
                };
                items.iter().map(part).collect()
            }
            Self::Envelopes(results) => {
                let mut results = results.into_iter();
                let part = |count: &usize| Self::Envelopes(results.by_ref().take(*count).collect());
                items.iter().map(part).collect()
            }
            alone => vec![alone],
        }
    }
}

/// What is needed to make shares: the list, and the proof that its block is final.
#[derive(Clone, Debug)]
pub struct SharesJob {
    /// Height of the block.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// D(c) in order.
    pub list: Vec<Arc<SuiteParsed>>,
    /// A final certificate of the block or of a descendant.
    pub certificate: Certificate,
    /// Headers from the certified block down to the child of `block`.
    pub path: Vec<BlockHeader>,
}

/// Share sets to combine.
#[derive(Clone, Debug)]
pub struct CombineJob {
    /// Height of the block.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// D(c) in order.
    pub list: Vec<Arc<SuiteParsed>>,
    /// What members sent, at most one each, in the order of arrival.
    pub sets: Vec<(MemberId, Arc<ShareMessage>)>,
}

/// Shares of a certificate to combine.
#[derive(Clone, Debug)]
pub struct CertifyJob {
    /// What is signed.
    pub subject: Subject,
    /// At most one of each member, at least t.
    pub shares: Vec<CertificateShare>,
}

/// Dealings that were judged valid, in the order in which they count.
#[derive(Clone, Debug)]
pub struct ConcludeJob {
    /// The dealings.
    pub dealings: Vec<Arc<Dealing>>,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub enum JobResult {
    /// Indices of the signatures that do not verify.
    Verified {
        /// In ascending order.
        bad: Vec<usize>,
    },
    /// One result for each envelope, in order.
    Envelopes(Vec<Result<Arc<SuiteParsed>, EnvelopeFault>>),
    /// This member's shares, taken out of their seal with the proof of finality; `None`
    /// when the certificate or the path proves nothing.
    Shares(Option<Arc<ShareMessage>>),
    /// What the share sets gave.
    Combined(Combined),
    /// This member's share of an attestation; `None` where it has no key for it.
    Attest(Option<CertificateShare>),
    /// What shares of a certificate gave.
    Certified(Certification),
    /// This member's dealing; `None` where it has no part in a ceremony.
    Dealt(Option<Arc<Dealing>>),
    /// Whether an attestation or a dealing holds.
    Judged(bool),
    /// The encoding of the key, once [`CryptoContext::sharing`] is set; `None` when this
    /// member cannot read its share.
    Concluded(Option<Vec<u8>>),
}

/// Why an envelope is refused after the cheap checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// The sender's signature does not verify.
    #[error("the sender's signature does not verify")]
    Signature,
    /// The ciphertext is not valid under its label.
    #[error(transparent)]
    Ciphertext(#[from] CtError),
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
}

/// Runs a job. `entropy` must be fresh and unknown to others: it blinds batch checks and
/// proof nonces, and dealings are made from it. But for [`CryptoContext::sharing`], which
/// [`Job::Conclude`] sets, a function of its arguments.
#[must_use]
pub fn run_job(context: &CryptoContext, job: &Job, entropy: &[u8; 32]) -> JobResult {
    match job {
        Job::Verify(sigs) => JobResult::Verified {
            bad: verify_each(sigs, entropy),
        },
        Job::Envelopes(list) => JobResult::Envelopes(verify_envelopes(context, list, entropy)),
        Job::Shares(job) => JobResult::Shares(make_shares(context, job, entropy).map(Arc::new)),
        Job::Combine(job) => JobResult::Combined(combine(context, job, entropy)),
        Job::Attest { height, root } => JobResult::Attest(attest(context, *height, *root)),
        Job::Certify(job) => JobResult::Certified(certify(context, job)),
        Job::CheckAttestation(given) => JobResult::Judged(attested(context, given)),
        Job::AttestState { height, state } => {
            JobResult::Attest(attest_state(context, *height, *state))
        }
        Job::CheckState(given) => JobResult::Judged(state_attested(context, given)),
        Job::Deal => JobResult::Dealt(deal(context, entropy).map(Arc::new)),
        Job::Judge(dealing) => JobResult::Judged(judge(context, dealing).is_some()),
        Job::Conclude(job) => JobResult::Concluded(conclude(context, job)),
    }
}

fn attested(context: &CryptoContext, given: &Attestation) -> bool {
    let keys = context.certificates.as_ref();
    keys.is_some_and(|keys| given.verify(keys.key.public_key(), context.chain))
}

fn attest_state(
    context: &CryptoContext,
    height: Height,
    state: Digest,
) -> Option<CertificateShare> {
    let keys = context.certificates.as_ref()?;
    let (chain, epoch) = (context.chain, context.epoch);
    Some(sign_state(&keys.secret, chain, epoch, height, state))
}

fn state_attested(context: &CryptoContext, given: &StateAttestation) -> bool {
    let keys = context.certificates.as_ref();
    keys.is_some_and(|keys| given.verify(keys.key.public_key(), context.chain))
}

fn deal(context: &CryptoContext, entropy: &[u8; 32]) -> Option<Dealing> {
    let keys = context.ceremony.as_ref()?;
    let mut rng = SeededRng::new(entropy, b"deal");
    let deal = keys.ceremony.deal(context.me, &mut rng).ok()?;
    let (key, chain, epoch) = (&context.identity, context.chain, context.epoch);
    Some(Dealing::sign(&deal, key.as_ref(), chain, epoch))
}

/// The signature first: whatever does not bear its dealer's is nobody's.
fn judge(context: &CryptoContext, dealing: &Dealing) -> Option<()> {
    let keys = context.ceremony.as_ref()?;
    let identity = context.committee.key(dealing.dealer)?;
    let check = dealing.signature_check(identity, context.chain, context.epoch);
    check.verify().ok()?;
    let deal = decode(&dealing.deal, dealing.deal.len()).ok()?;
    keys.ceremony.verify(dealing.dealer, deal).ok()?;
    Some(())
}

fn conclude(context: &CryptoContext, job: &ConcludeJob) -> Option<Vec<u8>> {
    let CeremonyKeys { ceremony, receiver } = context.ceremony.as_ref()?;
    let read = |dealing: &Arc<Dealing>| {
        let deal = decode(&dealing.deal, dealing.deal.len()).ok()?;
        ceremony.verified_before(dealing.dealer, deal).ok()
    };
    let deals: Vec<_> = job.dealings.iter().map(read).collect::<Option<_>>()?;
    let (key, share) = ceremony.share(&deals, context.me, receiver).ok()?;
    let key = SuiteKey::Tdh2(key);
    let bytes = key.to_bytes();
    let (key, share) = (Arc::new(key), Arc::new(SuiteSecret::Tdh2(share)));
    // After a restart in the middle of a run the same is computed again.
    let sharing = context.sharing.get_or_init(|| Sharing { key, share });
    (sharing.key.to_bytes() == bytes).then_some(bytes)
}

fn attest(context: &CryptoContext, height: Height, root: Root) -> Option<CertificateShare> {
    let keys = context.certificates.as_ref()?;
    let (chain, epoch) = (context.chain, context.epoch);
    Some(sign_attestation(&keys.secret, chain, epoch, height, root))
}

/// Without the key nothing can be said of the shares: nobody is named.
fn certify(context: &CryptoContext, job: &CertifyJob) -> Certification {
    let nothing = |liars| Certification {
        certificate: None,
        liars,
        missing: context.committee.threshold(),
    };
    let Some(keys) = &context.certificates else {
        return nothing(Vec::new());
    };
    let (mut accepted, mut liars) = (Vec::with_capacity(job.shares.len()), Vec::new());
    for share in &job.shares {
        match accept_certificate_share(&keys.key, share.member, share) {
            Ok(share) => accepted.push(share),
            Err(_) => liars.push(share.member),
        }
    }
    match fairlane_encryption::certify(&keys.key, &job.subject, &accepted) {
        Ok(mut found) => {
            found.liars.splice(0..0, liars);
            found
        }
        // What was accepted is of this key; a share that yet is not is nobody's fault but
        // its sender's.
        Err(CombineError::Mixed(member)) => {
            liars.push(member);
            nothing(liars)
        }
        Err(_) => nothing(liars),
    }
}

fn verify_envelopes(
    context: &CryptoContext,
    list: &[(CtId, Arc<Envelope>)],
    entropy: &[u8; 32],
) -> Vec<Result<Arc<SuiteParsed>, EnvelopeFault>> {
    // The replica keeps such jobs back until there is a key.
    let Some(sharing) = context.sharing.get() else {
        return vec![Err(CtError::UnknownKey.into()); list.len()];
    };
    let signatures: Vec<_> = list.iter().map(|(_, e)| e.signature_check()).collect();
    let forged = verify_each(&signatures, entropy);
    let pairs: Vec<_> = list
        .iter()
        .map(|(_, e)| (e.label.to_bytes().to_vec(), e.ciphertext.as_slice()))
        .collect();
    let mut results: Vec<_> = Suite::check_batch(&sharing.key, &pairs, entropy)
        .into_iter()
        .map(|result| result.map(Arc::new).map_err(EnvelopeFault::from))
        .collect();
    for index in forged {
        results[index] = Err(EnvelopeFault::Signature);
    }
    results
}

fn make_shares(
    context: &CryptoContext,
    job: &SharesJob,
    entropy: &[u8; 32],
) -> Option<ShareMessage> {
    let sharing = context.sharing.get()?;
    // D1: the token exists only where q commit signatures verify.
    let mut token = job
        .certificate
        .finalize(context.chain, &context.committee, entropy)
        .ok()?;
    for header in &job.path {
        token = token.parent(header)?;
    }
    let mut rng = SeededRng::new(entropy, b"shares");
    let sealed = Suite::shares(&sharing.share, job.block, &job.list, &mut rng);
    let shares = sealed.take(&token).ok()?;
    let list = list_digest(job.list.iter().map(AsRef::as_ref));
    let batch = shares.batch();
    let (key, chain, epoch) = (&context.identity, context.chain, context.epoch);
    Some(ShareMessage::sign(
        job.height, list, batch, key, chain, epoch,
    ))
}

/// Signatures first, so that whatever is found false afterwards convicts its maker.
fn combine(context: &CryptoContext, job: &CombineJob, entropy: &[u8; 32]) -> Combined {
    let Some(Sharing { key, .. }) = context.sharing.get() else {
        return Combined {
            outcomes: vec![None; job.list.len()],
            liars: Vec::new(),
            missing: context.committee.threshold(),
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
        } else if set.list != want {
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
            Combined {
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
        },
    }
}

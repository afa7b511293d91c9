//! Costly cryptography as data: the replica asks, a shell's pool computes (boundary rule
//! 3). [`run_job`] is a pure function of the job, the keys and 32 bytes of entropy.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fairlane_encryption::{
    Attestation, Beacon, CERTIFICATE_KEY_BYTES, Ceremony, CertificateKeys, CertificateShare,
    Certification, CombineError, CommitteeKeys, CommitteeShares, CtError, Plain, ReceiverSecret,
    ShareError, StateAttestation, Subject, Suite, SuiteKey, SuiteParsed, SuiteSecret,
    ThresholdScheme, VerifiedDeal, accept_certificate_share, sign_attestation, sign_beacon,
    sign_state,
};
use fairlane_types::{
    ActiveKeys, BlockHeader, BlockId, Certificate, ChainId, Committee, CommitteeChange, CtId,
    Digest, Envelope, Epoch, Finalized, Height, KeyId, MemberId, Root, SeededRng, SigCheck, Signer,
    UsedReceivers, decode, encode, verify_each,
};

use crate::dealing::Dealing;
use crate::share_job::{
    CombineJob, Combined, OpenKeysJob, SharesJob, combine, make_shares, open_keys,
};
use crate::share_message::ShareMessage;

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
    /// The committee's keys and this member's shares of them: set from the start where a
    /// dealer made them, else by [`Job::Conclude`], once.
    pub sharing: Arc<OnceLock<Sharing>>,
    /// What a ceremony for the keys needs, on a chain that has one.
    pub ceremony: Option<CeremonyKeys>,
}

impl CryptoContext {
    /// The encryption key, once there is one.
    #[must_use]
    pub fn key(&self) -> Option<&Arc<SuiteKey>> {
        self.sharing.get().map(|sharing| &sharing.key)
    }

    /// The encryption key of this id: that of the epoch, or of the one before.
    #[must_use]
    pub fn key_of(&self, id: &KeyId) -> Option<&Arc<SuiteKey>> {
        self.sharing.get()?.key_of(id)
    }

    /// The certificate key with this member's share, once there is one.
    fn certificates(&self) -> Option<&CertificateKeys> {
        self.sharing.get()?.certificates.as_ref()
    }
}

/// A committee's keys and one member's shares of them.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The epoch's encryption key.
    pub key: Arc<SuiteKey>,
    /// This member's share of it.
    pub share: Arc<SuiteSecret>,
    /// The certificate key with this member's share, on a chain that has one.
    pub certificates: Option<CertificateKeys>,
    /// The encryption key of the epoch before, where that of this one is fresh.
    pub former: Option<FormerSharing>,
}

/// The encryption key of the epoch before, with this member's share until that is erased.
#[derive(Clone, Debug)]
pub struct FormerSharing {
    /// The key.
    pub key: Arc<SuiteKey>,
    /// Shared by all that hold the sharing, so that it goes for all of them at once.
    share: Arc<Mutex<Option<Arc<SuiteSecret>>>>,
}

impl FormerSharing {
    /// A key; without a share once that is erased.
    #[must_use]
    pub fn new(key: Arc<SuiteKey>, share: Option<Arc<SuiteSecret>>) -> Self {
        let share = Arc::new(Mutex::new(share));
        Self { key, share }
    }

    /// This member's share, while it is there.
    #[must_use]
    pub fn share(&self) -> Option<Arc<SuiteSecret>> {
        let share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        share.clone()
    }

    /// Forgets the share: it is wiped when the last job that works with it is done.
    pub fn forget(&self) {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        *share = None;
    }
}

impl Sharing {
    /// What a ceremony gave.
    pub(crate) fn made(keys: CommitteeKeys, shares: CommitteeShares) -> Self {
        let certificates = keys.certificate.zip(shares.certificate);
        let former = keys
            .former
            .zip(shares.former)
            .map(|(key, share)| FormerSharing::new(Arc::new(key), Some(Arc::new(share))));
        Self {
            former,
            key: Arc::new(keys.encryption),
            share: Arc::new(shares.encryption),
            certificates: certificates.map(|(key, secret)| CertificateKeys {
                key: Arc::new(key),
                secret: Arc::new(secret),
            }),
        }
    }

    /// A sharing that is known from the start.
    #[must_use]
    pub fn known(
        key: Arc<SuiteKey>,
        share: Arc<SuiteSecret>,
        certificates: Option<CertificateKeys>,
    ) -> Arc<OnceLock<Self>> {
        Arc::new(OnceLock::from(Self {
            key,
            share,
            certificates,
            former: None,
        }))
    }

    /// The encryption key of this id, present or former.
    #[must_use]
    pub fn key_of(&self, id: &KeyId) -> Option<&Arc<SuiteKey>> {
        let former = self.former.as_ref().map(|former| &former.key);
        let mut keys = core::iter::once(&self.key).chain(former);
        keys.find(|key| key.id() == *id)
    }

    /// This member's share of that key, unless it is erased.
    pub(crate) fn share_of(&self, id: &KeyId) -> Option<Arc<SuiteSecret>> {
        if self.key.id() == *id {
            return Some(Arc::clone(&self.share));
        }
        let former = self.former.as_ref();
        former.filter(|former| former.key.id() == *id)?.share()
    }

    /// The public keys.
    #[must_use]
    pub fn public(&self) -> ActiveKeys {
        let certificate = self.certificates.as_ref();
        ActiveKeys {
            encryption: self.key.to_bytes(),
            certificate: certificate.map_or_else(Vec::new, |keys| encode(keys.key.as_ref())),
        }
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
    /// Open what a combiner told of a slice.
    OpenKeys(Box<OpenKeysJob>),
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
    /// Make this member's share of the beacon of a final block (D1, D2).
    Beacon(Box<BeaconJob>),
    /// Check a beacon that another member gave.
    CheckBeacon(Box<Beacon>),
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
    /// For the next committee's key where a ceremony is given, else for the genesis's.
    Deal(Option<Arc<Ceremony>>),
    /// Judge a dealing that a final block carries, in the same way.
    Judge(Arc<Dealing>, Option<Arc<Ceremony>>),
    /// Judge a change of committee that a final block carries, and make the ceremony by which
    /// the key is dealt on.
    Open(Box<OpenJob>),
    /// Make the keys, and this member's shares of them, from the dealings that count.
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
            Self::OpenKeys(_) => "open_keys",
            Self::Attest { .. } => "attest",
            Self::Certify(_) => "certify",
            Self::CheckAttestation(_) => "check_attestation",
            Self::Beacon(_) => "beacon",
            Self::CheckBeacon(_) => "check_beacon",
            Self::Deal(_) => "deal",
            Self::Judge(..) => "judge_dealing",
            Self::Open(_) => "open_change",
            Self::AttestState { .. } => "attest_state",
            Self::CheckState(_) => "check_state",
            Self::Conclude(_) => "conclude_ceremony",
        }
    }

    /// Number of signatures, envelopes, orders, or shares combined, for metrics and cost models.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Verify(sigs) => sigs.len(),
            Self::Envelopes(list) => list.len(),
            Self::Shares(job) => job.slices.iter().map(|slice| slice.list.len()).sum(),
            Self::Combine(job) => job.list.len() * job.sets.len(),
            Self::OpenKeys(job) => job.message.batch.points.len(),
            Self::Attest { .. }
            | Self::AttestState { .. }
            | Self::CheckState(_)
            | Self::CheckAttestation(_)
            | Self::Beacon(_)
            | Self::CheckBeacon(_)
            | Self::Deal(_)
            | Self::Judge(..) => 1,
            Self::Open(job) => job.change.approved.signatures.len(),
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

/// What is needed to sign a block: the proof that it is final.
#[derive(Clone, Debug)]
pub struct BeaconJob {
    /// Height of the block.
    pub height: Height,
    /// The block.
    pub block: BlockId,
    /// As in [`SharesJob`].
    pub certificate: Certificate,
    /// As in [`SharesJob`].
    pub path: Vec<BlockHeader>,
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
    /// The next committee's ceremony; the genesis's where there is none.
    pub next: Option<Arc<Ceremony>>,
}

/// A change of committee to judge.
#[derive(Clone, Debug)]
pub struct OpenJob {
    /// The change.
    pub change: Arc<CommitteeChange>,
    /// Hash of the genesis of the epoch that it ends.
    pub before: Digest,
    /// Keys for dealings that it may not have.
    pub used: Arc<UsedReceivers>,
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
    /// This member's shares, a message for each slice, taken out of their seal with the
    /// proof of finality; `None` when the certificate or the path proves nothing.
    Shares(Option<Vec<Arc<ShareMessage>>>),
    /// What the share sets gave.
    Combined(Combined),
    /// What a combiner told: the orders by their place in the slice, `None` where the
    /// opening check refuses it; or what is wrong with all of it.
    KeysOpened(Result<Vec<(usize, Option<Plain>)>, ShareError>),
    /// This member's share of an attestation; `None` where it has no key for it.
    Attest(Option<CertificateShare>),
    /// This member's share of a beacon; `None` where it has no key for it, or the proof of
    /// finality proves nothing.
    Beacon(Option<CertificateShare>),
    /// What shares of a certificate gave.
    Certified(Certification),
    /// This member's dealing; `None` where it has no part in a ceremony.
    Dealt(Option<Arc<Dealing>>),
    /// The ceremony of a valid change of committee.
    Opened(Option<Arc<Ceremony>>),
    /// Whether an attestation, a beacon or a dealing holds.
    Judged(bool),
    /// The keys, once [`CryptoContext::sharing`] is set; `None` when this member cannot read
    /// its shares.
    Concluded(Option<MadeKeys>),
}

/// Public keys that a ceremony gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeKeys {
    /// Those of the epoch.
    pub keys: ActiveKeys,
    /// The new sharing of the encryption key before, where the epoch's is fresh.
    pub former: Option<Vec<u8>>,
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
        Job::Shares(job) => JobResult::Shares(make_shares(context, job, entropy)),
        Job::Combine(job) => JobResult::Combined(combine(context, job, entropy)),
        Job::OpenKeys(job) => JobResult::KeysOpened(open_keys(context, job, entropy)),
        Job::Attest { height, root } => JobResult::Attest(attest(context, *height, *root)),
        Job::Certify(job) => JobResult::Certified(certify(context, job)),
        Job::CheckAttestation(given) => {
            JobResult::Judged(signed(context, |key, chain| given.verify(key, chain)))
        }
        Job::AttestState { height, state } => {
            JobResult::Attest(attest_state(context, *height, *state))
        }
        Job::CheckState(given) => {
            JobResult::Judged(signed(context, |key, chain| given.verify(key, chain)))
        }
        Job::Beacon(job) => JobResult::Beacon(sign_block(context, job, entropy)),
        Job::CheckBeacon(given) => {
            JobResult::Judged(signed(context, |key, chain| given.verify(key, chain)))
        }
        Job::Deal(next) => {
            let dealing = deal(context, next.as_deref(), entropy);
            JobResult::Dealt(dealing.map(Arc::new))
        }
        Job::Judge(dealing, next) => {
            JobResult::Judged(judge(context, dealing, next.as_deref()).is_some())
        }
        Job::Open(job) => JobResult::Opened(open(context, job).map(Arc::new)),
        Job::Conclude(job) => JobResult::Concluded(conclude(context, job)),
    }
}

/// Whether the committee signed something, by what checks its signature.
fn signed(
    context: &CryptoContext,
    verify: impl FnOnce(&[u8; CERTIFICATE_KEY_BYTES], ChainId) -> bool,
) -> bool {
    let keys = context.certificates();
    keys.is_some_and(|keys| verify(keys.key.public_key(), context.chain))
}

fn attest_state(
    context: &CryptoContext,
    height: Height,
    state: Digest,
) -> Option<CertificateShare> {
    let keys = context.certificates()?;
    let (chain, epoch) = (context.chain, context.epoch);
    Some(sign_state(&keys.secret, chain, epoch, height, state))
}

/// D1: the token that releases shares exists only where q commit signatures verify.
pub(crate) fn finalized(
    context: &CryptoContext,
    certificate: &Certificate,
    path: &[BlockHeader],
    entropy: &[u8; 32],
) -> Option<Finalized> {
    let token = certificate.finalize(context.chain, &context.committee, entropy);
    path.iter()
        .try_fold(token.ok()?, |token, header| token.parent(header))
}

fn sign_block(
    context: &CryptoContext,
    job: &BeaconJob,
    entropy: &[u8; 32],
) -> Option<CertificateShare> {
    let keys = context.certificates()?;
    let token = finalized(context, &job.certificate, &job.path, entropy)?;
    let (chain, epoch) = (context.chain, context.epoch);
    let sealed = sign_beacon(&keys.secret, chain, epoch, job.height, job.block);
    sealed.take(&token).ok()
}

fn deal(context: &CryptoContext, next: Option<&Ceremony>, entropy: &[u8; 32]) -> Option<Dealing> {
    let mut rng = SeededRng::new(entropy, b"deal");
    let deal = match next {
        None => {
            let keys = context.ceremony.as_ref()?;
            keys.ceremony.deal(context.me, &mut rng).ok()?
        }
        Some(next) => {
            let sharing = context.sharing.get()?;
            let certificate = sharing.certificates.as_ref();
            let certificate = certificate.map(|keys| keys.secret.as_ref());
            next.deal_share(&sharing.share, certificate, &mut rng)
                .ok()?
        }
    };
    let (key, chain, epoch) = (&context.identity, context.chain, context.epoch);
    Some(Dealing::sign(&deal, key.as_ref(), chain, epoch))
}

/// The signature first: whatever does not bear its dealer's is nobody's.
fn judge(context: &CryptoContext, dealing: &Dealing, next: Option<&Ceremony>) -> Option<()> {
    let ceremony = match next {
        Some(next) => next,
        None => context.ceremony.as_ref()?.ceremony.as_ref(),
    };
    let identity = context.committee.key(dealing.dealer)?;
    let check = dealing.signature_check(identity, context.chain, context.epoch);
    check.verify().ok()?;
    let deal = decode(&dealing.deal, dealing.deal.len()).ok()?;
    ceremony.verify(dealing.dealer, deal).ok()?;
    Some(())
}

fn open(context: &CryptoContext, job: &OpenJob) -> Option<Ceremony> {
    job.used.check(&job.change.next).ok()?;
    job.change.verify(&context.committee).ok()?;
    let sharing = context.sharing.get()?;
    let certificate = sharing.certificates.as_ref();
    let old = CommitteeKeys {
        encryption: sharing.key.as_ref().clone(),
        certificate: certificate.map(|keys| keys.key.as_ref().clone()),
        former: None,
    };
    Ceremony::of_change(job.before, &job.change.next, old).ok()
}

fn read_deals(ceremony: &Ceremony, dealings: &[Arc<Dealing>]) -> Option<Vec<VerifiedDeal>> {
    let read = |dealing: &Arc<Dealing>| {
        let deal = decode(&dealing.deal, dealing.deal.len()).ok()?;
        ceremony.verified_before(dealing.dealer, deal).ok()
    };
    dealings.iter().map(read).collect()
}

fn conclude(context: &CryptoContext, job: &ConcludeJob) -> Option<MadeKeys> {
    if let Some(next) = &job.next {
        // The old members need no shares of them.
        let keys = next.keys(&read_deals(next, &job.dealings)?).ok()?;
        let former = keys.former.map(|key| key.to_bytes());
        let keys = ActiveKeys {
            encryption: keys.encryption.to_bytes(),
            certificate: keys.certificate.map_or_else(Vec::new, |key| encode(&key)),
        };
        return Some(MadeKeys { keys, former });
    }
    let CeremonyKeys { ceremony, receiver } = context.ceremony.as_ref()?;
    let deals = read_deals(ceremony, &job.dealings)?;
    let (keys, shares) = ceremony.shares(&deals, context.me, receiver).ok()?;
    let made = Sharing::made(keys, shares);
    let keys = made.public();
    // After a restart in the middle of a run the same is computed again.
    let sharing = context.sharing.get_or_init(|| made);
    (sharing.public() == keys).then_some(MadeKeys { keys, former: None })
}

fn attest(context: &CryptoContext, height: Height, root: Root) -> Option<CertificateShare> {
    let keys = context.certificates()?;
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
    let Some(keys) = context.certificates() else {
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
    // Each key checks its own: to an unknown one nothing is sealed.
    let mut results = vec![Err(CtError::UnknownKey.into()); list.len()];
    let former = sharing.former.as_ref().map(|former| &former.key);
    for key in core::iter::once(&sharing.key).chain(former) {
        let id = key.id();
        let of_key = (list.iter().enumerate()).filter(|(_, (_, e))| e.label.key_id == id);
        let (places, pairs): (Vec<usize>, Vec<_>) = of_key
            .map(|(at, (_, e))| (at, (e.label.to_bytes().to_vec(), e.ciphertext.as_slice())))
            .unzip();
        for (at, result) in places
            .into_iter()
            .zip(Suite::check_batch(key, &pairs, entropy))
        {
            results[at] = result.map(Arc::new).map_err(EnvelopeFault::from);
        }
    }
    for index in forged {
        results[index] = Err(EnvelopeFault::Signature);
    }
    results
}

//! The oracle of tier L1: knows what every trader sealed, answers jobs, and records who
//! released shares of what and when, so that a checker can ask who could open an order
//! (S8, A2).

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_encryption::{
    CERTIFICATE_BYTES, CertificateShare, Certification, CtError, DleqProof, KeyBatch, KeyPoint,
    OPENING_BYTES, Opened, ParsedCiphertext, Plain, ShareBatch, ShareError, Subject, SuiteBatch,
    SuiteParsed, ThresholdCertificate,
};
use fairlane_replica::{
    BeaconJob, CertifyJob, CombineJob, Combined, CryptoContext, EnvelopeFault, Job, JobResult,
    OpenKeysJob, ShareFault, ShareMessage, ShareSlice, SharesJob, list_digest_of,
};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CertificateKind, Envelope, KeyId, Label, MemberId, SigCheck,
    Signature,
};

use crate::engine::Nanos;

use super::signature;
use super::tag::Tag;

/// Where U is in a ciphertext: behind the suite.
const U: core::ops::Range<usize> = 1..33;

/// Certificates that are remembered as valid.
const CERTIFICATES_MAX: usize = 64;

/// U of a ciphertext: simulated committees run suite 0x01, and of another there is none.
fn point(ct: &SuiteParsed) -> &[u8; 32] {
    ct.tdh2().map_or(&[0; 32], ParsedCiphertext::u)
}

/// Something that a trader sealed.
#[derive(Debug)]
struct Sealed {
    label: Vec<u8>,
    ciphertext: Vec<u8>,
    signature: Option<Signature>,
    parsed: Arc<SuiteParsed>,
    opened: Opened,
    exposure: Exposure,
}

/// Who has released shares of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// A bit for every member whose share left it.
    pub holders: u128,
    /// When each of them released its share, in the order in which they did.
    pub released: Vec<(MemberId, Nanos)>,
}

impl Exposure {
    /// When `need` shares of members out of `who` (a bit each) had left them.
    #[must_use]
    pub fn reached(&self, need: usize, who: u128) -> Option<Nanos> {
        let of_them = self.released.iter().filter(|(m, _)| who >> m.0 & 1 == 1);
        match need.checked_sub(1) {
            None => Some(Nanos(0)),
            Some(last) => of_them.map(|(_, at)| *at).nth(last),
        }
    }
}

/// All that ideal cryptography knows.
#[derive(Debug)]
pub struct Oracle {
    secret: u64,
    sealed: Vec<Sealed>,
    /// Their numbers, by encoded U.
    by_u: BTreeMap<[u8; 32], usize>,
    /// Valid ones, latest last: every member is shown the same.
    certificates: Vec<Certificate>,
}

impl Oracle {
    pub(super) fn new(secret: u64) -> Self {
        Self {
            secret,
            sealed: Vec::new(),
            by_u: BTreeMap::new(),
            certificates: Vec::new(),
        }
    }

    pub(super) const fn secret(&self) -> u64 {
        self.secret
    }

    /// Number of ciphertexts that traders made.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sealed.len()
    }
    /// Whether nothing was sealed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty()
    }

    /// Who has released shares of an envelope's order.
    #[must_use]
    pub fn exposure(&self, envelope: &Envelope) -> Option<&Exposure> {
        Some(&self.known(envelope)?.exposure)
    }

    // ---- traders ----

    /// Notes what a ciphertext holds; `payload` is `None` for one that opens to nothing.
    pub(super) fn sealed(
        &mut self,
        key: KeyId,
        label: &Label,
        payload: Option<&[u8]>,
        opening: [u8; OPENING_BYTES],
        ciphertext: &[u8],
    ) {
        let label = label.to_bytes().to_vec();
        let parsed = ParsedCiphertext::assumed(key, &label, ciphertext)
            .expect("invariant: suite and length are those of a ciphertext");
        let opened = payload.map_or(Opened::Malformed, |payload| {
            Opened::Plain(Plain {
                payload: payload.to_vec(),
                opening,
            })
        });
        self.by_u.insert(*parsed.u(), self.sealed.len());
        self.sealed.push(Sealed {
            label,
            ciphertext: ciphertext.to_vec(),
            signature: None,
            parsed: Arc::new(SuiteParsed::Tdh2(parsed)),
            opened,
            exposure: Exposure::default(),
        });
    }

    pub(super) fn signed(&mut self, envelope: &Envelope) {
        let index = self.index_of(&envelope.ciphertext);
        if let Some(sealed) = index.and_then(|index| self.sealed.get_mut(index))
            && sealed.ciphertext == envelope.ciphertext
        {
            sealed.signature = Some(envelope.signature);
        }
    }

    fn index_of(&self, ciphertext: &[u8]) -> Option<usize> {
        let u: &[u8; 32] = ciphertext.get(U)?.first_chunk()?;
        self.by_u.get(u).copied()
    }

    fn known(&self, envelope: &Envelope) -> Option<&Sealed> {
        let sealed = self.sealed.get(self.index_of(&envelope.ciphertext)?)?;
        let same =
            sealed.ciphertext == envelope.ciphertext && sealed.label == envelope.label.to_bytes();
        same.then_some(sealed)
    }

    pub(super) fn parse(&self, envelope: &Envelope) -> Option<Arc<SuiteParsed>> {
        self.known(envelope)
            .map(|sealed| Arc::clone(&sealed.parsed))
    }

    // ---- jobs ----

    pub(super) fn run(&mut self, keys: &CryptoContext, job: &Job) -> JobResult {
        match job {
            Job::Verify(checks) => JobResult::Verified {
                bad: (0..checks.len())
                    .filter(|index| !self.verifies(&checks[*index]))
                    .collect(),
            },
            Job::Envelopes(list) => {
                let check = |(_, envelope): &(_, Arc<Envelope>)| self.check(envelope);
                JobResult::Envelopes(list.iter().map(check).collect())
            }
            Job::Shares(job) => JobResult::Shares(self.shares(keys, job)),
            Job::Combine(job) => {
                let mut combined = self.combine(keys, job);
                if job.tell && combined.missing == 0 {
                    let told = self.told(keys, job, &combined.outcomes);
                    combined.told = Some(Box::new(told));
                }
                JobResult::Combined(combined)
            }
            Job::OpenKeys(job) => JobResult::KeysOpened(self.open_keys(job)),
            Job::Attest { height, root } => {
                let subject = Subject::Attest {
                    chain: keys.chain,
                    epoch: keys.epoch,
                    height: *height,
                    root: *root,
                };
                let signature = self.certificate_share(keys.me, &subject);
                JobResult::Attest(Some(CertificateShare {
                    key: KeyId::default(),
                    member: keys.me,
                    signature,
                }))
            }
            Job::AttestState { height, state } => {
                let subject = Subject::State {
                    chain: keys.chain,
                    epoch: keys.epoch,
                    height: *height,
                    state: *state,
                };
                JobResult::Attest(Some(CertificateShare {
                    key: KeyId::default(),
                    member: keys.me,
                    signature: self.certificate_share(keys.me, &subject),
                }))
            }
            Job::Certify(job) => JobResult::Certified(self.certify(keys, job)),
            Job::CheckAttestation(given) => {
                let subject = given.subject(keys.chain);
                JobResult::Judged(given.certificate == self.certificate(&subject))
            }
            Job::Beacon(job) => JobResult::Beacon(self.beacon_share(keys, job)),
            Job::CheckBeacon(given) => {
                let subject = given.subject(keys.chain);
                JobResult::Judged(given.certificate == self.certificate(&subject))
            }
            Job::CheckState(given) => {
                let subject = given.subject(keys.chain);
                JobResult::Judged(given.certificate == self.certificate(&subject))
            }
            // Committees on ideal cryptography have a dealer: a ceremony is all cryptography.
            Job::Deal(_) => JobResult::Dealt(None),
            Job::Judge(..) => JobResult::Judged(false),
            Job::Open(_) => JobResult::Opened(None),
            Job::Conclude(_) => JobResult::Concluded(None),
        }
    }

    fn certificate_share(&self, member: MemberId, subject: &Subject) -> [u8; CERTIFICATE_BYTES] {
        let tag = Tag::new(self.secret, 4).word(u64::from(member.0));
        tag.bytes(&subject.message()).fill()
    }

    fn certificate(&self, subject: &Subject) -> ThresholdCertificate {
        certificate(self.secret, subject)
    }

    /// As for real shares: verified one by one only where t of them make no certificate.
    fn certify(&self, keys: &CryptoContext, job: &CertifyJob) -> Certification {
        let t = keys.committee.threshold();
        let right = |share: &&CertificateShare| {
            share.signature == self.certificate_share(share.member, &job.subject)
        };
        let (mut good, mut liars) = (job.shares.iter().take(t).filter(right).count(), Vec::new());
        if good < t {
            good = job.shares.iter().filter(right).count().min(t);
            let wrong = job.shares.iter().filter(|share| !right(share));
            liars.extend(wrong.map(|share| share.member));
        }
        let certificate = (good == t).then(|| self.certificate(&job.subject));
        Certification {
            certificate,
            liars,
            missing: t - good,
        }
    }

    pub(super) fn verifies(&self, check: &SigCheck) -> bool {
        signature(self.secret, &check.key, &check.message) == check.signature
    }

    fn check(&self, envelope: &Envelope) -> Result<Arc<SuiteParsed>, EnvelopeFault> {
        let known = self.known(envelope);
        // One signature is right for each key and message: the one that was made.
        let made = known.and_then(|sealed| sealed.signature);
        if made != Some(envelope.signature) && !self.verifies(&envelope.signature_check()) {
            return Err(EnvelopeFault::Signature);
        }
        known
            .map(|sealed| Arc::clone(&sealed.parsed))
            .ok_or(EnvelopeFault::Ciphertext(CtError::BadProof))
    }

    /// The share of a member for an order: anyone can tell whose it is, nobody can make it.
    fn share(&self, member: MemberId, u: &[u8; 32]) -> [u8; 32] {
        let tag = Tag::new(self.secret, 2).word(u64::from(member.0)).bytes(u);
        let mut share = [0; 32];
        let index = self.by_u.get(u).map_or(u64::MAX, |index| *index as u64);
        share[..8].copy_from_slice(&index.to_le_bytes());
        share[8..].copy_from_slice(&tag.fill::<24>());
        share
    }

    fn proof(&self, member: MemberId, block: BlockId, shares: &[[u8; 32]]) -> DleqProof {
        let mut tag = Tag::new(self.secret, 3)
            .word(u64::from(member.0))
            .bytes(block.as_bytes());
        for share in shares {
            tag = tag.bytes(share);
        }
        // Two numbers far below the group's order.
        let mut bytes = [0; 64];
        bytes[..16].copy_from_slice(&tag.fill::<16>());
        borsh::from_slice(&bytes).expect("invariant: canonical scalars")
    }

    /// D1: nothing is made without q commits on the block or a descendant.
    fn shares(&mut self, keys: &CryptoContext, job: &SharesJob) -> Option<Vec<Arc<ShareMessage>>> {
        self.proven(keys, &job.certificate, &job.path, job.block)?;
        let of_slice = |(slice, of): (usize, &ShareSlice)| {
            let list = || of.list.iter();
            let shares: Vec<_> = list().map(|ct| self.share(keys.me, point(ct))).collect();
            let batch = ShareBatch {
                key: of.key,
                block: job.block,
                member: keys.me,
                proof: self.proof(keys.me, job.block, &shares),
                shares,
            };
            let digest = list_digest_of(list().map(|ct| ct.statement()));
            let (signer, chain, epoch) = (&keys.identity, keys.chain, keys.epoch);
            let batch = SuiteBatch::Tdh2(batch);
            let slice = slice as u16;
            let signed = ShareMessage::sign(job.height, slice, digest, batch, signer, chain, epoch);
            Arc::new(signed)
        };
        Some(job.slices.iter().enumerate().map(of_slice).collect())
    }

    /// W of an order: only whoever has t shares of it asks.
    fn key_point(&self, u: &[u8; 32]) -> [u8; 32] {
        Tag::new(self.secret, 6).bytes(u).fill()
    }

    /// What a combiner tells of a slice.
    fn told(
        &self,
        keys: &CryptoContext,
        job: &CombineJob,
        outcomes: &[Option<Opened>],
    ) -> KeyBatch {
        let plain = |outcome: &Option<Opened>| matches!(outcome, Some(Opened::Plain(_)));
        let orders = job.list.iter().zip(outcomes).enumerate();
        let points = orders
            .filter(|(_, (_, outcome))| plain(outcome))
            .map(|(order, (ct, _))| KeyPoint {
                order: order as u32,
                point: self.key_point(point(ct)),
            });
        KeyBatch {
            key: job.key,
            block: job.block,
            member: keys.me,
            points: points.collect(),
        }
    }

    fn open_keys(&self, job: &OpenKeysJob) -> Result<Vec<(usize, Option<Plain>)>, ShareError> {
        let batch = &job.message.batch;
        if batch.member != job.from {
            return Err(ShareError::WrongMember(batch.member));
        }
        if batch.key != job.key {
            return Err(ShareError::WrongKey);
        }
        if batch.block != job.block {
            return Err(ShareError::WrongBlock);
        }
        let mut opened = Vec::with_capacity(batch.points.len());
        for told in &batch.points {
            let place = told.order as usize;
            let ct = job.list.get(place).ok_or(ShareError::WrongLength {
                got: place,
                want: job.list.len(),
            })?;
            let right = told.point == self.key_point(point(ct));
            let plain = match self.opened(ct) {
                Some(Opened::Plain(plain)) if right => Some(plain.clone()),
                _ => None,
            };
            opened.push((place, plain));
        }
        Ok(opened)
    }

    /// D1 likewise.
    fn beacon_share(&mut self, keys: &CryptoContext, job: &BeaconJob) -> Option<CertificateShare> {
        self.proven(keys, &job.certificate, &job.path, job.block)?;
        let subject = Subject::Beacon {
            chain: keys.chain,
            epoch: keys.epoch,
            height: job.height,
            block: job.block,
        };
        Some(CertificateShare {
            key: KeyId::default(),
            member: keys.me,
            signature: self.certificate_share(keys.me, &subject),
        })
    }

    /// Whether a certificate proves a block final, down the headers of its descendants.
    fn proven(
        &mut self,
        keys: &CryptoContext,
        certificate: &Certificate,
        path: &[BlockHeader],
        wanted: BlockId,
    ) -> Option<()> {
        let (mut block, mut height) = (certificate.block, certificate.height);
        if !self.is_final(keys, certificate) {
            return None;
        }
        for header in path {
            if header.id() != block || header.height != height {
                return None;
            }
            block = header.parent;
            height = header.height.prev();
        }
        (block == wanted).then_some(())
    }

    fn is_final(&mut self, keys: &CryptoContext, certificate: &Certificate) -> bool {
        if self.certificates.contains(certificate) {
            return true;
        }
        let valid = certificate.kind == CertificateKind::Final
            && certificate
                .checks(keys.chain, &keys.committee)
                .is_ok_and(|checks| checks.iter().all(|check| self.verifies(check)));
        if valid {
            if self.certificates.len() == CERTIFICATES_MAX {
                self.certificates.remove(0);
            }
            self.certificates.push(certificate.clone());
        }
        valid
    }

    /// What is wrong with a set before its shares are looked at, as for real ones.
    fn refuse(
        &self,
        keys: &CryptoContext,
        job: &CombineJob,
        want: &fairlane_types::Digest,
        member: MemberId,
        set: &ShareMessage,
    ) -> Option<ShareFault> {
        let signed = keys
            .committee
            .key(member)
            .is_some_and(|key| self.verifies(&set.signature_check(key, keys.chain, keys.epoch)));
        let Some(batch) = set.batch.tdh2() else {
            return Some(ShareFault::False(ShareError::WrongKey));
        };
        let (got, need) = (batch.shares.len(), job.list.len());
        if !signed {
            Some(ShareFault::Signature)
        } else if set.list != *want || set.slice != job.slice {
            Some(ShareFault::List)
        } else if batch.member != member {
            Some(ShareFault::False(ShareError::WrongMember(batch.member)))
        } else if batch.key != job.key {
            Some(ShareFault::False(ShareError::WrongKey))
        } else if batch.block != job.block {
            Some(ShareFault::False(ShareError::WrongBlock))
        } else if got != need {
            Some(ShareFault::False(ShareError::WrongLength {
                got,
                want: need,
            }))
        } else {
            None
        }
    }

    /// As for real shares: the first t sets are tried, and only where they do not open
    /// something are they looked at one by one; false ones are dropped for further ones.
    fn combine(&self, keys: &CryptoContext, job: &CombineJob) -> Combined {
        let t = keys.committee.threshold();
        let want = list_digest_of(job.list.iter().map(|ct| ct.statement()));
        let mut liars = Vec::new();
        let mut waiting: Vec<(MemberId, &ShareBatch)> = Vec::new();
        for (member, set) in &job.sets {
            match self.refuse(keys, job, &want, *member, set) {
                Some(fault) => liars.push((*member, fault)),
                None if waiting.iter().all(|(other, _)| other != member) => {
                    waiting.extend(set.batch.tdh2().map(|batch| (*member, batch)));
                }
                None => {}
            }
        }
        let mut waiting = waiting.into_iter();
        let mut quorum: Vec<(MemberId, &ShareBatch)> = Vec::with_capacity(t);
        let mut outcomes: Vec<Option<Opened>> = vec![None; job.list.len()];
        loop {
            quorum.extend(waiting.by_ref().take(t - quorum.len()));
            if quorum.len() < t {
                return Combined {
                    outcomes,
                    liars,
                    missing: t - quorum.len(),
                    told: None,
                };
            }
            let opened: Vec<Option<&Opened>> = job.list.iter().map(|ct| self.opened(ct)).collect();
            let mut right = vec![true; quorum.len()];
            for (k, ct) in job.list.iter().enumerate() {
                let mut all = true;
                for (index, (member, batch)) in quorum.iter().enumerate() {
                    if batch.shares[k] != self.share(*member, point(ct)) {
                        (right[index], all) = (false, false);
                    }
                }
                if let (true, Some(Opened::Plain(plain)), None) = (all, opened[k], &outcomes[k]) {
                    outcomes[k] = Some(Opened::Plain(plain.clone()));
                }
            }
            if outcomes.iter().all(Option::is_some) {
                return Combined {
                    outcomes,
                    liars,
                    missing: 0,
                    told: None,
                };
            }
            for (index, (member, batch)) in quorum.iter().enumerate() {
                right[index] &= batch.proof == self.proof(*member, batch.block, &batch.shares);
            }
            let before = liars.len();
            let mut at = 0;
            quorum.retain(|(member, _)| {
                let keep = right[at];
                at += 1;
                if !keep {
                    liars.push((*member, ShareFault::False(ShareError::BadBatchProof)));
                }
                keep
            });
            if liars.len() == before {
                // t true sets do not open it.
                for outcome in &mut outcomes {
                    outcome.get_or_insert(Opened::Malformed);
                }
                return Combined {
                    outcomes,
                    liars,
                    missing: 0,
                    told: None,
                };
            }
        }
    }

    fn opened(&self, ct: &SuiteParsed) -> Option<&Opened> {
        let sealed = self.sealed.get(*self.by_u.get(point(ct))?)?;
        (*sealed.parsed == *ct).then_some(&sealed.opened)
    }

    // ---- who could open what ----

    pub(super) fn released(&mut self, now: Nanos, message: &ShareMessage) {
        let Some(batch) = message.batch.tdh2() else {
            return;
        };
        let member = batch.member;
        for share in &batch.shares {
            let index = u64::from_le_bytes(*share.first_chunk().expect("invariant: 8 of 32 bytes"));
            let Some(sealed) = usize::try_from(index).ok().and_then(|i| self.sealed.get(i)) else {
                continue;
            };
            // A share that is not one opens nothing.
            if *share != self.share(member, point(&sealed.parsed)) {
                continue;
            }
            let exposure = &mut self.sealed[index as usize].exposure;
            if exposure.holders >> member.0 & 1 == 0 {
                exposure.holders |= 1 << member.0;
                exposure.released.push((member, now));
            }
        }
    }
}

/// The one certificate of a subject.
pub(super) fn certificate(secret: u64, subject: &Subject) -> ThresholdCertificate {
    ThresholdCertificate(Tag::new(secret, 5).bytes(&subject.message()).fill())
}

//! Share sets through the jobs: what opens, who is blamed, and what evidence convicts.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use fairlane_encryption::{
    Ceremony, CertificateKey, CertificateKeys, CertificateShare, KeyBatch, Opened, ReceiverSecret,
    Signing, Subject, Suite, SuiteBatch, SuiteKey, SuiteParsed, ThresholdScheme,
    deal_pairing_insecure, deal_suite_insecure,
};
use fairlane_replica::{
    CeremonyKeys, CertifyJob, CombineJob, Combined, ConcludeJob, CryptoContext, Dealing, Evidence,
    EvidenceFault, FalseShares, Job, JobResult, KeyMessage, OpenKeysJob, ShareFault, ShareMessage,
    ShareSlice, SharesJob, Sharing, run_job,
};
use fairlane_types::{
    BlockHeader, Certificate, CertificateKind, ChainId, Commit, Committee, CtId, Digest, Envelope,
    Epoch, Height, LANE_NONE, Label, MemberId, Millis, Root, Scheme, SecretKey, SeededRng,
    SignerSet, View, decode,
};

const CHAIN: ChainId = ChainId(5);
const EPOCH: Epoch = Epoch(0);

struct World {
    members: Vec<CryptoContext>,
    key: SuiteKey,
    header: BlockHeader,
    envelopes: Vec<(CtId, Arc<Envelope>)>,
    list: Vec<Arc<SuiteParsed>>,
    payloads: Vec<Vec<u8>>,
}

/// Shares for the wrong orders.
fn swap(message: &mut ShareMessage) {
    match &mut message.batch {
        SuiteBatch::Tdh2(batch) => batch.shares.swap(0, 1),
        SuiteBatch::BaekZheng(batch) => batch.shares.swap(0, 1),
    }
}

/// No shares.
fn clear(message: &mut ShareMessage) {
    match &mut message.batch {
        SuiteBatch::Tdh2(batch) => batch.shares.clear(),
        SuiteBatch::BaekZheng(batch) => batch.shares.clear(),
    }
}

fn identity(i: u8) -> SecretKey {
    SecretKey::from_seed([i + 1; 32])
}

impl World {
    fn new(orders: usize) -> Self {
        Self::of(Scheme::Tdh2, orders)
    }

    fn of(scheme: Scheme, orders: usize) -> Self {
        let mut rng = SeededRng::new(&[1; 32], b"world");
        let (key, shares) = deal_suite_insecure(scheme, EPOCH, 4, &mut rng).unwrap();
        let committee = Committee::new((0..4).map(|i| identity(i).public()).collect()).unwrap();
        let members: Vec<_> = shares
            .into_iter()
            .enumerate()
            .map(|(i, share)| CryptoContext {
                chain: CHAIN,
                epoch: EPOCH,
                committee: committee.clone(),
                me: MemberId(i as u8),
                identity: Arc::new(identity(i as u8)),
                sharing: Sharing::known(Arc::new(key.clone()), Arc::new(share), None),
                ceremony: None,
            })
            .collect();
        let sender = SecretKey::from_seed([99; 32]);
        let mut envelopes = Vec::new();
        let mut payloads = Vec::new();
        for nonce in 0..orders as u64 {
            let label = Label {
                suite: scheme.suite(),
                chain: CHAIN,
                key_id: key.id(),
                sender: sender.public(),
                nonce,
                expiry: Millis(1),
                fee: 0,
                lane: LANE_NONE,
                reserved: [0; 19],
            };
            let payload = format!("order {nonce}").into_bytes();
            let bytes = label.to_bytes();
            let ciphertext =
                Suite::encrypt(&key, &bytes, &payload, sender.seed(), &mut rng).unwrap();
            let envelope = Envelope::sign(label, ciphertext, &sender);
            envelopes.push((envelope.id(), Arc::new(envelope)));
            payloads.push(payload);
        }
        let JobResult::Envelopes(parsed) =
            run_job(&members[0], &Job::Envelopes(envelopes.clone()), &[2; 32])
        else {
            panic!("wrong result")
        };
        let list = parsed.into_iter().map(Result::unwrap).collect();
        let header = BlockHeader {
            chain: CHAIN,
            epoch: EPOCH,
            view: View(3),
            height: Height(2),
            parent_view: View(1),
            parent: Default::default(),
            proposer: MemberId(0),
            time: Millis(0),
            payload: Digest([4; 32]),
        };
        Self {
            members,
            key,
            header,
            envelopes,
            list,
            payloads,
        }
    }

    fn certificate(&self, header: &BlockHeader, signers: u8) -> Certificate {
        let commit = Commit {
            epoch: EPOCH,
            view: header.view,
            height: header.height,
            block: header.id(),
        };
        Certificate {
            kind: CertificateKind::Final,
            epoch: EPOCH,
            view: header.view,
            height: header.height,
            block: header.id(),
            signers: (0..signers).map(MemberId).collect(),
            dirty: SignerSet(0),
            signatures: (0..signers)
                .map(|i| commit.sign(&identity(i), CHAIN))
                .collect(),
        }
    }

    fn slices(&self, count: usize) -> Vec<ShareSlice> {
        let list = |slice| self.list.iter().skip(slice).step_by(count).cloned();
        let slice = |slice| ShareSlice {
            key: self.key.id(),
            list: list(slice).collect(),
        };
        (0..count).map(slice).collect()
    }

    fn job(&self) -> SharesJob {
        SharesJob {
            height: self.header.height,
            block: self.header.id(),
            slices: self.slices(1),
            certificate: self.certificate(&self.header, 3),
            path: Vec::new(),
        }
    }

    fn make_slices(&self, member: usize, job: SharesJob) -> Option<Vec<Arc<ShareMessage>>> {
        match run_job(&self.members[member], &Job::Shares(Box::new(job)), &[7; 32]) {
            JobResult::Shares(messages) => messages,
            other => panic!("wrong result {other:?}"),
        }
    }

    fn make(&self, member: usize, job: SharesJob) -> Option<Arc<ShareMessage>> {
        let messages = self.make_slices(member, job)?;
        assert_eq!(messages.len(), 1);
        messages.into_iter().next()
    }

    fn share(&self, member: usize) -> Arc<ShareMessage> {
        self.make(member, self.job())
            .expect("the certificate is good")
    }

    fn resign(&self, member: usize, mut message: ShareMessage) -> Arc<ShareMessage> {
        match &mut message.batch {
            SuiteBatch::Tdh2(batch) => batch.member = MemberId(member as u8),
            SuiteBatch::BaekZheng(batch) => batch.member = MemberId(member as u8),
        }
        let ShareMessage {
            height,
            slice,
            list,
            batch,
            ..
        } = message;
        let key = &self.members[member].identity;
        let signed = ShareMessage::sign(height, slice, list, batch, key, CHAIN, EPOCH);
        Arc::new(signed)
    }

    fn combine(&self, at: usize, sets: &[(usize, Arc<ShareMessage>)]) -> Combined {
        let job = CombineJob {
            height: self.header.height,
            block: self.header.id(),
            slice: 0,
            key: self.key.id(),
            list: self.list.clone(),
            sets: sets
                .iter()
                .map(|(m, set)| (MemberId(*m as u8), Arc::clone(set)))
                .collect(),
            tell: false,
        };
        match run_job(&self.members[at], &Job::Combine(Box::new(job)), &[8; 32]) {
            JobResult::Combined(combined) => combined,
            other => panic!("wrong result {other:?}"),
        }
    }

    fn opens(&self, combined: &Combined) -> bool {
        combined.missing == 0
            && combined.outcomes.iter().zip(&self.payloads).all(|(outcome, payload)| {
                matches!(outcome, Some(Opened::Plain(plain)) if plain.payload == *payload)
            })
    }

    fn evidence(&self, member: usize, message: &ShareMessage) -> Evidence {
        Evidence::FalseShares(Box::new(FalseShares {
            member: MemberId(member as u8),
            message: message.clone(),
            points: self.list.iter().map(|ct| ct.statement()).collect(),
        }))
    }

    fn judge(&self, evidence: &Evidence) -> Result<MemberId, EvidenceFault> {
        evidence.verify(CHAIN, EPOCH, &self.members[0].committee, &[&self.key])
    }
}

/// The jobs of a ceremony, and what can be signed before it and after.
#[test]
fn what_members_made_together_attests() {
    for scheme in [Scheme::Tdh2, Scheme::BaekZheng] {
        members_make_keys(scheme);
    }
}

fn members_make_keys(scheme: Scheme) {
    let mut world = World::of(scheme, 1);
    let mut rng = SeededRng::new(&[8; 32], b"receivers");
    let secrets: Vec<_> = (0..4)
        .map(|_| Arc::new(ReceiverSecret::generate(&mut rng)))
        .collect();
    let receivers = secrets.iter().map(|secret| secret.key()).collect();
    let ceremony = Ceremony::fresh(scheme, Digest([1; 32]), EPOCH, receivers, true).unwrap();
    let ceremony = Arc::new(ceremony);
    for (member, receiver) in world.members.iter_mut().zip(secrets) {
        let ceremony = Arc::clone(&ceremony);
        member.ceremony = Some(CeremonyKeys { ceremony, receiver });
        member.sharing = Arc::default();
    }
    let (height, root) = (Height(9), Root(Digest([2; 32])));
    let attest =
        |member: &CryptoContext| match run_job(member, &Job::Attest { height, root }, &[1; 32]) {
            JobResult::Attest(share) => share,
            other => panic!("wrong result {other:?}"),
        };
    let judge = |dealing: &Arc<Dealing>| {
        let job = Job::Judge(Arc::clone(dealing), None);
        matches!(
            run_job(&world.members[3], &job, &[1; 32]),
            JobResult::Judged(true)
        )
    };
    let mut dealings = Vec::new();
    for member in &world.members[..3] {
        assert_eq!(attest(member), None);
        let JobResult::Dealt(Some(dealing)) = run_job(member, &Job::Deal(None), &[member.me.0; 32])
        else {
            panic!("member {} deals nothing", member.me);
        };
        assert!(judge(&dealing));
        // Signed by its dealer or not, a changed byte of the second half makes it false.
        let mut changed = dealing.as_ref().clone();
        let last = changed.deal.len() - 40;
        changed.deal[last] ^= 1;
        assert!(!judge(&Arc::new(changed.clone())));
        let deal = decode(&changed.deal, changed.deal.len()).unwrap();
        let signed = Dealing::sign(&deal, member.identity.as_ref(), CHAIN, EPOCH);
        assert!(!judge(&Arc::new(signed)));
        dealings.push(dealing);
    }
    let job = Job::Conclude(Box::new(ConcludeJob {
        dealings,
        next: None,
    }));
    let mut made = world.members.iter().map(|member| {
        let JobResult::Concluded(Some(fairlane_replica::MadeKeys { keys, former: None })) =
            run_job(member, &job, &[1; 32])
        else {
            panic!("member {} has no keys", member.me);
        };
        keys
    });
    let keys = made.next().unwrap();
    assert!(made.all(|other| other == keys));
    let bytes = &keys.certificate;
    let key: CertificateKey = decode(bytes, bytes.len()).unwrap();
    let shares = world.members[1..]
        .iter()
        .map(|m| attest(m).unwrap())
        .collect();
    let subject = Subject::Attest {
        chain: CHAIN,
        epoch: EPOCH,
        height,
        root,
    };
    let job = Job::Certify(Box::new(CertifyJob { subject, shares }));
    let JobResult::Certified(found) = run_job(&world.members[0], &job, &[1; 32]) else {
        panic!("no certification");
    };
    assert!(found.liars.is_empty());
    let certificate = found.certificate.unwrap();
    assert!(certificate.verify(key.public_key(), &subject));
}

#[test]
fn an_attestation_comes_of_t_true_shares_and_names_whoever_sent_another() {
    let mut rng = SeededRng::new(&[9; 32], b"certificates");
    let (key, secrets) = deal_pairing_insecure::<Signing, _>(EPOCH, 4, &mut rng).unwrap();
    let key = Arc::new(key);
    let mut world = World::new(1);
    for (member, secret) in world.members.iter_mut().zip(secrets) {
        let certificates = CertificateKeys {
            key: Arc::clone(&key),
            secret: Arc::new(secret),
        };
        let held = member.sharing.get().unwrap();
        let (key, share) = (Arc::clone(&held.key), Arc::clone(&held.share));
        member.sharing = Sharing::known(key, share, Some(certificates));
    }
    let (height, root) = (Height(9), Root(Digest([2; 32])));
    let share = |member: &CryptoContext, root: Root| match run_job(
        member,
        &Job::Attest { height, root },
        &[1; 32],
    ) {
        JobResult::Attest(share) => share.unwrap(),
        other => panic!("wrong result {other:?}"),
    };
    let certify = |shares: Vec<CertificateShare>| {
        let subject = Subject::Attest {
            chain: CHAIN,
            epoch: EPOCH,
            height,
            root,
        };
        let job = Job::Certify(Box::new(CertifyJob { subject, shares }));
        match run_job(&world.members[3], &job, &[1; 32]) {
            JobResult::Certified(found) => (subject, found),
            other => panic!("wrong result {other:?}"),
        }
    };
    let good: Vec<_> = world.members.iter().map(|m| share(m, root)).collect();
    let (subject, found) = certify(good[1..].to_vec());
    let certificate = found.certificate.unwrap();
    assert!(certificate.verify(key.public_key(), &subject));
    // A share of another root, and bytes that are no point: named, and not in the way.
    let another = share(&world.members[0], Root::default());
    let mut garbage = good[1].clone();
    garbage.signature = [7; 96];
    for bad in [another, garbage] {
        let at = bad.member.index();
        let mut shares = good.clone();
        shares[at] = bad;
        let (_, found) = certify(shares.clone());
        assert_eq!(found.certificate, Some(certificate));
        assert_eq!(found.liars, [MemberId(at as u8)]);
        shares.remove((at + 1) % 4);
        let (_, found) = certify(shares);
        assert_eq!((found.certificate, found.missing), (None, 1));
        assert_eq!(found.liars, [MemberId(at as u8)]);
    }
    // Without the key there is no share, and nobody is named.
    let bare = World::new(1);
    let job = Job::Attest { height, root };
    let made = run_job(&bare.members[0], &job, &[1; 32]);
    assert!(matches!(made, JobResult::Attest(None)));
}

#[test]
fn d1_no_shares_without_a_certificate_for_the_block() {
    let world = World::new(3);
    let forged = SharesJob {
        certificate: world.certificate(&world.header, 2),
        ..world.job()
    };
    assert!(
        world.make(0, forged).is_none(),
        "two signatures are no quorum"
    );

    let mut other = world.header.clone();
    other.view = View(9);
    let foreign = SharesJob {
        certificate: world.certificate(&other, 3),
        ..world.job()
    };
    assert!(
        world.make(0, foreign).is_none(),
        "a certificate for another block"
    );

    let mut notarized = world.certificate(&world.header, 3);
    notarized.kind = CertificateKind::Notarization;
    assert!(
        world
            .make(
                0,
                SharesJob {
                    certificate: notarized,
                    ..world.job()
                }
            )
            .is_none()
    );

    // Down the hash chain from a certified descendant, and not down any other.
    let mut child = world.header.clone();
    (child.height, child.parent, child.view) = (Height(3), world.header.id(), View(4));
    let certificate = world.certificate(&child, 3);
    let path = vec![child.clone()];
    let good = SharesJob {
        certificate: certificate.clone(),
        path,
        ..world.job()
    };
    assert!(world.make(0, good).is_some());
    let path = vec![world.header.clone()];
    assert!(
        world
            .make(
                0,
                SharesJob {
                    certificate,
                    path,
                    ..world.job()
                }
            )
            .is_none()
    );
}

#[test]
fn any_threshold_of_sets_opens_and_fewer_wait() {
    let world = World::new(5);
    let sets: Vec<_> = (0..4).map(|m| (m, world.share(m))).collect();
    for skip in 0..4 {
        let quorum: Vec<_> = sets.iter().filter(|(m, _)| *m != skip).cloned().collect();
        let combined = world.combine(0, &quorum);
        assert!(world.opens(&combined) && combined.liars.is_empty());
        assert_eq!(world.combine(0, &quorum[..2]).missing, 1);
    }
}

#[test]
fn a6_wrong_empty_foreign_and_unsigned_sets_are_named_and_do_not_stop_the_others() {
    for scheme in [Scheme::Tdh2, Scheme::BaekZheng] {
        liars_are_named(&World::of(scheme, 4));
    }
}

fn liars_are_named(world: &World) {
    let honest: Vec<_> = [0, 2, 3].into_iter().map(|m| (m, world.share(m))).collect();

    let mut wrong = ShareMessage::clone(&world.share(1));
    swap(&mut wrong);
    let wrong = world.resign(1, wrong);
    let mut empty = ShareMessage::clone(&world.share(1));
    clear(&mut empty);
    let empty = world.resign(1, empty);
    // Another member's shares under its own name and signature.
    let foreign = world.resign(1, ShareMessage::clone(&world.share(2)));
    for (what, lie) in [("wrong", wrong), ("empty", empty), ("foreign", foreign)] {
        let mut sets = vec![(1, Arc::clone(&lie))];
        sets.extend(honest.clone());
        let combined = world.combine(0, &sets);
        assert!(world.opens(&combined), "{what}");
        assert!(
            matches!(combined.liars[..], [(MemberId(1), ShareFault::False(_))]),
            "{what}: {:?}",
            combined.liars
        );
        assert_eq!(
            world.judge(&world.evidence(1, &lie)),
            Ok(MemberId(1)),
            "{what}"
        );
    }

    let mut unsigned = ShareMessage::clone(&world.share(1));
    swap(&mut unsigned);
    let mut list = ShareMessage::clone(&world.share(1));
    list.list = Digest([9; 32]);
    let list = world.resign(1, list);
    for (lie, fault) in [
        (Arc::new(unsigned), ShareFault::Signature),
        (Arc::clone(&list), ShareFault::List),
    ] {
        let mut sets = vec![(1, Arc::clone(&lie))];
        sets.extend(honest.clone());
        let combined = world.combine(0, &sets);
        assert!(world.opens(&combined));
        assert_eq!(combined.liars, [(MemberId(1), fault)]);
        assert!(matches!(
            world.judge(&world.evidence(1, &lie)),
            Err(EvidenceFault::Unproven(_))
        ));
    }
}

#[test]
fn nobody_is_framed_with_right_shares_or_with_another_list() {
    let world = World::new(3);
    let right = world.share(1);
    assert_eq!(
        world.judge(&world.evidence(1, &right)),
        Err(EvidenceFault::Innocent)
    );
    let Evidence::FalseShares(mut framed) = world.evidence(1, &right) else {
        panic!()
    };
    framed.points.swap(0, 1);
    assert!(matches!(
        world.judge(&Evidence::FalseShares(framed)),
        Err(EvidenceFault::Unproven(_))
    ));
    // Accusing somebody else of what member 1 signed.
    assert!(matches!(
        world.judge(&world.evidence(2, &right)),
        Err(EvidenceFault::Unproven(_))
    ));
}

#[test]
fn joined_jobs_give_each_its_own_results() {
    let world = World::new(5);
    let context = &world.members[0];
    let mut envelopes = world.envelopes.clone();
    // The second of the first job and the last of the second are forged.
    for at in [1, 4] {
        let envelope = Arc::make_mut(&mut envelopes[at].1);
        envelope.signature.0[0] ^= 1;
    }
    let job = |range: std::ops::Range<usize>| Job::Envelopes(envelopes[range].to_vec());
    let alone: Vec<_> = [0..3, 3..5]
        .map(|range| run_job(context, &job(range), &[3; 32]))
        .into();
    let mut joined = job(0..3);
    joined.join(job(3..5), 5).unwrap();
    let split = run_job(context, &joined, &[4; 32]).split(&[3, 2]);
    assert_eq!(format!("{split:?}"), format!("{alone:?}"));

    let mut full = job(0..3);
    assert!(full.join(job(3..5), 4).is_err(), "beyond the limit");
    assert!(
        full.join(Job::Verify(Vec::new()), 9).is_err(),
        "of another kind"
    );

    let results = JobResult::Verified {
        bad: vec![1, 3, 4, 7],
    };
    let split = results.split(&[3, 1, 0, 4]);
    let bad: Vec<_> = split
        .into_iter()
        .map(|result| match result {
            JobResult::Verified { bad } => bad,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bad, [vec![1], vec![0], vec![], vec![0, 3]]);
}

/// A slice that one member combined opens at the others; what was tampered with does not,
/// and a set for one slice is none for another.
#[test]
fn a_slice_is_combined_by_one_and_opened_by_the_others() {
    let world = World::new(5);
    let job = || SharesJob {
        slices: world.slices(2),
        ..world.job()
    };
    let sets: Vec<_> = (0..3)
        .map(|member| world.make_slices(member, job()).unwrap())
        .collect();
    let orders: Vec<usize> = sets[0].iter().map(|set| set.batch.len()).collect();
    assert_eq!(orders, [3, 2], "orders 0, 2, 4 and 1, 3");
    let list: Vec<_> = world.list.iter().skip(1).step_by(2).cloned().collect();
    let combine = |of: u16| {
        let sets = sets.iter().enumerate();
        let job = CombineJob {
            height: world.header.height,
            block: world.header.id(),
            slice: 1,
            key: world.key.id(),
            list: list.clone(),
            sets: sets
                .map(|(m, sets)| (MemberId(m as u8), Arc::clone(&sets[usize::from(of)])))
                .collect(),
            tell: true,
        };
        match run_job(&world.members[0], &Job::Combine(Box::new(job)), &[8; 32]) {
            JobResult::Combined(combined) => combined,
            other => panic!("wrong result {other:?}"),
        }
    };
    let foreign = combine(0);
    assert!(foreign.told.is_none() && foreign.liars.len() == 3);
    assert!(matches!(foreign.liars[0].1, ShareFault::List));

    let combined = combine(1);
    assert_eq!((combined.missing, combined.liars.len()), (0, 0));
    let batch = *combined.told.unwrap();
    let open = |batch: &KeyBatch, from: u8| {
        let message = KeyMessage {
            height: world.header.height,
            slice: 1,
            batch: batch.clone(),
        };
        let job = OpenKeysJob {
            block: world.header.id(),
            key: world.key.id(),
            list: list.clone(),
            from: MemberId(from),
            message: Arc::new(message),
        };
        match run_job(&world.members[3], &Job::OpenKeys(Box::new(job)), &[9; 32]) {
            JobResult::KeysOpened(opened) => opened,
            other => panic!("wrong result {other:?}"),
        }
    };
    let opened = open(&batch, 0).unwrap();
    let payloads: Vec<_> = opened
        .iter()
        .map(|(place, plain)| (*place, plain.as_ref().unwrap().payload.clone()))
        .collect();
    let want = [
        (0, world.payloads[1].clone()),
        (1, world.payloads[3].clone()),
    ];
    assert_eq!(payloads, want);
    assert!(open(&batch, 1).is_err(), "another member's");
    let mut swapped = batch;
    let first = swapped.points[0].point;
    swapped.points[0].point = swapped.points[1].point;
    swapped.points[1].point = first;
    assert!(
        open(&swapped, 0)
            .unwrap()
            .iter()
            .all(|(_, plain)| plain.is_none())
    );
}

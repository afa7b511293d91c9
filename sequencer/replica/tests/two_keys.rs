//! A block with orders of two keys, through the jobs: each slice under its own key, liars named
//! under either, and nothing made with a share that is gone (PROTOCOL §6, THREATS A21).

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::{Arc, OnceLock};

use fairlane_encryption::{
    CtError, Opened, Suite, SuiteBatch, SuiteKey, SuiteParsed, ThresholdScheme, deal_suite_insecure,
};
use fairlane_replica::{
    CombineJob, Combined, CryptoContext, EnvelopeFault, Evidence, FalseShares, FormerSharing, Job,
    JobResult, ShareMessage, ShareSlice, SharesJob, Sharing, run_job,
};
use fairlane_types::{
    BlockHeader, Certificate, CertificateKind, ChainId, Commit, Committee, CtId, Digest, Envelope,
    Epoch, Height, KeyId, LANE_NONE, Label, MemberId, Millis, Scheme, SecretKey, SeededRng,
    SignerSet, View,
};

const CHAIN: ChainId = ChainId(5);
const EPOCH: Epoch = Epoch(1);

fn identity(i: u8) -> SecretKey {
    SecretKey::from_seed([i + 1; 32])
}

struct World {
    members: Vec<CryptoContext>,
    present: Arc<SuiteKey>,
    former: Arc<SuiteKey>,
    header: BlockHeader,
}

impl World {
    fn new() -> Self {
        let mut rng = SeededRng::new(&[1; 32], b"two keys");
        let mut deal = |epoch| deal_suite_insecure(Scheme::Tdh2, epoch, 4, &mut rng).unwrap();
        let (former, old_shares) = deal(Epoch(0));
        let (present, shares) = deal(EPOCH);
        let (present, former) = (Arc::new(present), Arc::new(former));
        let committee = Committee::new((0..4).map(|i| identity(i).public()).collect()).unwrap();
        let both = shares.into_iter().zip(old_shares).enumerate();
        let members = both.map(|(i, (share, old))| {
            let sharing = Sharing {
                key: Arc::clone(&present),
                share: Arc::new(share),
                certificates: None,
                former: Some(FormerSharing::new(Arc::clone(&former), Some(Arc::new(old)))),
            };
            CryptoContext {
                chain: CHAIN,
                epoch: EPOCH,
                committee: committee.clone(),
                me: MemberId(i as u8),
                identity: Arc::new(identity(i as u8)),
                sharing: Arc::new(OnceLock::from(sharing)),
                ceremony: None,
            }
        });
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
            members: members.collect(),
            present,
            former,
            header,
        }
    }

    /// An order under a key; its label names `named`.
    fn seal(&self, key: &SuiteKey, named: KeyId, nonce: u64) -> (CtId, Arc<Envelope>) {
        let sender = SecretKey::from_seed([99; 32]);
        let label = Label {
            suite: Scheme::Tdh2.suite(),
            chain: CHAIN,
            key_id: named,
            sender: sender.public(),
            nonce,
            expiry: Millis(1),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        };
        let mut rng = SeededRng::new(&[2; 32], &nonce.to_le_bytes());
        let bytes = label.to_bytes();
        let payload = format!("order {nonce}");
        let sealed = Suite::encrypt(key, &bytes, payload.as_bytes(), sender.seed(), &mut rng);
        let envelope = Envelope::sign(label, sealed.unwrap(), &sender);
        (envelope.id(), Arc::new(envelope))
    }

    fn check(
        &self,
        envelopes: Vec<(CtId, Arc<Envelope>)>,
    ) -> Vec<Result<Arc<SuiteParsed>, EnvelopeFault>> {
        match run_job(&self.members[0], &Job::Envelopes(envelopes), &[2; 32]) {
            JobResult::Envelopes(results) => results,
            other => panic!("wrong result {other:?}"),
        }
    }

    /// The slices of a block with orders 0 and 2 under the present key, 1 and 3 under the former.
    fn slices(&self) -> Vec<ShareSlice> {
        let sealed = (0..4).map(|nonce| {
            let key = [&self.present, &self.former][nonce as usize % 2];
            self.seal(key, key.id(), nonce)
        });
        let parsed = self.check(sealed.collect());
        let list: Vec<_> = parsed.into_iter().map(Result::unwrap).collect();
        let slice = |key: &Arc<SuiteKey>, first: usize| ShareSlice {
            key: key.id(),
            list: vec![list[first].clone(), list[first + 2].clone()],
        };
        vec![slice(&self.present, 0), slice(&self.former, 1)]
    }

    fn shares(&self, member: usize, slices: &[ShareSlice]) -> Vec<Arc<ShareMessage>> {
        let block = self.header.id();
        let commit = Commit {
            epoch: EPOCH,
            view: self.header.view,
            height: self.header.height,
            block,
        };
        let certificate = Certificate {
            kind: CertificateKind::Final,
            epoch: EPOCH,
            view: commit.view,
            height: commit.height,
            block,
            signers: (0..3).map(MemberId).collect(),
            dirty: SignerSet(0),
            signatures: (0..3).map(|i| commit.sign(&identity(i), CHAIN)).collect(),
        };
        let job = SharesJob {
            height: self.header.height,
            block,
            slices: slices.to_vec(),
            certificate,
            path: Vec::new(),
        };
        match run_job(&self.members[member], &Job::Shares(Box::new(job)), &[7; 32]) {
            JobResult::Shares(messages) => messages.expect("it is final"),
            other => panic!("wrong result {other:?}"),
        }
    }

    fn combine(&self, at: u16, slice: &ShareSlice, sets: &[Arc<ShareMessage>]) -> Combined {
        let member = |set: &Arc<ShareMessage>| match &set.batch {
            SuiteBatch::Tdh2(batch) => batch.member,
            SuiteBatch::BaekZheng(_) => panic!("the other suite"),
        };
        let job = CombineJob {
            height: self.header.height,
            block: self.header.id(),
            slice: at,
            key: slice.key,
            list: slice.list.clone(),
            sets: sets.iter().map(|set| (member(set), set.clone())).collect(),
            tell: false,
        };
        match run_job(&self.members[3], &Job::Combine(Box::new(job)), &[8; 32]) {
            JobResult::Combined(combined) => combined,
            other => panic!("wrong result {other:?}"),
        }
    }
}

fn opened(combined: &Combined) -> Vec<String> {
    let text = |outcome: &Option<Opened>| match outcome {
        Some(Opened::Plain(plain)) => String::from_utf8(plain.payload.clone()).unwrap(),
        other => panic!("{other:?}"),
    };
    combined.outcomes.iter().map(text).collect()
}

#[test]
fn orders_are_checked_under_the_key_they_name() {
    let world = World::new();
    let (present, former) = (world.present.id(), world.former.id());
    let (stranger, _) = deal_suite_insecure(
        Scheme::Tdh2,
        Epoch(9),
        4,
        &mut SeededRng::new(&[3; 32], b"x"),
    )
    .unwrap();
    let results = world.check(vec![
        world.seal(&world.present, present, 1),
        world.seal(&world.former, former, 2),
        world.seal(&stranger, stranger.id(), 3),
        world.seal(&world.former, present, 4),
        world.seal(&world.present, former, 5),
    ]);
    assert!(results[0].is_ok() && results[1].is_ok());
    let fault = |at: usize| results[at].clone().unwrap_err();
    assert_eq!(fault(2), EnvelopeFault::Ciphertext(CtError::UnknownKey));
    // TDH2's proof names the key: what is sealed for another one is not valid under it.
    for at in [3, 4] {
        assert_eq!(fault(at), EnvelopeFault::Ciphertext(CtError::BadProof));
    }
}

#[test]
fn each_slice_opens_under_its_own_key() {
    let world = World::new();
    let slices = world.slices();
    let sets: Vec<_> = (0..3).map(|member| world.shares(member, &slices)).collect();
    for (at, want) in [["order 0", "order 2"], ["order 1", "order 3"]]
        .iter()
        .enumerate()
    {
        let of_slice: Vec<_> = sets.iter().map(|sets| sets[at].clone()).collect();
        assert!(of_slice.iter().all(|set| usize::from(set.slice) == at));
        let combined = world.combine(at as u16, &slices[at], &of_slice);
        assert!(combined.liars.is_empty() && combined.missing == 0);
        assert_eq!(opened(&combined), want);
    }
}

/// A liar is found under either key, and what convicts it is checked under the right one.
#[test]
fn liars_are_named_under_either_key() {
    let world = World::new();
    let slices = world.slices();
    let sets: Vec<_> = (0..4).map(|member| world.shares(member, &slices)).collect();
    let committee = &world.members[0].committee;
    for (at, slice) in slices.iter().enumerate() {
        let mut of_slice: Vec<_> = sets.iter().map(|sets| sets[at].clone()).collect();
        let mut lie = of_slice[1].as_ref().clone();
        let SuiteBatch::Tdh2(batch) = &mut lie.batch else {
            panic!("the other suite")
        };
        batch.shares.swap(0, 1);
        let (key, list) = (identity(1), lie.list);
        let lie = ShareMessage::sign(lie.height, lie.slice, list, lie.batch, &key, CHAIN, EPOCH);
        of_slice[1] = Arc::new(lie.clone());
        let combined = world.combine(at as u16, slice, &of_slice);
        let liars: Vec<_> = combined.liars.iter().map(|(member, _)| *member).collect();
        assert_eq!((liars, combined.missing), (vec![MemberId(1)], 0));
        let evidence = |message: &ShareMessage| {
            Evidence::FalseShares(Box::new(FalseShares {
                member: MemberId(1),
                message: message.clone(),
                points: slice.list.iter().map(|ct| ct.statement()).collect(),
            }))
        };
        let both = [world.present.as_ref(), world.former.as_ref()];
        let judge = |evidence: &Evidence, keys: &[&SuiteKey]| {
            evidence.verify(CHAIN, EPOCH, committee, keys)
        };
        assert_eq!(judge(&evidence(&lie), &both), Ok(MemberId(1)));
        assert!(judge(&evidence(&sets[1][at]), &both).is_err());
        // Under the other key alone nothing is said.
        assert!(judge(&evidence(&lie), &[both[1 - at]]).is_err());
    }
}

/// Once it is erased, no set is made with it; those of others still open.
#[test]
fn a_share_that_is_gone_makes_nothing() {
    let world = World::new();
    let slices = world.slices();
    let sets: Vec<_> = (0..3).map(|member| world.shares(member, &slices)).collect();
    let sharing = world.members[3].sharing.get().unwrap();
    sharing.former.as_ref().unwrap().forget();
    let made = world.shares(3, &slices);
    let numbers: Vec<_> = made.iter().map(|set| set.slice).collect();
    assert_eq!(numbers, [0]);
    let of_slice: Vec<_> = sets.iter().map(|sets| sets[1].clone()).collect();
    let combined = world.combine(1, &slices[1], &of_slice);
    assert_eq!(opened(&combined), ["order 1", "order 3"]);
}

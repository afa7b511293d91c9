//! Ceremonies of either scheme, run to their end: who deals, judges and reads.

use fairlane_encryption::{
    BaekZhengShare, Ceremony, CommitteeKeys, CommitteeShares, Deal, KeyError, KeyShare, Opened,
    ReceiverKey, ReceiverSecret, Suite, SuiteBatch, SuiteKey, SuiteSecret, ThresholdScheme,
    VerifiedDeal, resolve,
};
use fairlane_types::{Digest, Epoch, KeyId, MemberId, Scheme, encode};

use super::{ENTROPY, SENDER, block, finalized, label, rng};

/// Runs a test with either scheme; the last one said is the one that fails.
pub fn over_both_schemes(test: impl Fn(Scheme)) {
    for scheme in [Scheme::Tdh2, Scheme::BaekZheng] {
        println!("{}", scheme.name());
        test(scheme);
    }
}

/// Bytes of a point of the scheme's group.
pub fn point_bytes(scheme: Scheme) -> usize {
    match scheme {
        Scheme::Tdh2 => 32,
        Scheme::BaekZheng => 48,
    }
}

/// A committee's keys with everybody's shares.
pub struct Held {
    pub keys: CommitteeKeys,
    pub shares: Vec<CommitteeShares>,
}

/// A committee's secrets for dealings.
pub fn receivers(n: usize, seed: u64) -> (Vec<ReceiverSecret>, Vec<ReceiverKey>) {
    let mut rng = rng(seed);
    let secrets: Vec<_> = (0..n).map(|_| ReceiverSecret::generate(&mut rng)).collect();
    let keys = secrets.iter().map(ReceiverSecret::key).collect();
    (secrets, keys)
}

/// The verdicts on what travels: encoded and decoded again.
pub fn judged(ceremony: &Ceremony, deals: impl IntoIterator<Item = Deal>) -> Vec<VerifiedDeal> {
    let judge = |deal: Deal| {
        let bytes = encode(&deal);
        assert_eq!(bytes.len(), ceremony.encoded_len());
        let again: Deal = borsh::from_slice(&bytes).unwrap();
        assert_eq!(again, deal);
        ceremony.verify(deal.dealer, again).unwrap()
    };
    deals.into_iter().map(judge).collect()
}

/// What the dealings give to everybody.
pub fn finish(ceremony: &Ceremony, deals: &[VerifiedDeal], secrets: &[ReceiverSecret]) -> Held {
    let keys = ceremony.keys(deals).unwrap();
    let read = |(member, secret)| {
        let member = MemberId(member as u8);
        let (again, shares) = ceremony.shares(deals, member, secret).unwrap();
        assert_eq!(again, keys);
        shares
    };
    let shares = secrets.iter().enumerate().map(read).collect();
    Held { keys, shares }
}

pub fn fresh(
    scheme: Scheme,
    n: usize,
    seed: u64,
    certified: bool,
) -> (Ceremony, Vec<ReceiverSecret>) {
    let (secrets, keys) = receivers(n, seed);
    let id = Digest([seed as u8; 32]);
    let ceremony = Ceremony::fresh(scheme, id, Epoch(1), keys, certified);
    (ceremony.unwrap(), secrets)
}

/// A committee that made its keys.
pub fn generate(scheme: Scheme, n: usize, certified: bool) -> Held {
    let (ceremony, secrets) = fresh(scheme, n, n as u64, certified);
    let deal = |dealer| ceremony.deal(MemberId(dealer as u8), &mut rng(dealer as u64));
    let deals = (0..ceremony.needed()).map(|dealer| deal(dealer).unwrap());
    finish(&ceremony, &judged(&ceremony, deals), &secrets)
}

/// A resharing to `n` members, with a fresh encryption key or not.
pub fn change(old: &Held, n: usize, seed: u64, renewed: bool) -> (Ceremony, Vec<ReceiverSecret>) {
    let (secrets, keys) = receivers(n, seed);
    let (id, epoch) = (Digest([seed as u8; 32]), Epoch(seed));
    let CommitteeKeys {
        encryption,
        certificate,
        ..
    } = old.keys.clone();
    let ceremony = if renewed {
        Ceremony::renew(id, epoch, keys, encryption, certificate)
    } else {
        Ceremony::reshare(id, epoch, keys, encryption, certificate)
    };
    (ceremony.unwrap(), secrets)
}

pub fn deal_on(ceremony: &Ceremony, shares: &CommitteeShares, seed: u64) -> Deal {
    let certificate = shares.certificate.as_ref();
    let deal = ceremony.deal_share(&shares.encryption, certificate, &mut rng(seed));
    deal.unwrap()
}

/// Deals `old` on to a committee; dealers are the last t of the old one.
pub fn dealt_on(old: &Held, (ceremony, secrets): (Ceremony, Vec<ReceiverSecret>)) -> Held {
    let dealers = &old.shares[old.shares.len() - ceremony.needed()..];
    let deals = dealers.iter().enumerate();
    let deals = deals.map(|(seed, shares)| deal_on(&ceremony, shares, seed as u64));
    finish(&ceremony, &judged(&ceremony, deals), &secrets)
}

/// What senders encrypt to.
pub fn public(key: &SuiteKey) -> Vec<u8> {
    match key {
        SuiteKey::Tdh2(key) => key.y().to_vec(),
        SuiteKey::BaekZheng(key) => key.public_key().to_vec(),
    }
}

/// A member's old secret as its share of a key.
pub fn passes(key: &SuiteKey, share: &SuiteSecret) -> Result<(), KeyError> {
    match (key, share) {
        (SuiteKey::Tdh2(key), SuiteSecret::Tdh2(share)) => {
            KeyShare::new(key, share.member(), &share.expose_secret()).map(|_| ())
        }
        (SuiteKey::BaekZheng(key), SuiteSecret::BaekZheng(share)) => {
            BaekZhengShare::new(key, share.member(), &share.expose_secret()).map(|_| ())
        }
        _ => panic!("another scheme"),
    }
}

/// Shares under the name of another sharing.
pub fn renamed(mut batch: SuiteBatch, sharing: KeyId) -> SuiteBatch {
    match &mut batch {
        SuiteBatch::Tdh2(batch) => batch.key = sharing,
        SuiteBatch::BaekZheng(batch) => batch.key = sharing,
    }
    batch
}

pub fn seal(key: &SuiteKey) -> Vec<u8> {
    Suite::encrypt(key, &label(1), b"an order", &SENDER, &mut rng(9)).unwrap()
}

/// Whether these shares, each proven, open what [`seal`] made.
pub fn opens(key: &SuiteKey, shares: &[&SuiteSecret], bytes: &[u8]) -> bool {
    let list = vec![Suite::check(key, &label(1), bytes).unwrap()];
    let token = finalized(block(1));
    let make = |share: &&SuiteSecret| {
        let sealed = Suite::shares(share, block(1), &list, &mut rng(3));
        (share.member(), sealed.take(&token).unwrap())
    };
    let sets: Vec<_> = shares.iter().map(make).collect();
    for (_, set) in &sets {
        assert!(Suite::verify_shares(key, &list, set).is_ok());
    }
    let sets: Vec<_> = sets.iter().map(|(member, set)| (*member, set)).collect();
    let resolved = resolve::<Suite, _>(key, &list, &sets, &ENTROPY).unwrap();
    assert!(resolved.liars.is_empty() && resolved.missing == 0);
    matches!(&resolved.outcomes[0], Some(Opened::Plain(plain)) if plain.payload == b"an order")
}

impl Held {
    /// Whether these members open it.
    pub fn opens(&self, bytes: &[u8], quorum: &[usize]) -> bool {
        let shares = quorum.iter().map(|member| &self.shares[*member].encryption);
        opens(&self.keys.encryption, &shares.collect::<Vec<_>>(), bytes)
    }
}

//! What dealers of fixed randomness put into the log, byte for byte: members of different
//! versions must make, and judge, the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{rng, sha};
use fairlane_encryption::{Ceremony, Deal, ReceiverSecret};
use fairlane_types::{Digest, Epoch, MemberId, Scheme, encode};

fn receivers(n: usize) -> Vec<ReceiverSecret> {
    let mut rng = rng(n as u64);
    (0..n).map(|_| ReceiverSecret::generate(&mut rng)).collect()
}

/// Length and hash of a dealing.
fn pin(deal: &Deal) -> (usize, String) {
    let bytes = encode(deal);
    let hash = sha("dealing", &[&bytes]);
    (bytes.len(), hex::encode(&hash[..16]))
}

/// The first dealing of four members, and that of its first member to seven others with a fresh
/// key.
fn pins(scheme: Scheme) -> [(usize, String); 2] {
    let four = receivers(4);
    let keys = four.iter().map(ReceiverSecret::key).collect();
    let first = Ceremony::fresh(scheme, Digest([1; 32]), Epoch(0), keys, true).unwrap();
    let deal = |dealer| first.deal(MemberId(dealer), &mut rng(dealer.into()));
    let deals: Vec<_> = (0..3).map(|dealer| deal(dealer).unwrap()).collect();
    let made = pin(&deals[0]);
    let deals = deals
        .into_iter()
        .map(|deal| first.verify(deal.dealer, deal));
    let deals: Vec<_> = deals.map(Result::unwrap).collect();
    let (keys, shares) = first.shares(&deals, MemberId(0), &four[0]).unwrap();
    let seven = receivers(7).iter().map(ReceiverSecret::key).collect();
    let (id, epoch) = (Digest([2; 32]), Epoch(1));
    let change = Ceremony::renew(id, epoch, seven, keys.encryption, keys.certificate).unwrap();
    let certificate = shares.certificate.as_ref();
    let dealt = change.deal_share(&shares.encryption, certificate, &mut rng(9));
    [made, pin(&dealt.unwrap())]
}

#[test]
fn dealings_of_suite_0x01_stay_as_they_are() {
    let want = [
        (35_763, "ac0e90fd89c4000717a3390015433142".to_owned()),
        (82_643, "9597dceff63d090ce1585993dc50ecc3".to_owned()),
    ];
    assert_eq!(pins(Scheme::Tdh2), want);
}

#[test]
fn dealings_of_suite_0x02_stay_as_they_are() {
    let want = [
        (35_811, "382d958f820b675ba8660d5bf7015676".to_owned()),
        (82_803, "131eb3b14717f26f6a3d2df7d33e11ec".to_owned()),
    ];
    assert_eq!(pins(Scheme::BaekZheng), want);
}

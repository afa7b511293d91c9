//! One verdict, whoever lies (THREATS A6, A9, A10; PROTOCOL D5).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod common;

use common::{ENTROPY, Recipe, World, dec, enc, finalized, hs, ids, label, lp, pad, quorums};
use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as G;
use fairlane_encryption::{
    CombineError, KeyPoints, Opened, Plain, ProvenShare, Resolution, ShareError, Shares, Tdh2,
    ThresholdScheme, resolve, threshold,
};
use fairlane_types::MemberId;
use proptest::prelude::*;

fn run(world: &World, sets: &[&Shares]) -> Resolution<KeyPoints> {
    let sets: Vec<_> = sets.iter().map(|set| (set.member(), *set)).collect();
    resolve::<Tdh2, _>(&world.key, &world.list, &sets, &ENTROPY).unwrap()
}

fn all_plain(world: &World, resolution: &Resolution<KeyPoints>) -> bool {
    resolution.outcomes.len() == world.payloads.len()
        && resolution.outcomes.iter().zip(&world.payloads).all(
            |(outcome, payload)| matches!(outcome, Some(Opened::Plain(plain)) if plain.payload == *payload),
        )
}

fn blamed(resolution: &Resolution<KeyPoints>) -> Vec<usize> {
    let mut members: Vec<usize> = resolution
        .liars
        .iter()
        .map(|(member, _)| member.index())
        .collect();
    members.sort_unstable();
    members
}

/// A wrong share set of one of several kinds, well formed enough to be accepted.
fn lie(world: &World, honest: &Shares, kind: u8) -> Shares {
    let mut batch = honest.batch().clone();
    let last = batch.shares.len() - 1;
    match kind % 6 {
        0 => batch.shares.iter_mut().for_each(|share| *share = enc(G)),
        1 => batch.shares[last] = enc(-dec(&batch.shares[last])),
        2 => batch.shares.rotate_left(1),
        3 => batch.shares[0] = enc(dec(&batch.shares[0]) + G),
        4 => {
            let shift = dec(&batch.shares[1]);
            batch.shares[0] = enc(dec(&batch.shares[0]) + shift);
            batch.shares[last] = enc(dec(&batch.shares[last]) - shift);
        }
        // U itself, as if the secret were 1.
        _ => batch.shares[last] = *world.list[last].u(),
    }
    world.accept(batch)
}

/// Liars whose sets are drawn on before t honest ones are at hand.
fn expected_liars(order: &[usize], liars: &[usize], t: usize) -> Vec<usize> {
    let mut honest = 0;
    let mut met: Vec<usize> = order
        .iter()
        .take_while(|member| {
            let wanted = honest < t;
            honest += usize::from(!liars.contains(member));
            wanted
        })
        .filter(|member| liars.contains(member))
        .copied()
        .collect();
    met.sort_unstable();
    met
}

#[test]
fn one_liar_of_four_in_every_order_of_arrival() {
    let mut world = World::new(4, 4);
    let honest = world.all_shares();
    for liar in 0..4 {
        for kind in 0..6 {
            let false_set = lie(&world, &honest[liar], kind);
            for order in permutations(4) {
                let sets: Vec<_> = order
                    .iter()
                    .map(|m| if *m == liar { &false_set } else { &honest[*m] })
                    .collect();
                let resolution = run(&world, &sets);
                assert!(all_plain(&world, &resolution));
                assert_eq!(blamed(&resolution), expected_liars(&order, &[liar], 3));
            }
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let insert = |rest: Vec<usize>| {
        (0..n).map(move |at| {
            let mut order = rest.clone();
            order.insert(at, n - 1);
            order
        })
    };
    permutations(n - 1).into_iter().flat_map(insert).collect()
}

proptest! {
    #![proptest_config(common::cases(40))]

    #[test]
    fn up_to_f_liars_in_any_order_are_named_and_no_one_else(
        n in prop::sample::select(vec![4_usize, 7, 10, 13]),
        seed in any::<u64>(),
        kinds in prop::collection::vec(prop_oneof![Just(0_u8), Just(2), any::<u8>()], 4),
        keys in prop::collection::vec(any::<u32>(), 13),
    ) {
        let mut world = World::new(n, 5);
        let honest = world.all_shares();
        let f = (n - 1) / 3;
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|member| keys[*member]);
        let mut pool: Vec<usize> = (0..n).collect();
        pool.sort_by_key(|member| keys[(member + 5) % 13] ^ (seed as u32));
        let liars = &pool[..(seed % (f as u64 + 1)) as usize];
        let sets: Vec<Shares> = order
            .iter()
            .map(|member| match liars.iter().position(|liar| liar == member) {
                Some(at) => lie(&world, &honest[*member], kinds[at]),
                None => honest[*member].clone(),
            })
            .collect();
        let resolution = run(&world, &sets.iter().collect::<Vec<_>>());
        prop_assert!(all_plain(&world, &resolution));
        // A liar is drawn on for what is still closed, and named if it falsified that: all
        // of them, when each falsified every order.
        let (named, met) = (blamed(&resolution), expected_liars(&order, liars, threshold(n)));
        prop_assert!(named.iter().all(|member| met.contains(member)));
        prop_assert!(named.is_empty() == met.is_empty());
        if kinds[..liars.len()].iter().all(|kind| kind % 6 == 0 || kind % 6 == 2) {
            prop_assert_eq!(named, met);
        }
        prop_assert_eq!(resolution.missing, 0);
    }
}

/// As long as sets are missing nothing is said that a later set could change.
#[test]
fn missing_sets_leave_orders_open_not_malformed() {
    let mut world = World::new(4, 3);
    let honest = world.all_shares();
    let false_set = lie(&world, &honest[0], 3);
    let early = run(&world, &[&false_set, &honest[1], &honest[2]]);
    assert_eq!((early.missing, blamed(&early)), (1, vec![0]));
    assert_eq!(early.outcomes[0], None, "the falsified order waits");
    assert!(
        matches!(early.outcomes[1], Some(Opened::Plain(_))),
        "the others do not"
    );
    let late = run(&world, &[&false_set, &honest[1], &honest[2], &honest[3]]);
    assert!(all_plain(&world, &late));
    // The same member twice is one member.
    let twice = run(&world, &[&honest[0], &honest[0], &honest[1]]);
    assert_eq!(twice.missing, 1);
}

/// A lying set that makes W the identity harms its own orders only.
#[test]
fn identity_key_points_do_not_spoil_the_batch() {
    let mut world = World::new(4, 3);
    let honest = world.all_shares();
    // n = 4, Q = {0,1,2}: c = i − 3 = −3, −2, −1 for ids 0, 1, 2.
    let [d0, d1] = [0, 1].map(|m: usize| dec(&honest[m].batch().shares[1]));
    let mut batch = honest[2].batch().clone();
    batch.shares[1] = enc(-(d0 * Scalar::from(3_u8) + d1 * Scalar::from(2_u8)));
    let false_set = world.accept(batch);
    let combiner = Tdh2::combiner(&world.key, &ids(&[0, 1, 2])).unwrap();
    let points = Tdh2::combine(&combiner, &[&honest[0], &honest[1], &false_set]).unwrap();
    assert_eq!(points.encoded()[1], [0; 32]);
    let opened = Tdh2::open(&world.key, &world.list, &points, &ENTROPY);
    let found: Vec<bool> = opened.iter().map(Option::is_some).collect();
    assert_eq!(found, [true, false, true]);
    assert!(all_plain(
        &world,
        &run(&world, &[&honest[0], &honest[1], &false_set, &honest[3]])
    ));
}

/// Verdicts of all quorums of all kinds of evidence on order `k`; asserted to be one.
fn single_verdict(world: &mut World, k: usize) -> Opened {
    let n = world.secrets.len();
    let t = threshold(n);
    let sets = world.all_shares();
    let token = finalized(world.block);
    let proven_sets: Vec<Vec<ProvenShare>> = sets
        .iter()
        .map(|set| Tdh2::verify_shares(&world.key, &world.list, set).unwrap())
        .collect();
    let proven_ones: Vec<ProvenShare> = (0..n)
        .map(|member| {
            let secret = &world.secrets[member];
            let sealed = Tdh2::prove_one(secret, world.block, &world.list[k], &mut world.rng);
            let share = sealed.take(&token).unwrap();
            let from = MemberId(member as u8);
            Tdh2::verify_one(&world.key, world.block, &world.list[k], from, &share).unwrap()
        })
        .collect();
    let mut verdicts: Vec<Opened> = Vec::new();
    for quorum in quorums(n, t) {
        let from_batches: Vec<_> = quorum.iter().map(|m| &proven_sets[*m][k]).collect();
        let from_singles: Vec<_> = quorum.iter().map(|m| &proven_ones[*m]).collect();
        for proven in [from_batches, from_singles] {
            verdicts.push(Tdh2::conclude(&world.key, &world.list[k], &proven).unwrap());
        }
        let used: Vec<_> = quorum.iter().map(|m| &sets[*m]).collect();
        let resolution = run(world, &used);
        assert_eq!((resolution.missing, resolution.liars.len()), (0, 0));
        verdicts.push(resolution.outcomes[k].clone().unwrap());
    }
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]));
    verdicts[0].clone()
}

/// A10, the crafted collision: the sender seals the body under W' ≠ rY with everything
/// else right, and one member tunes its share so that its quorums combine to W'.
#[test]
fn tuned_shares_cannot_open_what_others_cannot() {
    for n in [4, 7] {
        let mut world = World::new(n, 2);
        let sigma = [0x5a; 32];
        let honest = Recipe::honest(
            &world.key,
            &label(2),
            b"two-faced",
            sigma,
            Scalar::from(99_u8),
        );
        let shift = G * Scalar::from(1234_u16);
        let bytes = Recipe {
            w: honest.w + shift,
            ..honest
        }
        .build();
        world.push(2, bytes, b"two-faced".to_vec());
        assert_eq!(single_verdict(&mut world, 2), Opened::Malformed);

        let sets = world.all_shares();
        let liar = n - 1;
        for quorum in quorums(n, threshold(n))
            .into_iter()
            .filter(|q| q.contains(&liar))
        {
            // W = 2Σ cᵢDᵢ: the liar adds (W' − W)/(2c) to its share.
            let c: Scalar = (0..n)
                .filter(|j| !quorum.contains(j))
                .map(|j| Scalar::from(liar as u64) - Scalar::from(j as u64))
                .product();
            let mut batch = sets[liar].batch().clone();
            let tuned = dec(&batch.shares[2]) + shift * (c + c).invert();
            batch.shares[2] = enc(tuned);
            let tuned = world.accept(batch);
            let mut used: Vec<_> = quorum
                .iter()
                .map(|m| if *m == liar { &tuned } else { &sets[*m] })
                .collect();
            // The attack does what it should: the quorum combines to W' and the AEAD opens.
            let combiner = Tdh2::combiner(&world.key, &ids(&quorum)).unwrap();
            let points = Tdh2::combine(&combiner, &used).unwrap();
            let target = dec(world.key.y())
                * hs(
                    "FAIRLANE-V1-R",
                    &[world.key.id().as_bytes(), &lp(&label(2)), &sigma],
                )
                + shift;
            assert_eq!(points.encoded()[2], enc(target));
            // It is refused all the same,
            let opened = Tdh2::open(&world.key, &world.list, &points, &ENTROPY);
            assert!(opened[0].is_some() && opened[1].is_some() && opened[2].is_none());
            // and ends in the verdict of everyone else, with the liar named.
            let rest = (0..n).find(|m| !quorum.contains(m)).unwrap();
            used.push(&sets[rest]);
            let resolution = run(&world, &used);
            assert_eq!(resolution.outcomes[2], Some(Opened::Malformed));
            assert_eq!(blamed(&resolution), [liar]);
        }
    }
}

/// The other face: a good ciphertext, and a member that tunes its share at will.
#[test]
fn tuned_shares_cannot_close_what_others_open() {
    let mut world = World::new(4, 2);
    assert!(matches!(single_verdict(&mut world, 1), Opened::Plain(_)));
    let sets = world.all_shares();
    let mut batch = sets[3].batch().clone();
    batch.shares[1] = enc(dec(&batch.shares[1]) + G);
    let tuned = world.accept(batch);
    for order in permutations(4) {
        let used: Vec<_> = order
            .iter()
            .map(|m| if *m == 3 { &tuned } else { &sets[*m] })
            .collect();
        assert!(all_plain(&world, &run(&world, &used)));
    }
}

/// Every way in which a sender can seal badly while the proof of 6.4 holds.
#[test]
fn badly_sealed_orders_are_malformed_for_every_quorum() {
    let world = World::new(4, 0);
    let good = Recipe::honest(&world.key, &label(0), b"hello", [8; 32], Scalar::from(6_u8));
    let inner = |sigma: u8, padded: Vec<u8>| [vec![sigma; 32], padded].concat();
    let cases = [
        // Sealed under another key point.
        Recipe {
            w: good.w + G,
            ..good.clone()
        },
        // Sealed under the identity.
        Recipe {
            w: G - G,
            ..good.clone()
        },
        // σ that is not the randomness of U.
        Recipe {
            inner: inner(7, pad(b"hello")),
            ..good.clone()
        },
        // No padding marker: all zeros, and no zeros at all.
        Recipe {
            inner: inner(8, vec![0; 256]),
            ..good.clone()
        },
        Recipe {
            inner: inner(8, vec![0x41; 256]),
            ..good.clone()
        },
        // r chosen freely.
        Recipe {
            r: Scalar::from(3_u8),
            w: dec(world.key.y()) * Scalar::from(3_u8),
            ..good.clone()
        },
    ];
    for recipe in cases {
        let mut world = World::new(4, 0);
        world.push(0, recipe.build(), Vec::new());
        assert_eq!(single_verdict(&mut world, 0), Opened::Malformed);
    }
    let mut world = World::new(4, 0);
    world.push(0, good.build(), b"hello".to_vec());
    let plain = Plain {
        payload: b"hello".to_vec(),
        opening: [8; 32],
    };
    assert_eq!(single_verdict(&mut world, 0), Opened::Plain(plain));
}

/// Bad orders among good ones: each is found, the good ones open, nobody is blamed.
#[test]
fn malformed_orders_blame_no_member() {
    for bad in 0..7 {
        let mut world = World::new(4, 0);
        for k in 0..7_u64 {
            let good = Recipe::honest(&world.key, &label(k), b"fine", [k as u8; 32], Scalar::ONE);
            let recipe = if k == bad {
                Recipe {
                    w: good.w + G,
                    ..good
                }
            } else {
                good
            };
            world.push(k, recipe.build(), b"fine".to_vec());
        }
        let sets = world.all_shares();
        let resolution = run(&world, &[&sets[3], &sets[1], &sets[0]]);
        assert!(resolution.liars.is_empty());
        for (k, outcome) in resolution.outcomes.iter().enumerate() {
            let malformed = *outcome == Some(Opened::Malformed);
            assert_eq!(malformed, k as u64 == bad);
        }
    }
}

/// Malformed is said for t proven shares of one order and nothing less.
#[test]
fn verdicts_need_t_proven_shares_of_this_order() {
    let mut world = World::new(4, 2);
    let sets = world.all_shares();
    let proven: Vec<Vec<ProvenShare>> = sets
        .iter()
        .map(|set| Tdh2::verify_shares(&world.key, &world.list, set).unwrap())
        .collect();
    let conclude = |shares: &[&ProvenShare]| {
        Tdh2::conclude(&world.key, &world.list[0], shares)
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(
        conclude(&[&proven[0][0], &proven[1][0]]),
        CombineError::NotEnough { have: 2, need: 3 }
    );
    assert_eq!(
        conclude(&[&proven[0][0], &proven[1][0], &proven[1][0]]),
        CombineError::DuplicateIndex(MemberId(1))
    );
    assert_eq!(
        conclude(&[&proven[0][0], &proven[1][0], &proven[2][1]]),
        CombineError::Mixed(MemberId(2))
    );
    assert_eq!(
        conclude(&[&proven[0][0], &proven[1][0], &proven[2][0], &proven[3][0]]),
        CombineError::TooMany { have: 4, need: 3 }
    );
}

#[test]
fn blame_names_the_reason() {
    let mut world = World::new(4, 2);
    let honest = world.all_shares();
    let false_set = lie(&world, &honest[1], 0);
    let resolution = run(&world, &[&honest[0], &false_set, &honest[2], &honest[3]]);
    assert_eq!(resolution.liars, [(MemberId(1), ShareError::BadBatchProof)]);
}

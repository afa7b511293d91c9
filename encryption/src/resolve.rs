//! From shares to verdicts when some members lie (D5): the loop over the scheme's steps.

use core::borrow::Borrow;

use fairlane_types::MemberId;

use crate::{CombineError, Opened, ShareError, ThresholdScheme};

/// What is known about a block's orders after all share sets at hand were used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution<K> {
    /// One verdict for each order; `None` only while [`missing`](Self::missing) is not 0.
    pub outcomes: Vec<Option<Opened>>,
    /// Members whose proof failed, in the order found: to be blamed and ignored.
    pub liars: Vec<(MemberId, ShareError)>,
    /// Share sets of further members that are needed before every order has a verdict.
    pub missing: usize,
    /// What the last sets combined to, when nothing is missing and every order that opened
    /// opens with it. Not there where liars made different orders fail in different rounds:
    /// told to others, it would be false for what opened earlier.
    pub points: Option<K>,
}

/// Opens a list from share sets of one block, the first of each member counting.
///
/// Optimistic: the first t sets are combined and opened without looking at proofs. Where
/// that fails the proofs of the sets in use are verified; liars are dropped and the rest
/// retried with further sets; if all t are proven, the verdict is [`Opened::Malformed`].
/// A set's proof is verified at most once, so a liar costs one verification and one retry.
///
/// # Errors
/// [`CombineError`] when a set names no holder of the key, or sets are of different lists:
/// `accept` gives no such sets for one block.
pub fn resolve<T: ThresholdScheme, P: Borrow<T::Parsed>>(
    key: &T::Key,
    list: &[P],
    sets: &[(MemberId, &T::Shares)],
    entropy: &[u8; 32],
) -> Result<Resolution<T::KeyPoints>, CombineError> {
    let (_, t) = T::size(key);
    let mut outcomes: Vec<Option<Opened>> = vec![None; list.len()];
    let mut liars = Vec::new();
    let mut waiting = distinct(sets).into_iter();
    let mut quorum: Vec<Entry<'_, T>> = Vec::with_capacity(t);
    loop {
        quorum.extend(waiting.by_ref().take(t - quorum.len()));
        if quorum.len() < t {
            return Ok(Resolution {
                outcomes,
                liars,
                missing: t - quorum.len(),
                points: None,
            });
        }
        let members: Vec<MemberId> = quorum.iter().map(|entry| entry.member).collect();
        let shares: Vec<&T::Shares> = quorum.iter().map(|entry| entry.shares).collect();
        let points = T::combine(&T::combiner(key, &members)?, &shares)?;
        let mut right_for_all = true;
        for (outcome, plain) in outcomes
            .iter_mut()
            .zip(T::open(key, list, &points, entropy))
        {
            right_for_all &= outcome.is_none() || plain.is_some();
            // A plaintext that passed the opening check is final whoever lied (A10).
            if let (None, Some(plain)) = (&outcome, plain) {
                *outcome = Some(Opened::Plain(plain));
            }
        }
        let points = right_for_all.then_some(points);
        if outcomes.iter().all(Option::is_some) {
            return Ok(Resolution {
                outcomes,
                liars,
                missing: 0,
                points,
            });
        }
        let before = liars.len();
        quorum.retain_mut(|entry| entry.prove(key, list, &mut liars));
        if liars.len() == before {
            conclude::<T, P>(key, list, &quorum, &mut outcomes)?;
            return Ok(Resolution {
                outcomes,
                liars,
                missing: 0,
                points,
            });
        }
    }
}

/// A share set in use, with its proven form once its proof was verified.
struct Entry<'a, T: ThresholdScheme> {
    member: MemberId,
    shares: &'a T::Shares,
    proven: Option<Vec<T::Proven>>,
}

impl<T: ThresholdScheme> Entry<'_, T> {
    /// Whether the proof holds; a failure is noted.
    fn prove<P: Borrow<T::Parsed>>(
        &mut self,
        key: &T::Key,
        list: &[P],
        liars: &mut Vec<(MemberId, ShareError)>,
    ) -> bool {
        if self.proven.is_some() {
            return true;
        }
        match T::verify_shares(key, list, self.shares) {
            Ok(proven) => self.proven = Some(proven),
            Err(error) => liars.push((self.member, error)),
        }
        self.proven.is_some()
    }
}

fn distinct<'a, T: ThresholdScheme>(sets: &[(MemberId, &'a T::Shares)]) -> Vec<Entry<'a, T>> {
    let mut entries: Vec<Entry<'a, T>> = Vec::with_capacity(sets.len());
    for (member, shares) in sets {
        if entries.iter().all(|entry| entry.member != *member) {
            entries.push(Entry {
                member: *member,
                shares,
                proven: None,
            });
        }
    }
    entries
}

/// Verdicts on what t proven sets did not open.
fn conclude<T: ThresholdScheme, P: Borrow<T::Parsed>>(
    key: &T::Key,
    list: &[P],
    quorum: &[Entry<'_, T>],
    outcomes: &mut [Option<Opened>],
) -> Result<(), CombineError> {
    for (k, (outcome, ct)) in outcomes.iter_mut().zip(list).enumerate() {
        if outcome.is_none() {
            let shares: Vec<&T::Proven> = quorum
                .iter()
                .filter_map(|entry| entry.proven.as_ref()?.get(k))
                .collect();
            *outcome = Some(T::conclude(key, ct.borrow(), &shares)?);
        }
    }
    Ok(())
}

//! Beacons under way (PROTOCOL §5): on a chain whose ties are broken by them, a block in
//! which something is tied is emitted when its beacon is known, and no sooner.
//!
//! Every member signs the final block under the same rules as it makes shares (D1, D2: the
//! proof of finality makes the share, the synced block lets it go) and sends its share to
//! all; t of them make the one signature there is. So the beacon is the same whoever
//! combines it, and whoever is missing; nobody falls back to anything else, and no timeout
//! decides. What nobody sends again is asked for with the shares (D7): a member that has
//! the signature gives that in place of its share.
//!
//! Which blocks have one: those in which two orders of one group have equal keys. That is a
//! function of the final cuts (see `fairlane_mempool::fair`), so all members wait for the
//! same beacons, and a block without ties waits for nothing.
//!
//! State is keyed by our own final blocks. Of each member shares of a bounded window of
//! heights are kept, one a height (A7).

use std::collections::BTreeMap;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use fairlane_encryption::{Beacon, CertificateShare, Certification, Subject};
use fairlane_types::{BlockId, Height, MemberId, SignerSet};

use crate::boundary::{Effect, Peers};
use crate::job::CertifyJob;
use crate::openings::STASH_HEIGHTS;
use crate::replica::Replica;
use crate::under_way::Purpose;
use crate::{Fault, Job, Message};

/// One member's share of the beacon of a height.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BeaconShare {
    /// The height.
    pub height: Height,
    /// The share.
    pub share: CertificateShare,
}

/// A final block with ties that is not emitted.
#[derive(Clone, Debug)]
struct Point {
    block: BlockId,
    /// Whoever sent a false share or a false beacon; not listened to any more.
    liars: SignerSet,
    /// So many shares were tried in vain.
    tried: usize,
    /// A job is at work on it.
    working: bool,
    beacon: Option<Beacon>,
}

/// Beacons under way.
#[derive(Clone, Debug)]
pub(crate) struct Beacons {
    threshold: usize,
    /// First height that is not emitted.
    next: Height,
    points: BTreeMap<Height, Point>,
    /// Shares of each member.
    shares: Vec<BTreeMap<Height, CertificateShare>>,
}

impl Beacons {
    /// Starts after the last emitted height.
    pub fn new(n: usize, threshold: usize, emitted: Height) -> Self {
        Self {
            threshold,
            next: emitted.next(),
            points: BTreeMap::new(),
            shares: vec![BTreeMap::new(); n],
        }
    }

    /// A final block in which something is tied.
    fn begin(&mut self, height: Height, block: BlockId) {
        let point = Point {
            block,
            liars: SignerSet::default(),
            tried: 0,
            working: false,
            beacon: None,
        };
        self.points.insert(height, point);
    }

    /// A height is emitted.
    fn done(&mut self, height: Height) {
        self.next = self.next.max(height.next());
        self.points = self.points.split_off(&self.next);
        for shares in &mut self.shares {
            *shares = shares.split_off(&self.next);
        }
    }

    /// A member's share; the first for a height counts.
    fn add(&mut self, from: MemberId, height: Height, share: CertificateShare) {
        let window = self.next..self.next.plus(STASH_HEIGHTS);
        if let Some(shares) = self.shares.get_mut(from.index())
            && window.contains(&height)
        {
            shares.entry(height).or_insert(share);
        }
    }

    /// Shares to combine, if there are enough for a height.
    fn next_job(&mut self) -> Option<(Height, BlockId, Vec<CertificateShare>)> {
        let (shares, t) = (&self.shares, self.threshold);
        self.points.iter_mut().find_map(|(height, point)| {
            if point.working || point.beacon.is_some() {
                return None;
            }
            let of_height = shares.iter().filter_map(|of| of.get(height));
            let found: Vec<_> = of_height
                .filter(|share| !point.liars.contains(share.member))
                .collect();
            if found.len() < t.max(point.tried + 1) {
                return None;
            }
            (point.tried, point.working) = (found.len(), true);
            let found = found.into_iter().cloned().collect();
            Some((*height, point.block, found))
        })
    }

    /// A member's beacon, if it is worth a check.
    fn give(&mut self, from: MemberId, beacon: &Beacon) -> Given {
        let Some(point) = self.points.get_mut(&beacon.height) else {
            return Given::Useless;
        };
        if point.block != beacon.block {
            return Given::False;
        }
        if point.working || point.beacon.is_some() || point.liars.contains(from) {
            return Given::Useless;
        }
        point.working = true;
        Given::Check
    }

    /// What a job gave; returns whoever lied.
    fn settled(
        &mut self,
        height: Height,
        beacon: Option<Beacon>,
        liars: &[MemberId],
    ) -> Option<Beacon> {
        let point = self.points.get_mut(&height)?;
        point.working = false;
        for liar in liars {
            point.liars.insert(*liar);
        }
        // With a liar gone it is worth trying again; without one only more shares are.
        if !liars.is_empty() {
            point.tried = 0;
        }
        point.beacon = point.beacon.or(beacon);
        beacon
    }

    /// What this member can give for a height: the beacon, or else its own share.
    fn answer(&self, me: MemberId, height: Height) -> Option<Message> {
        if let Some(beacon) = self.points.get(&height).and_then(|point| point.beacon) {
            return Some(Message::Beaconed(Box::new(beacon)));
        }
        let share = self.shares.get(me.index())?.get(&height)?.clone();
        Some(Message::Beacon(Arc::new(BeaconShare { height, share })))
    }
}

/// What a given beacon is worth.
enum Given {
    Useless,
    False,
    Check,
}

impl Replica {
    /// The order of a final block is known, and something in it is tied.
    pub(crate) fn begin_beacon(&mut self, height: Height, block: BlockId, out: &mut Vec<Effect>) {
        self.beacons.begin(height, block);
        self.combine_beacons(out);
    }

    /// A height is emitted: its beacon is with it on disk.
    pub(crate) fn end_beacon(&mut self, height: Height) {
        self.beacons.done(height);
    }

    /// This member's share is made.
    pub(crate) fn beacon_made(
        &mut self,
        height: Height,
        share: Option<CertificateShare>,
        out: &mut Vec<Effect>,
    ) {
        let Some(share) = share else { return };
        self.beacons.add(self.me, height, share.clone());
        let message = Message::Beacon(Arc::new(BeaconShare { height, share }));
        self.send(Peers::All, message, out);
        self.combine_beacons(out);
    }

    /// A peer's share.
    pub(crate) fn receive_beacon(
        &mut self,
        from: MemberId,
        message: Arc<BeaconShare>,
        out: &mut Vec<Effect>,
    ) {
        if message.share.member != from {
            let fault = Fault::Beacon;
            return out.push(Effect::Fault { peer: from, fault });
        }
        let BeaconShare { height, share } = Arc::unwrap_or_clone(message);
        self.beacons.add(from, height, share);
        self.combine_beacons(out);
    }

    /// A peer's beacon, in answer to a request.
    pub(crate) fn receive_beaconed(
        &mut self,
        from: MemberId,
        beacon: Beacon,
        out: &mut Vec<Effect>,
    ) {
        let given = match beacon.epoch == self.epoch() {
            true => self.beacons.give(from, &beacon),
            false => Given::False,
        };
        match given {
            Given::Useless => {}
            Given::False => self.false_beacon(from, out),
            Given::Check => {
                let beacon = Box::new(beacon);
                let job = Job::CheckBeacon(beacon.clone());
                self.compute(job, Purpose::CheckBeacon(from, beacon), out);
            }
        }
    }

    /// A peer's beacon was checked.
    pub(crate) fn beacon_checked(
        &mut self,
        from: MemberId,
        beacon: Beacon,
        holds: bool,
        out: &mut Vec<Effect>,
    ) {
        let liars = if holds { &[][..] } else { &[from][..] };
        let found = self
            .beacons
            .settled(beacon.height, holds.then_some(beacon), liars);
        if !holds {
            self.false_beacon(from, out);
        }
        self.beacon_known(found);
        self.combine_beacons(out);
    }

    /// A beacon, or the names of those who keep it from being one.
    pub(crate) fn beacon_combined(
        &mut self,
        height: Height,
        block: BlockId,
        result: &Certification,
        out: &mut Vec<Effect>,
    ) {
        let epoch = self.epoch();
        let beacon = result.certificate.map(|certificate| Beacon {
            epoch,
            height,
            block,
            certificate,
        });
        let found = self.beacons.settled(height, beacon, &result.liars);
        for liar in &result.liars {
            self.false_beacon(*liar, out);
        }
        self.beacon_known(found);
        self.combine_beacons(out);
    }

    fn beacon_known(&mut self, found: Option<Beacon>) {
        if let Some(beacon) = found {
            self.openings.beacon(beacon.height, beacon);
        }
    }

    fn false_beacon(&mut self, peer: MemberId, out: &mut Vec<Effect>) {
        self.counters.false_attestations += 1;
        let fault = Fault::Beacon;
        out.push(Effect::Fault { peer, fault });
    }

    /// Gives a peer what it may lack of a height that is not emitted here.
    pub(crate) fn serve_beacon(&self, to: MemberId, height: Height, out: &mut Vec<Effect>) {
        if let Some(message) = self.beacons.answer(self.me, height) {
            self.send(Peers::One(to), message, out);
        }
    }

    fn combine_beacons(&mut self, out: &mut Vec<Effect>) {
        while let Some((height, block, shares)) = self.beacons.next_job() {
            let subject = Subject::Beacon {
                chain: self.chain(),
                epoch: self.epoch(),
                height,
                block,
            };
            let job = Job::Certify(Box::new(CertifyJob { subject, shares }));
            self.compute(job, Purpose::Beacon(height, block), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlane_encryption::ThresholdCertificate;
    use fairlane_types::{Epoch, KeyId};

    use super::*;

    const T: usize = 3;

    fn share(member: u8) -> CertificateShare {
        CertificateShare {
            key: KeyId::default(),
            member: MemberId(member),
            signature: [member; 96],
        }
    }

    fn beacon(height: u64) -> Beacon {
        Beacon {
            epoch: Epoch(0),
            height: Height(height),
            block: BlockId::default(),
            certificate: ThresholdCertificate([1; 96]),
        }
    }

    fn heard(beacons: &mut Beacons, height: u64, members: &[u8]) {
        for member in members {
            beacons.add(MemberId(*member), Height(height), share(*member));
        }
    }

    fn members(job: Option<(Height, BlockId, Vec<CertificateShare>)>) -> Vec<u8> {
        let (_, _, shares) = job.unwrap_or_default();
        shares.iter().map(|share| share.member.0).collect()
    }

    #[test]
    fn t_shares_are_combined_once_and_a_liar_costs_one_more_time() {
        let mut beacons = Beacons::new(4, T, Height(6));
        // They may come before the block's order is known.
        heard(&mut beacons, 7, &[0, 1]);
        beacons.begin(Height(7), BlockId::default());
        assert!(beacons.next_job().is_none());
        heard(&mut beacons, 7, &[3]);
        assert_eq!(members(beacons.next_job()), [0, 1, 3]);
        assert!(beacons.next_job().is_none(), "one at a time");
        assert_eq!(beacons.settled(Height(7), None, &[MemberId(1)]), None);
        assert!(beacons.next_job().is_none());
        heard(&mut beacons, 7, &[1, 2]);
        assert_eq!(members(beacons.next_job()), [0, 2, 3]);
        let found = beacon(7);
        assert_eq!(beacons.settled(Height(7), Some(found), &[]), Some(found));
        assert!(beacons.next_job().is_none());
        assert!(matches!(
            beacons.answer(MemberId(0), Height(7)),
            Some(Message::Beaconed(_))
        ));
        beacons.done(Height(7));
        assert!(beacons.answer(MemberId(0), Height(7)).is_none());
    }

    #[test]
    fn a_given_beacon_is_checked_once_and_of_a_liar_never_again() {
        let mut beacons = Beacons::new(4, T, Height(6));
        assert!(matches!(
            beacons.give(MemberId(1), &beacon(7)),
            Given::Useless
        ));
        beacons.begin(Height(7), BlockId::default());
        let mut other = beacon(7);
        other.block = BlockId(fairlane_types::Digest([9; 32]));
        assert!(matches!(beacons.give(MemberId(1), &other), Given::False));
        assert!(matches!(
            beacons.give(MemberId(1), &beacon(7)),
            Given::Check
        ));
        assert!(matches!(
            beacons.give(MemberId(2), &beacon(7)),
            Given::Useless
        ));
        beacons.settled(Height(7), None, &[MemberId(1)]);
        assert!(matches!(
            beacons.give(MemberId(1), &beacon(7)),
            Given::Useless
        ));
        assert!(matches!(
            beacons.give(MemberId(2), &beacon(7)),
            Given::Check
        ));
    }

    /// A7: a peer makes us keep one share per height of a bounded window.
    #[test]
    fn memory_is_bounded() {
        let mut beacons = Beacons::new(4, T, Height(6));
        for height in 0..3 * STASH_HEIGHTS {
            heard(&mut beacons, height, &[1]);
            heard(&mut beacons, height, &[9]);
        }
        assert_eq!(beacons.shares[1].len() as u64, STASH_HEIGHTS);
        beacons.done(Height(6 + STASH_HEIGHTS));
        assert!(beacons.shares.iter().all(BTreeMap::is_empty));
    }
}

//! What can arrive: everything honest members have said, and the closure of the liar.

use std::sync::Arc;

use fairlane_consensus::{Block, Justify, Message, Payload, Statement};
use fairlane_types::{
    BlockHeader, BlockId, Certificate, CertificateKind, Commit, Height, MemberId, Millis,
    Signature, SignerSet, Skip, View, Vote,
};

use crate::crypto::{sign, signature};
use crate::load::Load;
use crate::member::{Input, Parent};
use crate::said::Known;
use crate::scope::{CHAIN, EPOCH, HONEST, QUORUM, Scope};
use crate::store::Registry;
use crate::system::{State, voted};

/// Dirty voters are in this half of the bits.
const DIRTY: u32 = 4;
/// The half of the bits that says who spoke.
const BITS: u8 = 0xf;

/// Mail to member `to` that carries out `input` in `state`.
pub(crate) fn mail(
    scope: &Scope,
    registry: &Registry,
    state: &State,
    to: usize,
    input: Input,
) -> Vec<(MemberId, Message<Load>)> {
    let liar = scope.liar();
    match input {
        Input::Proposal { block: id, .. } => {
            let all = state.members.iter();
            let mut sent = all.flat_map(|m| {
                let views = m.said.iter().flat_map(|(_, said)| &said.proposals);
                views.map(move |(block, message)| (m.id, block.id, message))
            });
            let found = sent.find(|(_, block, _)| *block == id);
            found
                .map(|(from, _, message)| (from, message.as_ref().clone()))
                .into_iter()
                .collect()
        }
        Input::Offer {
            block,
            cover,
            parent,
        } => {
            let offered = registry.get(block);
            let offer = offered.map(|b| offer(scope, state, &b, cover, parent));
            offer.map(|message| (liar, message)).into_iter().collect()
        }
        Input::Votes { view, block, from } => {
            let all = Subject::vote(view, block, height(registry, block));
            let mut mail = all.mail(scope, to, from);
            let clean = (from & !(from >> DIRTY)) & BITS;
            if enough(clean) && from >> DIRTY != 0 {
                // Best for whoever wants shares early: the dirty ones come too late.
                mail.drain(..mail.len() - 1);
            }
            mail
        }
        Input::Commits { view, block, from } => {
            let height = height(registry, block);
            Subject::commit(view, block, height).mail(scope, to, from)
        }
        // The certificate alone, where there is one: C9 answers f + 1 skips with one's own,
        // and a member may learn of the end of a view without having heard them.
        Input::Skips { view, from } if enough(from) => {
            let certificate = Subject::skip(view).certificate(scope, from);
            vec![(liar, Message::Certificate(certificate))]
        }
        Input::Skips { view, from } => Subject::skip(view).mail(scope, to, from),
        Input::Fetch(id) => {
            let block = registry.get(id).map(|known| Message::Block {
                block: known.block.clone(),
                signature: None,
            });
            block.map(|message| (liar, message)).into_iter().collect()
        }
        Input::Propose { .. } | Input::Timeout | Input::Sync | Input::Crash { .. } => Vec::new(),
    }
}

fn height(registry: &Registry, block: BlockId) -> Height {
    registry
        .get(block)
        .map_or(Height(0), |known| known.block.header.height)
}

/// What a certificate is about.
#[derive(Clone, Copy)]
struct Subject {
    kind: CertificateKind,
    view: View,
    block: BlockId,
    height: Height,
}

impl Subject {
    fn vote(view: View, block: BlockId, height: Height) -> Self {
        let kind = CertificateKind::Notarization;
        Self {
            kind,
            view,
            block,
            height,
        }
    }

    fn commit(view: View, block: BlockId, height: Height) -> Self {
        let kind = CertificateKind::Final;
        Self {
            kind,
            view,
            block,
            height,
        }
    }

    fn skip(view: View) -> Self {
        Self {
            kind: CertificateKind::Skip,
            view,
            block: BlockId::default(),
            height: Height(0),
        }
    }

    fn statement(&self, dirty: bool) -> Statement<Load> {
        let (epoch, view, block) = (EPOCH, self.view, self.block);
        match self.kind {
            CertificateKind::Notarization => Statement::Vote(Vote {
                epoch,
                view,
                block,
                dirty,
            }),
            CertificateKind::Final => Statement::Commit(Commit {
                epoch,
                view,
                height: self.height,
                block,
            }),
            CertificateKind::Skip => Statement::Skip {
                skip: Skip { epoch, view },
                missing: SignerSet::default(),
            },
        }
    }

    /// The statements of the liar and of the honest members `from`, the clean ones first,
    /// and the certificate if they make one: the liar may have told member `to` something
    /// else before, which makes it deaf to this word of the liar, but not to a certificate.
    fn mail(&self, scope: &Scope, to: usize, from: u8) -> Vec<(MemberId, Message<Load>)> {
        let me = scope.honest()[to];
        let say = |(by, dirty): (MemberId, bool)| (by, sign(by, self.statement(dirty)));
        let said = signers(scope, from);
        let mut mail: Vec<_> = said
            .into_iter()
            .filter(|(m, _)| *m != me)
            .map(say)
            .collect();
        if enough(from) {
            let certificate = self.certificate(scope, from);
            mail.push((scope.liar(), Message::Certificate(certificate)));
        }
        mail
    }

    /// A certificate with as few dirty votes as can be.
    fn certificate(&self, scope: &Scope, from: u8) -> Certificate {
        let mut signers = signers(scope, from);
        signers.truncate(QUORUM);
        signers.sort_unstable();
        let dirty = signers.iter().filter(|(_, dirty)| *dirty);
        let sign = |(by, dirty): &(MemberId, bool)| signature(*by, &self.statement(*dirty));
        Certificate {
            kind: self.kind,
            epoch: EPOCH,
            view: self.view,
            height: self.height,
            block: self.block,
            dirty: dirty.map(|(m, _)| *m).collect(),
            signatures: signers.iter().map(sign).collect(),
            signers: signers.iter().map(|(m, _)| *m).collect(),
        }
    }
}

/// Who says it: the honest ones that vote clean, the liar, then those that vote dirty.
fn signers(scope: &Scope, from: u8) -> Vec<(MemberId, bool)> {
    let (honest, dirty) = (scope.honest(), from >> DIRTY);
    let of = |bits: u8, dirty: bool| {
        let places = (0..HONEST).filter(move |at| bits >> at & 1 == 1);
        places.map(move |at| (honest[at], dirty))
    };
    let clean = of(from & !dirty & BITS, false);
    clean
        .chain([(scope.liar(), false)])
        .chain(of(dirty, true))
        .collect()
}

/// Bits of the honest members that voted for this block; dirty ones in the high half too.
pub(crate) fn voters(state: &State, view: View, block: BlockId) -> u8 {
    let mut bits = 0;
    for (at, member) in state.members.iter().enumerate() {
        if let Some((voted, dirty)) = member.said.of(view).and_then(|s| s.vote.as_ref())
            && voted.id == block
        {
            bits |= 1 << at | u8::from(*dirty) << (at as u32 + DIRTY);
        }
    }
    bits
}

/// Bits of the honest members that skipped this view.
pub(crate) fn skippers(state: &State, view: View) -> u8 {
    let skipped = |at: &usize| {
        let said = state.members[*at].said.of(view);
        said.is_some_and(|said| said.skip)
    };
    (0..HONEST)
        .filter(skipped)
        .fold(0, |bits, at| bits | 1 << at)
}

/// Bits of the honest members that commit-voted for this block.
pub(crate) fn committers(state: &State, view: View, block: BlockId) -> u8 {
    let mut bits = 0;
    for (at, member) in state.members.iter().enumerate() {
        let said = member.said.of(view).and_then(|s| s.commit.as_ref());
        bits |= u8::from(said.is_some_and(|(b, _)| b.id == block)) << at;
    }
    bits
}

/// Whether these honest members and the liar make a certificate.
pub(crate) fn enough(bits: u8) -> bool {
    (bits & BITS).count_ones() as usize + 1 >= QUORUM
}

/// Who said it, for a member to hear: states do not tell signers apart, so wherever the
/// others and the liar make a quorum it comes from all others, and from the first of them
/// where they do not. None if there is nothing to hear. Dirty votes stay as they are.
pub(crate) fn heard(bits: u8, at: usize) -> Option<u8> {
    if bits >> DIRTY != 0 {
        return Some(bits);
    }
    let others = !(1 << at) & ((1 << HONEST) - 1);
    if enough(bits) {
        return Some(others);
    }
    (bits & others != 0).then_some(1 << others.trailing_zeros())
}

/// The blocks that the liar can propose in a view, as inputs.
pub(crate) fn offers(
    scope: &Scope,
    registry: &Registry,
    state: &State,
    view: View,
    known: &[Arc<Known>],
) -> Vec<Input> {
    let mut offers = Vec::new();
    let mut skipped = 0_u16;
    for between in 1..view.0 {
        skipped |= u16::from(enough(skippers(state, View(between)))) << between;
    }
    for parent in known.iter().filter(|parent| parent.view() < view) {
        let genuine = parent.view() == View(0) || enough(voters(state, parent.view(), parent.id));
        let mut shows = Vec::new();
        if genuine {
            shows.push(Parent::Genuine);
        } else if scope.forgeries {
            shows.push(Parent::Forged);
            let older =
                |other: &&Arc<Known>| other.view() > View(0) && other.view() <= parent.view();
            let notarized = |other: &Arc<Known>| enough(voters(state, other.view(), other.id));
            if known.iter().filter(older).any(notarized) {
                shows.push(Parent::Stale);
            }
        }
        let cover = skipped & !((2 << parent.view().0) - 1);
        for load in loads(scope, registry, parent, view, known) {
            let block = fork(scope, registry, parent, view, &load).id;
            offers.extend(shows.iter().map(|parent| Input::Offer {
                block,
                cover,
                parent: *parent,
            }));
        }
    }
    offers
}

/// Payloads for the liar's block on this parent.
fn loads(
    scope: &Scope,
    registry: &Registry,
    parent: &Known,
    view: View,
    known: &[Arc<Known>],
) -> Vec<Load> {
    let load = |twin, holds| Load { twin, holds };
    if scope.chooses() {
        return vec![load(0, true), load(0, false)];
    }
    let first = fork(scope, registry, parent, view, &load(0, false)).id;
    let mut loads = vec![load(0, false)];
    if known.iter().any(|block| block.id == first) {
        loads.push(load(1, false));
    }
    loads
}

fn fork(scope: &Scope, registry: &Registry, parent: &Known, view: View, load: &Load) -> Arc<Known> {
    registry.fork(parent.id, view, load, || {
        block(scope, parent, view, load.clone())
    })
}

fn block(scope: &Scope, parent: &Known, view: View, payload: Load) -> Block<Load> {
    let header = BlockHeader {
        chain: CHAIN,
        epoch: EPOCH,
        view,
        height: parent.block.header.height.next(),
        parent_view: parent.view(),
        parent: parent.id,
        proposer: scope.liar(),
        time: Millis(0),
        payload: payload.digest(),
    };
    Block { header, payload }
}

fn offer(scope: &Scope, state: &State, block: &Known, cover: u16, shown: Parent) -> Message<Load> {
    let header = &block.block.header;
    let (view, parent) = (header.parent_view, header.parent);
    let notarization = |id: BlockId| {
        let subject = Subject::vote(view, id, header.height.prev());
        subject.certificate(scope, voters(state, view, id))
    };
    let certificate_of_parent = match shown {
        _ if view == View(0) => None,
        Parent::Genuine => Some(notarization(parent)),
        Parent::Stale => {
            let older = (1..=view.0).rev().map(View);
            let mut voted = older.flat_map(|view| voted(state, view));
            voted
                .find(|b| b.id != parent && enough(voters(state, b.view(), b.id)))
                .map(|b| {
                    let subject = Subject::vote(b.view(), b.id, b.block.header.height);
                    subject.certificate(scope, voters(state, b.view(), b.id))
                })
        }
        Parent::Forged => {
            let mut forged = notarization(parent);
            forged.signers = scope.honest().into_iter().collect();
            forged.signatures = vec![Signature::default(); HONEST];
            Some(forged)
        }
    };
    let skips = (view.0 + 1..header.view.0).filter(|v| cover >> v & 1 == 1);
    let skips = skips.map(|v| Subject::skip(View(v)).certificate(scope, skippers(state, View(v))));
    let statement = Statement::Proposal {
        block: block.block.clone(),
        justify: Justify {
            parent: certificate_of_parent,
            skips: skips.collect(),
        },
    };
    sign(scope.liar(), statement)
}

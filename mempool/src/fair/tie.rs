//! What breaks ties: a value that is known only after the set is fixed (A15).

use fairlane_types::{BlockId, CtId, Digest, Domain, Micros, Mutant, Planted};

/// Settled: H(block ‖ id) until the beacon lands.
pub(super) fn tie(block: BlockId, ct_id: CtId) -> Digest {
    let mut hasher = Domain::Tie.hasher();
    hasher.update(block.as_bytes()).update(ct_id.as_bytes());
    Digest(*hasher.finalize().as_bytes())
}

/// Sorts orders that nothing else tells apart.
pub(super) fn sort_ties(ties: &mut [(Digest, CtId, Micros)], planted: Planted) {
    if planted.is(Mutant::TieById) {
        ties.sort_unstable_by_key(|(_, ct_id, _)| *ct_id);
    } else {
        ties.sort_unstable();
    }
}

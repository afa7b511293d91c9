//! Verified certificates above the final tip (C4), and the proof that a proposal stands.

use std::collections::BTreeMap;

use fairlane_types::{BlockId, Certificate, CertificateKind, View};

use crate::config::{CERTS_MAX, INLINE_SKIPS_MAX};

/// One notarization and one skip certificate per view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Certs {
    notarizations: BTreeMap<View, Certificate>,
    skips: BTreeMap<View, Certificate>,
}

impl Certs {
    pub(crate) fn notarization(&self, view: View) -> Option<&Certificate> {
        self.notarizations.get(&view)
    }
    pub(crate) fn skip(&self, view: View) -> Option<&Certificate> {
        self.skips.get(&view)
    }
    pub(crate) fn skipped(&self, view: View) -> bool {
        self.skips.contains_key(&view)
    }
    pub(crate) fn notarized(&self, view: View, block: BlockId) -> bool {
        self.notarizations
            .get(&view)
            .is_some_and(|c| c.block == block)
    }

    /// Keeps a verified notarization or skip certificate.
    pub(crate) fn insert(&mut self, certificate: Certificate) {
        let view = certificate.view;
        match certificate.kind {
            CertificateKind::Notarization => self.notarizations.insert(view, certificate),
            CertificateKind::Skip => self.skips.insert(view, certificate),
            CertificateKind::Final => None,
        };
    }

    /// Notarizations from a view on, ascending.
    pub(crate) fn notarizations_from(&self, view: View) -> impl Iterator<Item = &Certificate> {
        self.notarizations.range(view..).map(|(_, c)| c)
    }

    /// The highest certificate of either kind.
    pub(crate) fn highest(&self) -> Option<&Certificate> {
        let notarization = self.notarizations.values().next_back();
        let skip = self.skips.values().next_back();
        notarization.into_iter().chain(skip).max_by_key(|c| c.view)
    }

    /// C4: the newest skip certificates in `(above, below)`, as many as travel inline.
    pub(crate) fn inline_skips(&self, above: View, below: View) -> Vec<Certificate> {
        if above.next() >= below {
            return Vec::new();
        }
        let mut skips: Vec<_> = self
            .skips
            .range(above.next()..below)
            .rev()
            .take(INLINE_SKIPS_MAX)
            .map(|(_, c)| c.clone())
            .collect();
        skips.reverse();
        skips
    }

    /// C4: the highest view in `(above, below)` without a skip certificate.
    pub(crate) fn uncovered(&self, above: View, below: View) -> Option<View> {
        let mut expect = below.prev();
        if above >= expect {
            return None;
        }
        for view in self.skips.range(above.next()..below).rev().map(|(v, _)| *v) {
            if view != expect {
                return Some(expect);
            }
            expect = expect.prev();
        }
        (expect > above).then_some(expect)
    }

    /// The answer to `GetCerts`: what ended these views, newest first.
    pub(crate) fn range(&self, from: View, to: View) -> Vec<Certificate> {
        if from > to {
            return Vec::new();
        }
        let skips = self.skips.range(from..=to).rev();
        let notarizations = self.notarizations.range(from..=to).rev();
        let mut both: Vec<_> = skips
            .take(CERTS_MAX)
            .chain(notarizations.take(CERTS_MAX))
            .map(|(_, c)| c)
            .collect();
        both.sort_by_key(|c| core::cmp::Reverse((c.view, c.kind)));
        both.truncate(CERTS_MAX);
        both.into_iter().cloned().collect()
    }

    /// C4: kept until a finalization above.
    pub(crate) fn prune(&mut self, tip: View) {
        self.notarizations.retain(|view, _| *view > tip);
        self.skips.retain(|view, _| *view > tip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairlane_types::{Epoch, Height, SignerSet};

    fn certs(skips: &[u64], notarizations: &[u64]) -> Certs {
        let mut certs = Certs::default();
        let kinds = [
            (CertificateKind::Skip, skips),
            (CertificateKind::Notarization, notarizations),
        ];
        for (kind, views) in kinds {
            for view in views {
                certs.insert(Certificate {
                    kind,
                    epoch: Epoch(0),
                    view: View(*view),
                    height: Height(0),
                    block: BlockId::default(),
                    signers: SignerSet::default(),
                    dirty: SignerSet::default(),
                    signatures: Vec::new(),
                });
            }
        }
        certs
    }

    #[test]
    fn c4_every_view_between_needs_a_skip_certificate() {
        let all = certs(&[3, 4, 5], &[]);
        assert_eq!(all.uncovered(View(2), View(6)), None);
        assert_eq!(all.uncovered(View(1), View(6)), Some(View(2)));
        assert_eq!(all.uncovered(View(2), View(7)), Some(View(6)));
        assert_eq!(
            certs(&[3, 5], &[4]).uncovered(View(2), View(6)),
            Some(View(4))
        );
        assert_eq!(certs(&[], &[]).uncovered(View(5), View(6)), None);
        assert_eq!(certs(&[], &[]).uncovered(View(6), View(6)), None);
        assert_eq!(certs(&[], &[]).uncovered(View(7), View(6)), None);
    }

    #[test]
    fn c4_thirty_two_newest_skips_travel_inline() {
        let views: Vec<u64> = (1..=50).collect();
        let inline = certs(&views, &[]).inline_skips(View(0), View(51));
        assert_eq!(inline.len(), INLINE_SKIPS_MAX);
        assert_eq!(inline[0].view, View(19));
        assert_eq!(inline[31].view, View(50));
        assert!(
            certs(&views, &[])
                .inline_skips(View(50), View(51))
                .is_empty()
        );
    }

    #[test]
    fn c11_answers_are_bounded() {
        let views: Vec<u64> = (1..=50).collect();
        let answer = certs(&views, &views).range(View(0), View(u64::MAX));
        assert_eq!(answer.len(), CERTS_MAX);
        assert_eq!(answer[0].view, View(50));
        assert!(certs(&views, &views).range(View(9), View(3)).is_empty());
    }
}

//! Keyed tags that stand for signatures and shares where cryptography is ideal: cheap to
//! make, and nobody in a run can make one without the oracle's secret. Not a MAC: a run
//! has no attacker that computes.

/// Absorbs words under a secret and gives as many as are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    a: u64,
    b: u64,
}

impl Tag {
    pub(super) const fn new(secret: u64, purpose: u64) -> Self {
        Self {
            a: secret ^ 0x243f_6a88_85a3_08d3,
            b: purpose ^ 0x1319_8a2e_0370_7344,
        }
    }

    pub(super) const fn word(mut self, word: u64) -> Self {
        let product =
            ((self.a ^ word) as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.a = (product >> 64) as u64 ^ self.b.rotate_left(29);
        self.b = product as u64 ^ word.rotate_left(17).wrapping_add(self.b);
        self
    }

    /// Absorbs bytes and their number.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut tag = self.word(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            tag = tag.word(u64::from_le_bytes(
                chunk.try_into().expect("invariant: chunks of eight"),
            ));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        tag.word(u64::from_le_bytes(last))
    }

    /// One word.
    pub(super) const fn value(self) -> u64 {
        let end = self.word(0x452f_21e6_38d0_1377);
        end.a ^ end.b.rotate_left(32)
    }

    /// `N` bytes; `N` is a multiple of 8.
    pub(super) fn fill<const N: usize>(mut self) -> [u8; N] {
        let mut out = [0; N];
        for (index, chunk) in out.chunks_mut(8).enumerate() {
            self = self.word(index as u64);
            chunk.copy_from_slice(&self.value().to_le_bytes()[..chunk.len()]);
        }
        out
    }
}

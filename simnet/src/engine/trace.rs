//! The rolling hash over everything that happens: two runs with the same hash did the
//! same things in the same order.

use super::Nanos;

/// A 128-bit rolling hash and the number of events in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    a: u64,
    b: u64,
    events: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            a: 0x243f_6a88_85a3_08d3,
            b: 0x1319_8a2e_0370_7344,
            events: 0,
        }
    }
}

impl Trace {
    /// Adds an event: when, where, what kind, and a word about its content.
    pub const fn event(&mut self, time: Nanos, node: usize, kind: u32, content: u64) {
        self.word(time.0);
        self.word(((node as u64) << 32) | kind as u64);
        self.word(content);
        self.events += 1;
    }

    /// Adds bytes, such as a digest.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// Number of events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far.
    #[must_use]
    pub const fn hash(&self) -> u128 {
        ((self.a as u128) << 64) | self.b as u128
    }

    const fn word(&mut self, word: u64) {
        let product =
            ((self.a ^ word) as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.a = (product >> 64) as u64 ^ self.b.rotate_left(29);
        self.b = product as u64 ^ word.rotate_left(17).wrapping_add(self.b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_change_the_hash() {
        let run = |events: &[(u64, usize, u32, u64)]| {
            let mut trace = Trace::default();
            for (time, node, kind, content) in events {
                trace.event(Nanos(*time), *node, *kind, *content);
            }
            trace.hash()
        };
        let base = run(&[(1, 0, 1, 5), (2, 1, 1, 6)]);
        assert_eq!(base, run(&[(1, 0, 1, 5), (2, 1, 1, 6)]));
        for other in [
            &[(2, 1, 1, 6), (1, 0, 1, 5)][..],
            &[(1, 0, 1, 5), (2, 1, 1, 7)],
            &[(1, 0, 1, 5), (2, 0, 1, 6)],
            &[(1, 0, 2, 5), (2, 1, 1, 6)],
            &[(1, 0, 1, 5)],
        ] {
            assert_ne!(base, run(other));
        }
        let (mut long, mut short) = (Trace::default(), Trace::default());
        long.bytes(&[1, 0]);
        short.bytes(&[1]);
        assert_ne!(long, short);
    }
}

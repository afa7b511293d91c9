//! BLAKE3 of many short inputs at once: sixteen, eight or four side by side, as the processor
//! can. The digests are those of hashing them one by one (decision 64).
//!
//! An input of up to 1,024 bytes is a chain of compressions of 64 bytes each. The whole blocks
//! of inputs that have equally many are compressed side by side; a last block that is not
//! whole is compressed by itself.

use blake3::hazmat::{ContextKey, HasherExt};
use blake3::platform::{MAX_SIMD_DEGREE_OR_2 as LANES, Platform};
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, KEY_LEN, OUT_LEN};
use borsh::BorshSerialize;

use crate::Digest;

/// Inputs that are gathered before they are hashed: so many fit the processor's caches.
const AT_ONCE: usize = 256;
/// Numbers of whole blocks that an input of one chunk can have.
const LENGTHS: usize = CHUNK_LEN / BLOCK_LEN + 1;

// Flags of a compression (BLAKE3 specification, table 3).
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;
const DERIVE_KEY_MATERIAL: u8 = 1 << 6;

/// Hashes inputs of one kind together.
#[derive(Clone, Copy, Debug)]
pub struct ManyHasher {
    key: [u8; KEY_LEN],
    words: [u32; 8],
    mode: u8,
    platform: Platform,
}

impl ManyHasher {
    /// Digests as of [`blake3::keyed_hash`].
    #[must_use]
    pub fn keyed(key: &[u8; KEY_LEN]) -> Self {
        Self::new(*key, KEYED_HASH, Platform::detect())
    }

    /// Digests as of [`blake3::derive_key`], with the key of its context.
    pub(crate) fn derived(key: &ContextKey) -> Self {
        Self::new(*key, DERIVE_KEY_MATERIAL, Platform::detect())
    }

    fn new(key: [u8; KEY_LEN], mode: u8, platform: Platform) -> Self {
        Self {
            key,
            words: words(&key),
            mode,
            platform,
        }
    }

    /// The digest of each value's canonical encoding.
    pub fn each<'a, T: BorshSerialize + 'a>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Vec<Digest> {
        let mut inputs = Inputs::new(*self);
        for value in values {
            inputs.push(|bytes| crate::append(value, bytes));
        }
        inputs.finish()
    }

    /// Gives `each` the digest of each pair, its 64 bytes hashed.
    pub fn pairs(
        &self,
        pairs: impl IntoIterator<Item = [Digest; 2]>,
        mut each: impl FnMut(Digest),
    ) {
        let mut blocks = [[0; BLOCK_LEN]; LANES];
        let mut held = 0;
        let mut hash = |blocks: &[[u8; BLOCK_LEN]]| {
            let mut inputs = [&[0; BLOCK_LEN]; LANES];
            inputs.iter_mut().zip(blocks).for_each(|(to, of)| *to = of);
            let out = self.chain(&inputs[..blocks.len()], CHUNK_END | ROOT);
            out.into_iter()
                .take(blocks.len())
                .for_each(|digest| each(Digest(digest)));
        };
        for [left, right] in pairs {
            blocks[held][..OUT_LEN].copy_from_slice(&left.0);
            blocks[held][OUT_LEN..].copy_from_slice(&right.0);
            held += 1;
            if held == LANES {
                hash(&blocks);
                held = 0;
            }
        }
        if held > 0 {
            hash(&blocks[..held]);
        }
    }

    /// Compresses the whole blocks of up to [`LANES`] inputs, with flags for the last one.
    fn chain<const N: usize>(&self, inputs: &[&[u8; N]], last: u8) -> [[u8; OUT_LEN]; LANES] {
        let mut out = [[0; OUT_LEN]; LANES];
        self.platform.hash_many(
            inputs,
            &self.words,
            0,
            IncrementCounter::No,
            self.mode,
            CHUNK_START,
            last,
            out.as_flattened_mut(),
        );
        out
    }

    /// Digests of up to [`LANES`] inputs with N bytes in whole blocks, all of them with more
    /// behind or none.
    fn lanes<const N: usize>(&self, inputs: &[&[u8]], out: &mut [Digest]) {
        let mut heads = [&[0; N]; LANES];
        for (head, input) in heads.iter_mut().zip(inputs) {
            *head = input
                .first_chunk()
                .expect("invariant: sorted by whole blocks");
        }
        let ends = inputs.first().is_some_and(|input| input.len() == N);
        let last = if ends { CHUNK_END | ROOT } else { 0 };
        let chained = self.chain(&heads[..inputs.len()], last);
        for ((out, input), value) in out.iter_mut().zip(inputs).zip(&chained) {
            *out = if ends {
                Digest(*value)
            } else {
                self.end(words(value), &input[N..], 0)
            };
        }
    }

    /// The last compression of an input, of less than a whole block.
    fn end(&self, mut chained: [u32; 8], rest: &[u8], start: u8) -> Digest {
        let mut block = [0; BLOCK_LEN];
        block[..rest.len()].copy_from_slice(rest);
        let (bytes, flags) = (rest.len() as u8, self.mode | start | CHUNK_END | ROOT);
        self.platform
            .compress_in_place(&mut chained, &block, bytes, 0, flags);
        let mut out = [0; OUT_LEN];
        for (four, word) in out.as_chunks_mut().0.iter_mut().zip(chained) {
            *four = word.to_le_bytes();
        }
        Digest(out)
    }

    /// Digests of up to [`LANES`] inputs of so many whole blocks each, likewise.
    fn side_by_side(&self, blocks: usize, inputs: &[&[u8]], out: &mut [Digest]) {
        match blocks {
            0 => {
                for (out, input) in out.iter_mut().zip(inputs) {
                    *out = self.end(self.words, input, CHUNK_START);
                }
            }
            1 => self.lanes::<64>(inputs, out),
            2 => self.lanes::<128>(inputs, out),
            3 => self.lanes::<192>(inputs, out),
            4 => self.lanes::<256>(inputs, out),
            5 => self.lanes::<320>(inputs, out),
            6 => self.lanes::<384>(inputs, out),
            7 => self.lanes::<448>(inputs, out),
            8 => self.lanes::<512>(inputs, out),
            9 => self.lanes::<576>(inputs, out),
            10 => self.lanes::<640>(inputs, out),
            11 => self.lanes::<704>(inputs, out),
            12 => self.lanes::<768>(inputs, out),
            13 => self.lanes::<832>(inputs, out),
            14 => self.lanes::<896>(inputs, out),
            15 => self.lanes::<960>(inputs, out),
            _ => self.lanes::<CHUNK_LEN>(inputs, out),
        }
    }

    /// An input that is longer than a chunk: a tree, which `blake3` hashes.
    fn long(&self, input: &[u8]) -> Digest {
        let mut hasher = if self.mode == KEYED_HASH {
            blake3::Hasher::new_keyed(&self.key)
        } else {
            blake3::Hasher::new_from_context_key(&self.key)
        };
        Digest(*hasher.update(input).finalize().as_bytes())
    }
}

fn words(bytes: &[u8; 32]) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, four) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*four);
    }
    words
}

/// Inputs that are hashed together as they come in.
#[derive(Debug)]
pub struct Inputs {
    hasher: ManyHasher,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    out: Vec<Digest>,
}

impl Inputs {
    /// None yet.
    #[must_use]
    pub const fn new(hasher: ManyHasher) -> Self {
        Self {
            hasher,
            bytes: Vec::new(),
            ends: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Takes one more, which `write` appends to the buffer.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        if self.ends.len() == AT_ONCE {
            self.hash();
        }
    }

    /// The digest of each, in the order they came in.
    #[must_use]
    pub fn finish(mut self) -> Vec<Digest> {
        self.hash();
        self.out
    }

    fn hash(&mut self) {
        let first = self.out.len();
        self.out.resize(first + self.ends.len(), Digest::default());
        let out = &mut self.out[first..];
        let input = |at: usize| {
            let from = if at == 0 { 0 } else { self.ends[at - 1] };
            &self.bytes[from..self.ends[at]]
        };
        // By whole blocks, those with a rest apart from those without.
        let mut waiting = [[(0, [0; LANES]); LENGTHS]; 2];
        let mut hash = |blocks: usize, waiting: &[usize]| {
            let mut inputs: [&[u8]; LANES] = [&[]; LANES];
            for (to, at) in inputs.iter_mut().zip(waiting) {
                *to = input(*at);
            }
            let mut digests = [Digest::default(); LANES];
            let inputs = &inputs[..waiting.len()];
            self.hasher.side_by_side(blocks, inputs, &mut digests);
            for (at, digest) in waiting.iter().zip(digests) {
                out[*at] = digest;
            }
        };
        for at in 0..self.ends.len() {
            let length = input(at).len();
            if length > CHUNK_LEN {
                continue;
            }
            let (blocks, rest) = (length / BLOCK_LEN, length % BLOCK_LEN);
            let (held, slots) = &mut waiting[usize::from(rest == 0)][blocks];
            slots[*held] = at;
            *held += 1;
            if *held == LANES {
                hash(blocks, slots);
                *held = 0;
            }
        }
        for kind in &waiting {
            for (blocks, (held, slots)) in kind.iter().enumerate() {
                if *held > 0 {
                    hash(blocks, &slots[..*held]);
                }
            }
        }
        for (at, out) in out.iter_mut().enumerate() {
            if input(at).len() > CHUNK_LEN {
                *out = self.hasher.long(input(at));
            }
        }
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTEXT: &str = "FAIRLANE V1 test of many";
    const KEY: [u8; 32] = [9; 32];

    /// Each kind of hasher on each kind of processor that this one can be.
    fn hashers() -> Vec<ManyHasher> {
        let mut platforms = vec![Platform::detect(), Platform::portable()];
        #[cfg(target_arch = "x86_64")]
        platforms.extend(
            [Platform::sse2(), Platform::sse41(), Platform::avx2()]
                .into_iter()
                .flatten(),
        );
        let context = blake3::hazmat::hash_derive_key_context(CONTEXT);
        let both = |platform| {
            [
                ManyHasher::new(KEY, KEYED_HASH, platform),
                ManyHasher::new(context, DERIVE_KEY_MATERIAL, platform),
            ]
        };
        platforms.into_iter().flat_map(both).collect()
    }

    fn one_by_one(hasher: &ManyHasher, input: &[u8]) -> Digest {
        Digest(if hasher.mode == KEYED_HASH {
            *blake3::keyed_hash(&KEY, input).as_bytes()
        } else {
            blake3::derive_key(CONTEXT, input)
        })
    }

    fn check(inputs: &[Vec<u8>]) {
        for hasher in hashers() {
            let mut many = Inputs::new(hasher);
            inputs
                .iter()
                .for_each(|input| many.push(|bytes| bytes.extend(input)));
            let want: Vec<_> = inputs.iter().map(|i| one_by_one(&hasher, i)).collect();
            assert_eq!(many.finish(), want);
        }
    }

    #[test]
    fn inputs_of_every_length_hash_as_one_by_one() {
        let input = |length: usize| (0..length).map(|n| (n * 7 + length) as u8).collect();
        check(
            &(0..=CHUNK_LEN + BLOCK_LEN + 1)
                .map(input)
                .collect::<Vec<_>>(),
        );
        for length in 0..=CHUNK_LEN / 16 + 1 {
            // A full row of each length, one more, and less than a row.
            let alike = |n| vec![n as u8; length * 16];
            check(&(0..2 * LANES + 3).map(alike).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pairs_and_values_hash_as_one_by_one() {
        for hasher in hashers() {
            for count in 0..2 * LANES as u8 + 2 {
                let digest = |n: u8| Digest([n; 32]);
                let pair = |n: u8| [digest(n), digest(n ^ 255)];
                let mut got = Vec::new();
                hasher.pairs((0..count).map(pair), |digest| got.push(digest));
                let want = |n| one_by_one(&hasher, &pair(n).map(|digest| digest.0).concat());
                assert_eq!(got, (0..count).map(want).collect::<Vec<_>>());
            }
            let values: Vec<_> = (0..300u64).map(|n| vec![n; n as usize % 40]).collect();
            let want = |value| one_by_one(&hasher, &crate::encode(value));
            assert_eq!(
                hasher.each(&values),
                values.iter().map(want).collect::<Vec<_>>()
            );
        }
    }

    proptest! {
        #[test]
        fn inputs_of_mixed_lengths_hash_as_one_by_one(
            lengths in proptest::collection::vec(0..1_200usize, 0..600),
            seed in any::<u64>(),
        ) {
            let input = |(at, length): (usize, &usize)| {
                (0..*length as u64)
                    .map(|n| (n ^ seed.rotate_left(at as u32)) as u8)
                    .collect()
            };
            check(&lengths.iter().enumerate().map(input).collect::<Vec<_>>());
        }
    }
}

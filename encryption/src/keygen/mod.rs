//! Key generation without a dealer, and resharing (PROTOCOL §6; THREATS A18, A19, A21).
//!
//! Every dealer publishes one [`Deal`] of all keys that are made: for each commitments to a
//! polynomial p_d (Feldman, FOCS 1987), a proof that it knows p_d(0), and each receiver's
//! share encrypted in a way that *everyone* can verify. There is no complaint phase: a
//! dealing is valid or not, as a whole and by its bytes alone, for all members alike, also
//! for one that was down and reads it later.
//!
//! **Verifiable encryption** is cut and choose (Camenisch, Damgård, ASIACRYPT 2000, in the
//! form of Shoup, "A simple verifiable encryption of secret shares", ePrint 2025/1175). For
//! k = 1…[`SLOTS`] the dealer masks p_d with a random polynomial g_k and encrypts every
//! g_k(αⱼ) to receiver j, all from a seed. A hash of all of it picks [`KEPT`] slots. Of the
//! others the seed is shown, and everyone makes the slot again. Of the kept ones h_k =
//! p_d + g_k is shown; the commitments to g_k follow as h_kG − C and are in the hash. A
//! receiver decrypts g_k(αⱼ) from any kept slot, subtracts, and compares with C.
//!
//! - *Sound*: a receiver is left without a share only if its entry is wrong in every kept
//!   slot and right in every opened one, so only for one choice of slots out of
//!   C(132, 60) > 2¹²⁷, each try costing a hash of everything.
//! - *Hiding*: a kept slot shows h_k, which is p_d under a uniform mask, and hashed ElGamal
//!   encryptions of the mask (CDH, random oracle); an opened slot says nothing of p_d. The
//!   pad's hash names ceremony, dealer, commitments, slot, receiver and its key, so entries
//!   copied from another dealing decrypt to noise, and one ephemeral key for all receivers
//!   is safe without proofs of possession for theirs.
//! - *Extractable*: honest receivers hold t shares of every valid dealing, so the argument
//!   of TDH2 can read an adversary's polynomial with their keys and needs no rewinding.
//!
//! **Two groups.** Encryption keys of suite 0x01 lie over ristretto255, those of suite 0x02 and
//! the certificate key over G1 of BLS12-381; the dealings are the same but for the group of the
//! polynomial ([`curve`]). Receivers have one key, of ristretto255, for all. A pad is 512 bits of
//! SHA-512 modulo the order of the polynomial's group, so within 2⁻²⁵⁷ of uniform in either
//! (random oracle), and what a masked entry hides rests on CDH in the receiver's group alone:
//! nothing of the argument needs the pad's group to be the polynomial's.
//!
//! **Roles.** With suite 0x02 all parts of a dealing lie in one group and have one length. The
//! context of a part, which every pad, mask and proof hashes, begins with a domain of the key that
//! it is of (encryption key of suite 0x01, of suite 0x02, certificate key) and names the sharing
//! that it deals on, or none: no part of one key, dealt on or fresh, is one of another.
//!
//! **Fresh keys.** QUAL is the first n − f valid dealings in the finalized order, each by
//! another member; the key is the sum of their polynomials. Who deals last sees the others'
//! commitments and can choose among keys; that biases some bits of Y (Gennaro, Jarecki,
//! Krawczyk, Rabin, J. Cryptology 2007) and reveals nothing about p(0). For a scheme of
//! ElGamal's kind that is enough: Y is the honest part plus a part whose logarithm can be
//! extracted, and W is corrected by that (Gurkan et al., EUROCRYPT 2021, "key-expressable").
//! The same paper shows it of BLS signatures. The beacon stays unbiased: the key is fixed by
//! final dealings before anything is signed with it, and a signature is unique.
//!
//! Baek and Zheng's scheme is of the same kind. Let PK = A + bP, with A = aP of an honest dealer
//! and b the sum of the rest, which the reduction draws itself or extracts before the first
//! ciphertext. A ciphertext's validity says nothing of the key, so two things are left that depend
//! on it: shares, xU = aU + bU, and what a challenge U = cP hides, c·PK = cA + bU. Both are what
//! they are under A alone, plus a multiple of a known point by a known number: who breaks the sum
//! breaks A. The last dealer's choice is that of b, as a function of A too; nothing here needs b
//! to be independent of A, only known, which is why a dealing proves what it deals and can be
//! extracted: no part can cancel another's. So the sum is as good a key as a dealer's
//! ([`BaekZheng`](crate::BaekZheng), whose assumptions stay what they are).
//!
//! **Resharing.** Old members deal polynomials with p_d(0) = their share, which is checked
//! against the old verification keys. The new polynomial is the Lagrange sum of the first
//! t_old valid ones: p(0), and so the public point and the key's id, stay. Committees may overlap or not;
//! the same committee again is a refresh, after which old shares are of no use together
//! with new ones. Old members must erase theirs (A21): t_old that do not keep the power
//! they had.
//!
//! **A fresh encryption key with a resharing** is one more part of the same dealing: a secret
//! that the dealer draws, dealt to the new receivers. The key is the sum over the dealings
//! that count for the resharing, t_old = 2f + 1 of them, so f + 1 honest ones are in it, and
//! what is said above of fresh keys holds. Its context names no old key, the dealt-on part's
//! names one, so neither serves as the other. The old key goes on beside it until the orders
//! that are sealed to it have come out.

mod ceremony;
mod combining;
mod committee;
pub(crate) mod curve;
mod deal;
mod dealing;
mod dealt;
mod judging;
mod part;
mod slots;
mod suite_part;

pub use ceremony::Ceremony;
pub use committee::{CommitteeKeys, CommitteeShares};
pub use deal::{Deal, DealError, DealtKey};
pub use judging::VerifiedDeal;
pub use slots::{KEPT, ReceiverKey, ReceiverSecret, SLOTS};

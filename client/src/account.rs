//! An account, proven: the Merkle path leads from its content to a state root, and f+1
//! members have signed that root as what execution made of that height. At least one of
//! them is honest, so that the state is the one the sequence gives.

use fairlane_encryption::{CERTIFICATE_KEY_BYTES, StateAttestation};
use fairlane_execution::AccountProof;
use fairlane_execution::account::AccountLeaf;
use fairlane_types::{ChainId, Digest, Height, MemberId, PublicKey, SignerSet, StateClaim};

use crate::Pin;
use crate::wire::{AccountBody, AttestedAccountBody, PositionBody};

/// Largest proof that is read, in bytes: an account with open orders in every market.
pub const PROOF_BYTES_MAX: usize = 4 << 20;

/// Why an account is not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The proof does not parse.
    #[error("the account's proof is malformed")]
    Malformed,
    /// It is of another key, or what is shown is not what it proves.
    #[error("the proof is not of what is shown")]
    Other,
    /// It leads to another root.
    #[error("the proof leads to another state root")]
    Root,
    /// Too few members signed that root.
    #[error("only {found} of {need} members signed the state root")]
    Few {
        /// Members that did.
        found: usize,
        /// f+1.
        need: usize,
    },
    /// The state is not signed by the committee.
    #[error("the signature on the state at height {0} does not verify under the committee's key")]
    Signature(Height),
}

/// An account under a state root that f+1 members signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenAccount {
    /// The account.
    pub account: AccountLeaf,
    /// Height of the state.
    pub height: Height,
    /// Its root.
    pub state_root: Digest,
    /// Who signed it.
    pub signed_by: Vec<MemberId>,
}

/// An account under a state root that the committee signed as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedAccount {
    /// The account.
    pub account: AccountLeaf,
    /// The committee's word.
    pub state: StateAttestation,
}

/// Checks an account with nothing but the committee's key. The chain id is one of those that
/// the key signs for: a false one verifies nothing.
///
/// # Errors
/// [`AccountError`].
pub fn check_attested_account(
    committee: &[u8; CERTIFICATE_KEY_BYTES],
    chain: ChainId,
    key: &PublicKey,
    body: AttestedAccountBody,
) -> Result<AttestedAccount, AccountError> {
    let account = check_account(key, &body.account)?;
    let state = StateAttestation::try_from(body.state).map_err(|_| AccountError::Malformed)?;
    if state.height.0 != body.account.height || state.roots.state_root != body.account.state_root {
        return Err(AccountError::Root);
    }
    if !state.verify(committee, chain) {
        return Err(AccountError::Signature(state.height));
    }
    Ok(AttestedAccount { account, state })
}

/// Checks that an answer proves what it shows, under the root that it names. Whether that
/// root is the committee's is [`check_claims`]'s to say.
///
/// # Errors
/// [`AccountError`].
pub fn check_account(key: &PublicKey, body: &AccountBody) -> Result<AccountLeaf, AccountError> {
    let proof: AccountProof = fairlane_types::decode(&body.proof, PROOF_BYTES_MAX)
        .map_err(|_| AccountError::Malformed)?;
    if proof.state_root() != Some(body.state_root) || proof.head.0.0 != body.height {
        return Err(AccountError::Root);
    }
    let account = proof.account;
    let shown = body.positions.iter().cloned();
    let proven = account.positions.iter().map(PositionBody::from);
    let same = account.key == *key
        && body.key == *key
        && body.collateral == account.collateral.to_string()
        && shown.eq(proven);
    if same {
        Ok(account)
    } else {
        Err(AccountError::Other)
    }
}

/// The members that signed this state, if they are f+1.
///
/// # Errors
/// [`AccountError::Few`].
pub fn check_claims(
    pin: &Pin,
    height: Height,
    state_root: Digest,
    claims: &[StateClaim],
) -> Result<Vec<MemberId>, AccountError> {
    let (genesis, committee) = (pin.genesis(), pin.committee());
    let mut signers = SignerSet::default();
    for claim in claims {
        let fits = claim.chain == genesis.chain
            && claim.epoch == genesis.epoch()
            && claim.height == height
            && claim.state_root == state_root;
        let Some(key) = committee.key(claim.member).filter(|_| fits) else {
            continue;
        };
        if claim.signature_check(key).verify().is_ok() {
            signers.insert(claim.member);
        }
    }
    let need = committee.f() + 1;
    let found: Vec<MemberId> = signers.iter().collect();
    if found.len() < need {
        let found = found.len();
        return Err(AccountError::Few { found, need });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fairlane_encryption::{
        StateRoots, ThresholdCertificate, accept_certificate_share, certify, deal_pairing_insecure,
        sign_state,
    };
    use fairlane_execution::params::{ExecutionGenesis, MarketParams, MatchingRule};
    use fairlane_execution::{Clearing, Execution};
    use fairlane_types::{Epoch, Root, SecretKey, Signature, encode};

    use super::*;
    use crate::testing;
    use crate::wire::StateAttestationBody;

    fn body() -> (PublicKey, AccountBody) {
        let market = MarketParams {
            initial_ppm: 100_000,
            maintenance_ppm: 50_000,
            band_ppm: 200_000,
            taker_fee_ppm: 0,
            maker_fee_ppm: 0,
            liquidation_fee_ppm: 0,
            liquidation_block_ppm: 1_000_000,
            funding_heights: 0,
            funding_cap_ppm: 0,
            ..MarketParams::plain(1_000, MatchingRule::PriceTime)
        };
        let key = |n: u8| PublicKey([n; 32]);
        let genesis = ExecutionGenesis {
            withdraw_hour_ppm: 0,
            withdraw_day_ppm: 0,
            ..ExecutionGenesis::plain(
                vec![market],
                (0..5).map(|n| (key(n), 100 + u64::from(n))).collect(),
            )
        };
        let clearing = Clearing::new(&genesis, Root::default()).unwrap();
        let proof = clearing.prove(&key(3), Height(0)).unwrap();
        let body = AccountBody {
            key: key(3),
            height: 0,
            state_root: clearing.head().1,
            collateral: "103".to_owned(),
            positions: Vec::new(),
            proof: encode(&proof),
        };
        (key(3), body)
    }

    #[test]
    fn an_answer_that_is_not_what_it_proves_is_refused() {
        let (key, good) = body();
        assert_eq!(check_account(&key, &good).unwrap().collateral, 103);
        let mut richer = good.clone();
        richer.collateral = "104".to_owned();
        assert_eq!(check_account(&key, &richer), Err(AccountError::Other));
        assert_eq!(
            check_account(&PublicKey([2; 32]), &good),
            Err(AccountError::Other)
        );
        let mut other = good.clone();
        other.height = 1;
        assert_eq!(check_account(&key, &other), Err(AccountError::Root));
    }

    /// Signed by a committee of one: what matters here is who is believed.
    fn attested() -> ([u8; CERTIFICATE_KEY_BYTES], PublicKey, AttestedAccountBody) {
        let (key, account) = body();
        let mut rng = fairlane_types::SeededRng::new(&[5; 32], b"certificate");
        let (committee, secrets) = deal_pairing_insecure(Epoch(0), 1, &mut rng).unwrap();
        let roots = StateRoots {
            genesis: Digest([1; 32]),
            state_root: account.state_root,
            receipts_root: Digest([2; 32]),
        };
        let (chain, height) = (ChainId(7), Height(account.height));
        let share = sign_state(&secrets[0], chain, Epoch(0), height, roots.digest());
        let share = accept_certificate_share(&committee, MemberId(0), &share).unwrap();
        let mut state = StateAttestation {
            epoch: Epoch(0),
            height,
            roots,
            certificate: ThresholdCertificate([0; 96]),
        };
        let signed = certify(&committee, &state.subject(chain), &[share]).unwrap();
        state.certificate = signed.certificate.unwrap();
        let state = StateAttestationBody::new(chain.0, &state);
        (
            *committee.public_key(),
            key,
            AttestedAccountBody { account, state },
        )
    }

    #[test]
    fn the_committees_key_alone_tells_a_proven_account_from_any_other() {
        let (committee, key, good) = attested();
        let check = |key: &PublicKey, body: &AttestedAccountBody| {
            check_attested_account(&committee, ChainId(7), key, body.clone())
        };
        assert_eq!(check(&key, &good).unwrap().account.collateral, 103);
        let signature = Err(AccountError::Signature(Height(0)));
        let other = check_attested_account(&committee, ChainId(8), &key, good.clone());
        assert_eq!(other, signature);
        let mut state = good.clone();
        state.state.receipts_root = Digest([9; 32]);
        assert_eq!(check(&key, &state), signature);
        state.state.state_root = Digest([9; 32]);
        assert_eq!(check(&key, &state), Err(AccountError::Root));
        let mut height = good.clone();
        height.state.height = 8;
        assert_eq!(check(&key, &height), Err(AccountError::Root));
        let mut short = good.clone();
        short.state.certificate.pop();
        assert_eq!(check(&key, &short), Err(AccountError::Malformed));
        assert_eq!(check(&PublicKey([2; 32]), &good), Err(AccountError::Other));
    }

    proptest::proptest! {
        #[test]
        fn a_changed_proof_is_refused(at: proptest::sample::Index, flip in 1..=255u8) {
            let (key, mut bad) = body();
            let at = at.index(bad.proof.len());
            bad.proof[at] ^= flip;
            proptest::prop_assert!(check_account(&key, &bad).is_err());
        }
    }

    #[test]
    fn f_plus_one_members_must_have_signed_this_very_state() {
        let (pin, keys) = testing::pin_of(4);
        let (height, root) = (Height(9), Digest([7; 32]));
        let claim = |member: u8, key: &SecretKey| {
            StateClaim {
                chain: pin.genesis().chain,
                epoch: pin.genesis().epoch(),
                member: MemberId(member),
                genesis: Digest([1; 32]),
                height,
                state_root: root,
                receipts_root: Digest([2; 32]),
                signature: Signature([0; 64]),
            }
            .signed(key)
        };
        let (a, b) = (claim(0, &keys[0]), claim(1, &keys[1]));
        let few = Err(AccountError::Few { found: 1, need: 2 });
        let check = |claims: &[StateClaim]| check_claims(&pin, height, root, claims);
        assert_eq!(check(&[a, b]), Ok(vec![MemberId(0), MemberId(1)]));
        assert_eq!(check(&[a, a]), few);
        // Another's key, another member's name, another state, a stranger.
        assert_eq!(check(&[a, claim(1, &keys[2])]), few);
        assert_eq!(
            check(&[
                a,
                StateClaim {
                    member: MemberId(1),
                    ..a
                }
            ]),
            few
        );
        let elsewhere = StateClaim {
            state_root: Digest([8; 32]),
            ..b
        };
        assert_eq!(check(&[a, elsewhere.signed(&keys[1])]), few);
        assert_eq!(check(&[a, claim(9, &keys[3])]), few);
    }
}

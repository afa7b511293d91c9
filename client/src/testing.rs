//! A committee in memory for unit tests.

use fairlane_encryption::{Opened, Suite, ThresholdScheme, deal_suite_insecure, resolve};
use fairlane_types::{
    BlockId, Certificate, CertificateKind, ChainId, Commit, ConsensusParams, Digest,
    EncryptionParams, Envelope, Epoch, Finalized, Genesis, Height, Item, LaneParams, Micros,
    Millis, Order, OrderAction, OrderParams, Outcome, Scheme, SecretKey, SeededRng, SequencedBlock,
    SignerSet, View,
};

use crate::{Cursor, Pin, SealOptions, Sealer, dev};

pub fn rng(context: &str) -> SeededRng {
    SeededRng::new(&[7; 32], context.as_bytes())
}

fn member_keys(n: usize) -> Vec<SecretKey> {
    (0..n)
        .map(|i| dev::trader_key(&format!("member {i}")))
        .collect()
}

fn finalized(pin: &Pin, block: BlockId, height: Height) -> Finalized {
    let (epoch, view, chain) = (Epoch(0), View(1), pin.genesis().chain);
    let commit = Commit {
        epoch,
        view,
        height,
        block,
    };
    let keys = member_keys(pin.committee().n());
    Certificate {
        kind: CertificateKind::Final,
        epoch,
        view,
        height,
        block,
        signers: SignerSet::from_iter(pin.committee().ids()),
        dirty: SignerSet(0),
        signatures: keys.iter().map(|key| commit.sign(key, chain)).collect(),
    }
    .finalize(chain, pin.committee(), &[2; 32])
    .unwrap()
}

pub fn pin_of(n: usize) -> (Pin, Vec<SecretKey>) {
    let keys = member_keys(n);
    let (key, _) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), n, &mut rng("deal")).unwrap();
    let genesis = Genesis {
        chain: ChainId(7),
        time: Millis(1_000),
        experiment: true,
        start: None,
        members: keys.iter().map(SecretKey::public).collect(),
        encryption: EncryptionParams::dealt(Scheme::Tdh2, key.id(), key.to_bytes()),
        certificates: None,
        lanes: LaneParams::default(),
        consensus: ConsensusParams::default(),
        order: OrderParams::default(),
    };
    (Pin::new(genesis).unwrap(), keys)
}

/// The next block with `orders` opened orders, and their envelopes.
pub fn opened_block(pin: &Pin, after: &Cursor, orders: u64) -> (SequencedBlock, Vec<Envelope>) {
    let (scheme, n) = (pin.key().scheme(), pin.committee().n());
    let (_, shares) = deal_suite_insecure(scheme, Epoch(0), n, &mut rng("deal")).unwrap();
    let sealer = Sealer::new(pin, dev::trader_key("alice"));
    let mut rng = rng("seal");
    let envelopes: Vec<_> = (0..orders)
        .map(|nonce| {
            let order = Order::new(OrderAction::Cancel {
                market: 1,
                cloid: nonce,
            });
            let options = SealOptions {
                nonce,
                expiry: Millis(2_000),
                lane: None,
            };
            sealer.seal(&order, options, &mut rng).unwrap()
        })
        .collect();
    let block = BlockId(Digest([after.next().0 as u8; 32]));
    let parsed: Vec<_> = envelopes
        .iter()
        .map(|e| Suite::check(pin.key(), &e.label.to_bytes(), &e.ciphertext).unwrap())
        .collect();
    let token = finalized(pin, block, after.next());
    let sets: Vec<_> = shares
        .iter()
        .map(|share| {
            let sealed = Suite::shares(share, block, &parsed, &mut rng);
            (share.member(), sealed.take(&token).unwrap())
        })
        .collect();
    let sets: Vec<_> = sets.iter().map(|(member, set)| (*member, set)).collect();
    let resolved = resolve::<Suite, _>(pin.key(), &parsed, &sets, &[1; 32]).unwrap();
    let items = envelopes
        .iter()
        .zip(resolved.outcomes)
        .enumerate()
        .map(|(index, (envelope, opened))| {
            let Some(Opened::Plain(plain)) = opened else {
                panic!("an honest ciphertext opens")
            };
            Item {
                position: after.next_position().plus(index as u64),
                label: envelope.label.clone(),
                ct_id: envelope.id(),
                stamp: Micros(index as u64),
                outcome: Outcome::Opened {
                    payload: plain.payload,
                    opening: plain.opening,
                },
            }
        })
        .collect();
    let block = SequencedBlock {
        chain: pin.genesis().chain,
        epoch: Epoch(0),
        height: after.next(),
        block,
        time: Millis(1_500),
        parent_root: after.root(),
        first_position: after.next_position(),
        items,
        state: None,
        root: fairlane_types::Root::default(),
    };
    (block.sealed(), envelopes)
}

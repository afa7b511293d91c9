//! Writes valid encodings for the targets to begin with: `seeds FOLDER`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use fairlane_client::sequence_file::{Record, SequenceWriter};
use fairlane_client::wire::{BlockBody, EnvelopeBody, Frame};
use fairlane_encryption::{
    Beacon, Ceremony, CertificateSecret, ReceiverSecret, Signing, Suite, SuiteBatch,
    ThresholdCertificate, ThresholdScheme, deal_pairing_insecure, deal_suite_insecure,
    sign_attestation,
};
use fairlane_execution::oracle::Quote;
use fairlane_execution::params::{Deleveraging, MarketParams};
use fairlane_execution::{Change, Request, Tx};
use fairlane_fuzz::clearing::{END, IDLE, genesis};
use fairlane_fuzz::{epochs, home};
use fairlane_replica::{Dealing, Message, ShareMessage};
use fairlane_types::{
    ActiveKeys, BlockId, Certificate, CertificateKind, ChainId, Digest, EncryptionParams, Envelope,
    Epoch, Genesis, Height, Item, KeyActivation, LANE_NONE, Label, MemberId, Millis, Order,
    OrderAction, Outcome, Position, PublicKey, Root, Scheme, SecretKey, SeededRng, SequencedBlock,
    Side, Signature, SignerSet, TimeInForce, UsedReceivers, View, encode,
};

const CHAIN: ChainId = ChainId(1);
const EPOCH: Epoch = Epoch(0);

fn main() -> std::io::Result<()> {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "fuzz/corpus".to_owned());
    let folder = Path::new(&folder);
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let target = folder.join(target);
        fs::create_dir_all(&target)?;
        fs::write(target.join(name), bytes)
    };
    // Other keys than the targets have: there nothing may hold.
    let mut rng = SeededRng::new(&[9; 32], b"seeds");
    let sender = SecretKey::from_seed([8; 32]);
    let order = Order::new(OrderAction::CancelAll { market: Some(1) });
    write("orders", "order", &order.to_bytes())?;
    write("transactions", "order", &order.to_bytes())?;
    let mut item = None;
    for (scheme, which) in [(Scheme::Tdh2, 0_u8), (Scheme::BaekZheng, 1)] {
        let dealt = deal_suite_insecure(scheme, EPOCH, 4, &mut rng);
        let (key, secrets) = dealt.expect("four members");
        write("keys", scheme.name(), &key.to_bytes())?;
        write(
            "keys",
            &format!("secret-{}", scheme.name()),
            &encode(&secrets[0]),
        )?;
        let label = Label {
            suite: scheme.suite(),
            chain: CHAIN,
            key_id: key.id(),
            sender: sender.public(),
            nonce: 1,
            expiry: Millis(5),
            fee: 0,
            lane: LANE_NONE,
            reserved: [0; 19],
        };
        write("orders", &format!("label-{which}"), &encode(&label))?;
        let sealed = Suite::encrypt(
            &key,
            &label.to_bytes(),
            &order.to_bytes(),
            &[1; 32],
            &mut rng,
        );
        let ciphertext = sealed.expect("it fits");
        write("orders", &format!("ciphertext-{which}"), &ciphertext)?;
        let envelope = Envelope::sign(label, ciphertext, &sender);
        write("orders", &format!("envelope-{which}"), &encode(&envelope))?;
        let body = EnvelopeBody::from(&envelope);
        json(&write, 1, &format!("order-{which}"), &body)?;
        item = Some(Item {
            position: Position(0),
            label: envelope.label.clone(),
            ct_id: envelope.id(),
            stamp: fairlane_types::Micros(7),
            outcome: Outcome::Expired,
        });
    }
    // Shares as they travel, all zero: canonical, and false.
    let zero = [
        &[0_u8; 1 + 32 + 32 + 1][..],
        &1_u32.to_le_bytes(),
        &[0; 32 + 64],
    ]
    .concat();
    if let Ok(batch) = fairlane_types::decode::<SuiteBatch>(&zero, zero.len()) {
        write("shares", "batch", &zero)?;
        let message =
            ShareMessage::sign(Height(1), 0, Digest([2; 32]), batch, &sender, CHAIN, EPOCH);
        write("shares", "message", &encode(&message))?;
        write(
            "messages",
            "shares",
            &Message::Shares(Arc::new(message)).to_frame(),
        )?;
    }
    let dealt = deal_pairing_insecure::<Signing, _>(EPOCH, 4, &mut rng);
    let (certificate_key, secrets) = dealt.expect("four members");
    write("keys", "certificate", &encode(&certificate_key))?;
    write("keys", "certificate-secret", &encode(&secrets[0]))?;
    let share = sign_attestation(&secrets[0], CHAIN, EPOCH, Height(1), Root::default());
    write("shares", "certificate", &encode(&share))?;

    let secrets: Vec<_> = (0..4).map(|_| ReceiverSecret::generate(&mut rng)).collect();
    let receivers = secrets.iter().map(ReceiverSecret::key).collect();
    let receivers: Vec<_> = receivers;
    let dealt = |scheme, rng: &mut _| {
        let ceremony = Ceremony::fresh(scheme, Digest([1; 32]), EPOCH, receivers.clone(), true);
        let ceremony = ceremony.expect("four receivers");
        ceremony.deal(MemberId(1), rng).expect("a dealer")
    };
    let deal = dealt(Scheme::Tdh2, &mut rng);
    write("dealings", "deal", &encode(&deal))?;
    let pairing = dealt(Scheme::BaekZheng, &mut rng);
    write("dealings", "pairing", &encode(&pairing))?;
    let dealing = Dealing::sign(&deal, &sender, CHAIN, EPOCH);
    write(
        "messages",
        "dealing",
        &Message::Dealing(Arc::new(dealing)).to_frame(),
    )?;
    write(
        "messages",
        "emitted",
        &Message::Emitted(Height(3)).to_frame(),
    )?;
    write(
        "messages",
        "key",
        &Message::KeyMade(Signature([1; 64])).to_frame(),
    )?;

    let block = SequencedBlock {
        chain: CHAIN,
        epoch: EPOCH,
        height: Height(1),
        block: BlockId::default(),
        time: Millis(5),
        parent_root: Root::default(),
        first_position: Position(0),
        items: item.into_iter().collect(),
        state: None,
        root: Root::default(),
    }
    .sealed();
    record(&write, 4, "sequenced", &block)?;
    record(&write, 11, "record", &Record::Block(block.clone()))?;
    json(&write, 2, "block", &BlockBody::from(&block))?;
    let certificate = Certificate {
        kind: CertificateKind::Final,
        epoch: EPOCH,
        view: View(3),
        height: Height(1),
        block: BlockId::default(),
        signers: SignerSet(7),
        dirty: SignerSet::default(),
        signatures: vec![Signature([1; 64]); 3],
    };
    record(&write, 2, "certificate", &certificate)?;
    record(&write, 9, "activation", &activation())?;
    let mut file = SequenceWriter::new(Vec::new(), Digest([5; 32]))?;
    file.write(&Record::Block(block.clone()))?;
    write("files", "sequence", &file.finish()?)?;
    write("files", "frame", &Frame::around_block(&encode(&block)))?;
    write(
        "files",
        "sample",
        include_bytes!("../../examples/orders.jsonl")
            .get(..400)
            .unwrap_or_default(),
    )?;

    let genesis = Genesis {
        chain: CHAIN,
        time: Millis(1),
        experiment: true,
        start: None,
        members: (1..5)
            .map(|seed| SecretKey::from_seed([seed; 32]).public())
            .collect(),
        encryption: EncryptionParams::ceremony(
            Scheme::Tdh2,
            secrets
                .iter()
                .map(|s| fairlane_types::ReceiverBytes(*s.key().bytes()))
                .collect(),
        ),
        certificates: None,
        lanes: Default::default(),
        consensus: Default::default(),
        order: Default::default(),
    };
    json(&write, 0, "genesis", &genesis)?;
    write("files", "genesis", &serde_json::to_vec(&genesis)?)?;
    between_epochs(&write)?;
    of_a_home(&write)?;
    clearing(&write)
}

/// What leads from one epoch into the next, by the first byte.
fn between_epochs(
    write: &impl Fn(&str, &str, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let (base, change) = (epochs::base(), epochs::change());
    let (_, secrets) = epochs::keys();
    let certificate: Option<CertificateSecret> = None;
    let mut used = UsedReceivers::default();
    used.add(&base.handover.genesis);
    let order = fairlane_mempool::fair::rule(4, 1, &Default::default());
    let beacon = Beacon {
        epoch: EPOCH,
        height: Height(3),
        block: BlockId::default(),
        certificate: ThresholdCertificate([1; 96]),
    };
    for (which, name, bytes) in [
        (0, "handover", encode(&base.handover)),
        (1, "base", encode(&base)),
        (2, "change", encode(&change)),
        (3, "change-json", serde_json::to_vec(&change)?),
        (
            3,
            "member-json",
            serde_json::to_vec(&change.next.members[0])?,
        ),
        (4, "receivers", encode(&used)),
        (5, "beacon", encode(&beacon)),
        (6, "shares", encode(&(&secrets[0], certificate))),
        (7, "memory", base.memory.clone()),
        (7, "order", order.snapshot()),
    ] {
        write("epochs", name, &[&[which], &bytes[..]].concat())?;
    }
    Ok(())
}

/// A word for keys that no committee of the targets gave.
fn activation() -> KeyActivation {
    KeyActivation {
        epoch: EPOCH,
        keys: ActiveKeys {
            encryption: epochs::keys().0.to_bytes(),
            certificate: Vec::new(),
        },
        signers: SignerSet(7),
        signatures: vec![Signature([1; 64]); 3],
    }
}

/// Files of operators, by the first byte.
fn of_a_home(write: &impl Fn(&str, &str, &[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let config = r#"listen_quic = "127.0.0.1:7700"
listen_api = "127.0.0.1:7701"
listen_ops = "127.0.0.1:7702"
log = "info"
join = ["http://127.0.0.1:7711"]
[peers]
1 = "127.0.0.1:7710"
2 = "member-2.example:7720"
3 = "[::1]:7730"
[store]
reserve_mb = 64
archive = true
[api]
connections_max = 10
"#;
    // Altered: nobody sealed it.
    let mut altered = home::sealed(b"a secret");
    altered.push(0);
    for (which, name, bytes) in [
        (20, "sealed", altered),
        (1, "nothing-changed", Vec::new()),
        (1, "cost-changed", vec![19, 0, 0xff, 20, 0, 0xff]),
        (2, "backup", home::backup()),
        (2, "dealt-backup", home::dealt_backup()),
        (3, "config", config.as_bytes().to_vec()),
        (4, "founding", home::founding()),
    ] {
        write("home", name, &[&[which], &bytes[..]].concat())?;
    }
    Ok(())
}

/// Every kind of transaction, and streams of them in which something happens.
fn clearing(write: &impl Fn(&str, &str, &[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let place = |market, side, price_ticks, lots, tif, reduce_only, cloid| OrderAction::Place {
        market,
        side,
        price_ticks,
        lots,
        tif,
        reduce_only,
        cloid,
    };
    let gtc = TimeInForce::Gtc;
    let sell = |lots, cloid| place(0, Side::Sell, 1_000, lots, gtc, false, cloid);
    let buy = |lots, cloid| place(0, Side::Buy, 1_000, lots, gtc, false, cloid);
    let see = |market, ticks| {
        let spread = 1;
        let quote = Quote {
            market,
            ticks,
            spread,
        };
        Request::Observe {
            quotes: vec![quote],
        }
    };
    let genesis = genesis(0);
    let change = |edit: &dyn Fn(&mut MarketParams)| {
        let mut params = genesis.markets[0].clone();
        edit(&mut params);
        let params = Box::new(params);
        Box::new(Change::Market { market: 0, params })
    };
    let requests = [
        Request::Withdraw { amount: 100 },
        Request::Transfer {
            to: PublicKey([1; 32]),
            amount: 100,
        },
        Request::Deposit {
            to: PublicKey([9; 32]),
            amount: 100,
            number: 0,
        },
        see(0, 1_000),
        Request::Shrink {
            market: 0,
            cloid: 1,
            lots: 2,
        },
        Request::Until {
            order: sell(5, 7),
            height: 3,
        },
        Request::Replace {
            market: 0,
            cloid: 1,
            price_ticks: 1_001,
            lots: 3,
            tif: TimeInForce::PostOnly,
        },
        Request::Batch {
            orders: vec![
                buy(2, 8),
                OrderAction::Cancel {
                    market: 0,
                    cloid: 8,
                },
            ],
        },
        Request::Commit {
            market: 1,
            side: Side::Buy,
            limit_ticks: 1_010,
            lots: 60,
            slices: 3,
            number: 1,
        },
        Request::TakeBack {
            market: 1,
            number: 1,
        },
        Request::Change {
            height: 70,
            change: change(&|params| params.maintenance_ppm = 90_000),
        },
        Request::Change {
            height: 70,
            change: Box::new(Change::Oracles {
                oracles: (101..105).map(|n| PublicKey([n; 32])).collect(),
            }),
        },
        Request::Change {
            height: 70,
            change: Box::new(Change::General {
                oracle: Default::default(),
                deleveraging: Deleveraging::Queue,
                withdraw_hour_ppm: 1,
                withdraw_day_ppm: 1,
            }),
        },
    ];
    for (n, request) in requests.iter().enumerate() {
        let tx = Tx::Request(request.clone()).to_bytes();
        write("transactions", &format!("request-{n}"), &tx)?;
    }
    let say = |who: u8, tx: Tx| {
        let bytes = tx.to_bytes();
        [&[who, bytes.len() as u8][..], &bytes].concat()
    };
    let order = |who, action| say(who, Tx::Order(action));
    let ask = |who, request: &Request| say(who, Tx::Request(request.clone()));
    let prices = |ticks| -> Vec<u8> {
        let all = (100..104).flat_map(|who| [ask(who, &see(0, ticks)), ask(who, &see(1, ticks))]);
        all.flatten().collect()
    };
    let end = vec![END, 9];
    for bits in [0, 2, 3, 6, 7, 12, 40, 60] {
        let trade = [
            order(0, sell(40, 1)),
            order(1, buy(40, 1)),
            order(2, buy(10, 1)),
            order(
                3,
                place(0, Side::Sell, 1_001, 9, TimeInForce::PostOnly, false, 1),
            ),
            order(1, place(0, Side::Sell, 1_000, 9, TimeInForce::Ioc, true, 2)),
            order(2, OrderAction::CancelAll { market: None }),
        ]
        .concat();
        let all: Vec<u8> = (0..6)
            .zip(&requests)
            .flat_map(|(who, r)| ask(who, r))
            .collect();
        let voices: Vec<u8> = (100..103).flat_map(|who| ask(who, &requests[10])).collect();
        let mut crash = Vec::new();
        for ticks in [950, 880, 800, 700, 1_200] {
            crash.extend([prices(ticks), end.clone()].concat());
        }
        let begin = [
            vec![bits],
            prices(1_000),
            end.clone(),
            trade.clone(),
            end.clone(),
        ]
        .concat();
        let large = [
            ask(4, &requests[8]),
            end.clone(),
            vec![IDLE, 4],
            prices(1_001),
        ]
        .concat();
        for (name, rest) in [
            ("crash", crash.clone()),
            ("requests", [all, end.clone(), large].concat()),
            (
                "change",
                [voices, end.clone(), vec![IDLE, 70], crash].concat(),
            ),
        ] {
            let bytes = [begin.clone(), rest].concat();
            write("transitions", &format!("{name}-{bits}"), &bytes)?;
        }
    }
    Ok(())
}

/// For targets that take what it is from the first byte.
fn record<T: borsh::BorshSerialize>(
    write: &impl Fn(&str, &str, &[u8]) -> std::io::Result<()>,
    which: u8,
    name: &str,
    value: &T,
) -> std::io::Result<()> {
    write("records", name, &[&[which][..], &encode(value)].concat())
}

fn json<T: serde::Serialize>(
    write: &impl Fn(&str, &str, &[u8]) -> std::io::Result<()>,
    which: u8,
    name: &str,
    value: &T,
) -> std::io::Result<()> {
    write(
        "json",
        name,
        &[&[which][..], &serde_json::to_vec(value)?].concat(),
    )
}

//! Homes between epochs: what is erased when, and what a folder may enter (PROTOCOL §6,
//! THREATS A21).

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::sync::Arc;

use fairlane_client::Member;
use fairlane_client::wire::ErrorCode;
use fairlane_encryption::{
    CertificateKeyError, ReceiverSecret, Signing, deal_pairing_insecure, deal_suite_insecure,
};
use fairlane_node::config::{Config, Overrides};
use fairlane_node::epochs::{EpochError, Present, Resting};
use fairlane_node::home::Home;
use fairlane_node::passphrase::Passphrase;
use fairlane_node::store::{RocksStore, StoreOptions};
use fairlane_node::testnet::{InitOptions, Testnet, init};
use fairlane_replica::{
    BaseError, Dealing, EPOCH_BASE_BYTES_MAX, EpochBase, Store, Table, Write, height_key, meta,
};
use fairlane_types::{
    ActiveKeys, BlockId, ChainId, Digest, Domain, Envelope, Epoch, EpochStart, Genesis, Handover,
    HandoverError, Height, KeyActivation, KeyId, LANE_NONE, Label, MemberId, Millis, NextCommittee,
    NextKey, NextMember, Position, QuorumWord, ReceiverBytes, Root, Scheme, SecretKey, SeededRng,
    SequencedBlock, Signature, SignerSet, encode,
};
use zeroize::Zeroizing;

/// What lies in a folder, by name.
fn names(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.root()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.contains(".key")).collect();
    names.sort();
    names
}

#[test]
fn what_gives_shares_of_earlier_epochs_is_overwritten_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path().join("home")).unwrap();
    let mut rng = SeededRng::new(&[1; 32], b"receivers");
    for epoch in 0..4 {
        let secret = ReceiverSecret::generate(&mut rng);
        home.write_receiver(Epoch(epoch), &secret).unwrap();
    }
    let others = [
        "share.key",
        "certificate.key",
        "receiver-1.key.new",
        "identity.key",
    ];
    let strangers = [
        "receiver-01.key",
        "receiver-x.key",
        "receiver-0.key",
        "my.key",
    ];
    for name in others.into_iter().chain(strangers) {
        fs::write(home.root().join(name), "secret").unwrap();
    }
    let epochs: Vec<u64> = home
        .receiver_epochs()
        .unwrap()
        .iter()
        .map(|e| e.0)
        .collect();
    assert_eq!(epochs, [0, 1, 2, 3]);
    // Another name for the same bytes on the disk shows what became of them.
    let (old, link) = (home.receiver_path(Epoch(1)), dir.path().join("link"));
    fs::hard_link(&old, &link).unwrap();
    let length = fs::read(&link).unwrap().len();
    assert_eq!(home.erase_before(Epoch(0)).unwrap(), 0);
    assert_eq!(home.erase_before(Epoch(2)).unwrap(), 5);
    assert_eq!(fs::read(&link).unwrap(), vec![0; length]);
    let mut left = vec!["identity.key", "receiver-2.key", "receiver-3.key"];
    left.extend(strangers);
    left.sort_unstable();
    assert_eq!(names(&home), left);
    assert_eq!(
        home.erase_before(Epoch(2)).unwrap(),
        0,
        "it may be repeated"
    );
    assert!(home.receiver(Epoch(2)).is_ok());
}

/// Within an epoch: what reads a former key's share goes once the epoch's own shares are kept,
/// whatever a stop in the middle leaves; and those go with the epoch.
#[test]
fn what_gives_a_former_share_is_overwritten_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::create(dir.path().join("home")).unwrap();
    let mut rng = SeededRng::new(&[2; 32], b"receivers");
    for epoch in 1..3 {
        let secret = ReceiverSecret::generate(&mut rng);
        home.write_receiver(Epoch(epoch), &secret).unwrap();
    }
    let identity = SecretKey::from_seed([3; 32]);
    home.write_identity(&identity).unwrap();
    let link = dir.path().join("link");
    fs::hard_link(home.receiver_path(Epoch(1)), &link).unwrap();
    let length = fs::read(&link).unwrap().len();
    // Not before its shares are kept.
    assert!(home.forget_former(Epoch(1)).is_err());
    home.keep_shares(Epoch(1), b"shares of the keys").unwrap();
    fs::write(home.root().join("receiver-1.key.new"), "secret").unwrap();
    assert!(home.forget_former(Epoch(1)).unwrap());
    assert_eq!(fs::read(&link).unwrap(), vec![0; length]);
    assert_eq!(
        names(&home),
        ["identity.key", "receiver-2.key", "shares-1.key"]
    );
    assert!(!home.forget_former(Epoch(1)).unwrap(), "it may be repeated");
    // A stop in the middle of it.
    fs::write(home.root().join("receiver-1.key.gone"), "half").unwrap();
    assert!(home.forget_former(Epoch(1)).unwrap());
    // They change their passphrase with the others.
    let passphrase = Passphrase::new(
        Zeroizing::new(b"correct horse battery".to_vec()),
        home.root(),
    )
    .unwrap();
    home.change_passphrase(Some(&passphrase)).unwrap();
    assert!(home.kept_shares(Epoch(1)).is_err());
    let opened = home.clone().with_passphrase(Some(Arc::new(passphrase)));
    assert_eq!(
        &opened.kept_shares(Epoch(1)).unwrap()[..],
        b"shares of the keys"
    );
    assert_eq!(home.shares_epochs().unwrap(), [Epoch(1)]);
    fs::write(home.root().join("receiver-1.key.gone"), "half").unwrap();
    assert_eq!(home.erase_before(Epoch(2)).unwrap(), 2);
    assert_eq!(names(&home), ["identity.key", "receiver-2.key"]);
}

fn emitted(chain: ChainId) -> SequencedBlock {
    let block = SequencedBlock {
        chain,
        epoch: Epoch(0),
        height: Height(1),
        block: BlockId::default(),
        time: Millis(0),
        parent_root: Root::default(),
        first_position: Position(0),
        items: Vec::new(),
        state: None,
        root: Root::default(),
    };
    block.sealed()
}

/// The same members in the epoch after `before`, handed over by three of them.
fn base(net: &Testnet, before: &Genesis, height: Height) -> EpochBase {
    let epoch = before.epoch().next();
    let homes = || net.members.iter().map(|member| &member.home);
    let mut rng = SeededRng::new(&[7; 32], &epoch.0.to_le_bytes());
    let members = homes().map(|home| {
        let secret = ReceiverSecret::generate(&mut rng);
        home.write_receiver(epoch, &secret).unwrap();
        NextMember {
            identity: home.identity().unwrap().public(),
            receiver: ReceiverBytes(*secret.key().bytes()),
            quic: String::new(),
            api: String::new(),
        }
    });
    let next = NextCommittee {
        chain: before.chain,
        epoch,
        key: NextKey::Kept,
        members: members.collect(),
    };
    let dealings = vec![Dealing {
        dealer: MemberId(0),
        deal: vec![1; 64],
        signature: Signature([0; 64]),
    }];
    let start = EpochStart {
        epoch,
        origin: before.origin(),
        before: before.hash(),
        height,
        block: BlockId::default(),
        root: emitted(before.chain).root,
        position: Position(0),
        committee: next.digest(),
        memory: Domain::Snapshot.hash(&[]),
        dealings: Domain::Dealing.hash_of(&dealings.as_slice()),
    };
    let time = before.time.plus(1);
    let mut rng = SeededRng::new(&[7; 32], b"certificates");
    let (certificate, _) = deal_pairing_insecure::<Signing, _>(Epoch(0), 4, &mut rng).unwrap();
    let (encryption, _) = deal_suite_insecure(Scheme::Tdh2, Epoch(0), 4, &mut rng).unwrap();
    let keys = ActiveKeys {
        encryption: encryption.to_bytes(),
        certificate: encode(&certificate),
    };
    let genesis = before.next(&next, start, time, (encryption.id(), &keys), None);
    let mut word = QuorumWord::default();
    for (id, home) in homes().enumerate().take(3) {
        let identity = home.identity().unwrap();
        let signature = Handover::sign(&identity, before.epoch(), &genesis);
        word.add(MemberId(id as u8), signature);
    }
    EpochBase {
        handover: Handover { genesis, word },
        next,
        memory: Vec::new(),
        old_keys: ActiveKeys::default(),
        dealings,
    }
}

fn testnet(dir: &tempfile::TempDir) -> (Testnet, Home, Config) {
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.reserve_mb = 1;
    options.dealer = false;
    let net = init(&options, |_| {}).unwrap();
    let home = net.members[0].home.clone();
    let config = Config::load(&home, Overrides::default()).unwrap();
    let mut store = RocksStore::open(&StoreOptions {
        path: home.data_path(),
        reserve_bytes: 1 << 20,
    })
    .unwrap();
    let row = encode(&emitted(net.genesis.chain));
    let row = Write::put(Table::Sequence, height_key(Height(1)), row);
    store.commit(&[row], true).unwrap();
    drop(store);
    (net, home, config)
}

#[test]
fn the_old_secret_goes_once_the_folder_is_in_the_next_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (net, home, config) = testnet(&dir);
    let one = base(&net, &net.genesis, Height(1));
    let old = fs::read(home.receiver_path(Epoch(0))).unwrap();
    let mut resting = Resting::open(&home, &config).unwrap();
    assert_eq!(
        names(&home),
        ["identity.key", "receiver-1.key", "receiver.key"]
    );
    resting.enter(&one).unwrap();
    assert_eq!(names(&home), ["identity.key", "receiver-1.key"]);
    let standing = resting.standing().unwrap();
    assert!(standing.runs() && standing.keyed && standing.epoch() == Epoch(1));
    drop(resting);

    // A stop after the folder was in the next epoch and before the file was gone.
    fs::write(home.receiver_path(Epoch(0)), &old).unwrap();
    drop(Resting::open(&home, &config).unwrap());
    assert_eq!(names(&home), ["identity.key", "receiver-1.key"]);

    let present = Present::of(&home).unwrap();
    assert_eq!(present.genesis, *one.genesis());
    let reused = NextCommittee {
        epoch: Epoch(2),
        ..one.next.clone()
    };
    assert!(present.used.check(&reused).is_err());
    let mut first = reused;
    for (member, key) in first
        .members
        .iter_mut()
        .zip(&net.genesis.encryption.receivers)
    {
        member.receiver = *key;
    }
    assert!(present.used.check(&first).is_err());
    // Without its secret a member cannot run this epoch, and says so.
    fs::remove_file(home.receiver_path(Epoch(1))).unwrap();
    let resting = Resting::open(&home, &config).unwrap();
    assert!(!resting.standing().unwrap().keyed);
}

/// Who hands out an epoch without its dealings must show that it is over: else one member
/// could keep another one out of the present epoch.
#[test]
fn an_epoch_without_dealings_is_passed_through_only_if_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (net, home, config) = testnet(&dir);
    let one = base(&net, &net.genesis, Height(1));
    let two = base(&net, one.genesis(), Height(2));
    let mut resting = Resting::open(&home, &config).unwrap();
    let stripped = one.clone().stripped();
    let refused = resting.enter(&stripped).unwrap_err();
    let gone = BaseError::Stripped(Epoch(1));
    assert!(matches!(refused, EpochError::Base(error) if error == gone));
    let mut forged = two.handover.clone();
    forged.word.signatures.truncate(2);
    for onward in [&forged, &one.handover] {
        let refused = resting.pass(&stripped, onward).unwrap_err();
        let base = matches!(&refused, EpochError::Base(BaseError::Handover(error))
            if matches!(error, HandoverError::Word(_) | HandoverError::Follow(_)));
        assert!(base, "{refused}");
    }
    assert_eq!(resting.standing().unwrap().epoch(), Epoch(0));
    assert!(names(&home).contains(&"receiver.key".to_owned()));
    resting.pass(&stripped, &two.handover).unwrap();
    let standing = resting.standing().unwrap();
    assert_eq!(standing.epoch(), Epoch(1));
    assert!(standing.left && !standing.runs(), "it is never run here");
    assert_eq!(
        names(&home),
        ["identity.key", "receiver-1.key", "receiver-2.key"]
    );
}

/// A home on which no node runs tells others what it has, takes no orders, and gives its port back.
#[tokio::test]
async fn a_home_at_rest_serves_epochs_and_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let (net, home, mut config) = testnet(&dir);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.listen_api = free.local_addr().unwrap();
    drop(free);
    let one = base(&net, &net.genesis, Height(1));
    let mut resting = Resting::open(&home, &config).unwrap();
    let api = Member::new(&config.listen_api.to_string()).unwrap();
    for epoch in 0..2 {
        let standing = resting.standing().unwrap();
        let serving = resting.serve(&config, &standing).await.unwrap();
        let info = api.info().await.unwrap();
        assert_eq!((info.epoch, info.head.height), (epoch, 1));
        let blocks = api.blocks(Height(1), Height(2)).await.unwrap();
        assert_eq!(blocks, [emitted(net.genesis.chain)]);
        let trader = SecretKey::from_seed([9; 32]);
        let order = Envelope::sign(label(net.genesis.chain, &trader), vec![7; 300], &trader);
        let refused = api.submit(&order).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::NotReady));
        let served = api.epoch_base(Epoch(1), EPOCH_BASE_BYTES_MAX).await;
        let handover = api.handover(Epoch(1)).await;
        match epoch {
            0 => {
                assert_eq!(served.unwrap_err().code(), Some(ErrorCode::NotFound));
                assert!(handover.is_err());
            }
            _ => {
                assert_eq!(served.unwrap(), encode(&one));
                assert_eq!(handover.unwrap(), one.handover);
                // Larger than one asks for.
                assert!(api.epoch_base(Epoch(1), 100).await.is_err());
            }
        }
        serving.stop().await;
        assert!(api.info().await.is_err());
        if epoch == 0 {
            resting.enter(&one).unwrap();
        }
    }
}

fn label(chain: ChainId, sender: &SecretKey) -> Label {
    Label {
        suite: 1,
        chain,
        key_id: KeyId(Digest([1; 32])),
        sender: sender.public(),
        nonce: 1,
        expiry: Millis(1),
        fee: 0,
        lane: LANE_NONE,
        reserved: [0; 19],
    }
}

/// After a ceremony the genesis has no certificate key, but the folder knows it from the committee's
/// word. A quorum that was taken over later leads no such home to another key (A21).
#[test]
fn a_home_that_knows_the_certificate_key_follows_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (net, home, config) = testnet(&dir);
    let one = base(&net, &net.genesis, Height(1));
    let keys = |seed: &[u8; 32]| {
        let mut rng = SeededRng::new(seed, b"certificates");
        let (key, _) = deal_pairing_insecure::<Signing, _>(Epoch(0), 4, &mut rng).unwrap();
        ActiveKeys {
            encryption: vec![1],
            certificate: encode(&key),
        }
    };
    let knows = |keys: ActiveKeys| {
        let activation = KeyActivation {
            epoch: Epoch(0),
            keys,
            signers: SignerSet::default(),
            signatures: Vec::new(),
        };
        let mut store = RocksStore::open(&StoreOptions {
            path: home.data_path(),
            reserve_bytes: 1 << 20,
        })
        .unwrap();
        let row = Write::put(Table::Meta, meta::ACTIVATION.to_vec(), encode(&activation));
        store.commit(&[row], true).unwrap();
    };
    knows(keys(&[8; 32]));
    let mut resting = Resting::open(&home, &config).unwrap();
    for refused in [resting.leave(&one.handover), resting.enter(&one)] {
        let changed = matches!(
            refused,
            Err(EpochError::Base(BaseError::Certificates(
                CertificateKeyError::Changed
            )))
        );
        assert!(changed);
    }
    assert!(!resting.standing().unwrap().left);
    drop(resting);
    knows(keys(&[7; 32]));
    let mut resting = Resting::open(&home, &config).unwrap();
    resting.enter(&one).unwrap();
    assert_eq!(resting.standing().unwrap().epoch(), Epoch(1));
}

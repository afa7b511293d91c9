//! What members say of themselves while all crates log all they can: neither log nor metrics
//! show a secret, nor what an order says (ENCRYPTION: secrets are not printed). A committee makes
//! its keys, takes orders, refuses some, is renewed, and loses members.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "../../../types/tests/common/printed.rs"]
mod printed;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Cluster, complete_opened};
use fairlane_client::wire::ErrorCode;
use fairlane_client::{ClientError, Committee, Pin, SealOptions, Sealer};
use fairlane_encryption::{ReceiverSecret, SuiteSecret};
use fairlane_node::home::Home;
use fairlane_node::passphrase::Passphrase;
use fairlane_replica::{EPOCH_BASE_BYTES_MAX, EpochBase};
use fairlane_types::{CtId, Envelope, Epoch, MemberId, Millis, SecretKey, SeededRng, decode};
use printed::{Secrets, finds_all_forms};
use rand_core::Rng as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Orders before and after the change.
const ORDERS: usize = 40;
const PASSPHRASE: &[u8] = b"q7Zr-Lw2x-Vd9K-mP4t";

type Named = Vec<(String, Vec<u8>)>;

/// A trader, and everything that it said to anybody.
struct Trader {
    key: SecretKey,
    rng: SeededRng,
    nonce: u64,
    said: Named,
}

impl Trader {
    /// A plaintext that is not met by chance.
    fn payload(&mut self, what: &str) -> Vec<u8> {
        let mut payload = vec![0; 40];
        self.rng.fill_bytes(&mut payload);
        self.said.push((what.to_owned(), payload.clone()));
        payload
    }

    /// An order that expires some time from now, and what it says.
    fn seal(&mut self, pin: &Pin, what: &str, live_ms: i64) -> (Envelope, Vec<u8>) {
        let payload = self.payload(what);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_ms = now.as_millis() as u64;
        self.nonce += 1;
        let options = SealOptions {
            nonce: self.nonce,
            expiry: Millis(now_ms.saturating_add_signed(live_ms)),
            lane: None,
        };
        let sealer = Sealer::new(pin, self.key.clone());
        let envelope = sealer.seal_bytes(&payload, options, &mut self.rng);
        (envelope.unwrap(), payload)
    }

    /// Orders that all members take, opened to what was sealed.
    async fn trade(&mut self, cluster: &Cluster) -> BTreeMap<CtId, Vec<u8>> {
        let mut payloads = BTreeMap::new();
        for order in 0..ORDERS {
            let (envelope, payload) = self.seal(cluster.committee.pin(), "an order", 100_000);
            let member = &cluster.committee.members()[order % cluster.n()];
            member.submit(&envelope).await.unwrap();
            payloads.insert(envelope.id(), payload);
        }
        payloads
    }
}

/// Every member refuses these, for these reasons.
async fn refusals(cluster: &Cluster, trader: &mut Trader) {
    let pin = cluster.committee.pin().clone();
    let (altered, _) = trader.seal(&pin, "an order with a false proof", 100_000);
    let mut ciphertext = altered.ciphertext.to_vec();
    *ciphertext.last_mut().unwrap() ^= 1;
    let false_proof = Envelope::sign(altered.label, ciphertext, &trader.key);
    let (mut unsigned, _) = trader.seal(&pin, "an order that nobody signed", 100_000);
    unsigned.signature.0[0] ^= 1;
    let (late, _) = trader.seal(&pin, "an order that is late", -100_000);
    let (far, _) = trader.seal(&pin, "an order of the far future", 1 << 40);
    let cases = [
        (false_proof, ErrorCode::BadProof),
        (unsigned, ErrorCode::BadSignature),
        (late, ErrorCode::Expired),
        (far, ErrorCode::ExpiryTooFar),
    ];
    for member in cluster.committee.members() {
        for (envelope, want) in &cases {
            match member.submit(envelope).await {
                Err(ClientError::Api(error)) => assert_eq!(error.code, *want),
                other => panic!("{want:?}: {other:?}"),
            }
        }
    }
    // What was not sealed at all, by mistake.
    for node in &cluster.testnet.members {
        for form in ["order", "label", "envelope", "nothing"] {
            let open = hex::encode(trader.payload("an order in the clear"));
            let body = match form {
                "nothing" => open.clone(),
                form => format!("{{\"{form}\":\"{open} sold\"}}"),
            };
            post(node.config.listen_api, "application/json", body.as_bytes()).await;
        }
        let open = trader.payload("an order in the clear");
        post(node.config.listen_api, "application/octet-stream", &open).await;
    }
}

/// Posts what must be refused.
async fn post(to: SocketAddr, media: &str, body: &[u8]) {
    let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let head = format!(
        "POST /v1/orders HTTP/1.0\r\nhost: x\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(&[head.as_bytes(), body].concat())
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
}

/// What a member reads its shares of an epoch with.
fn receiver(home: &Home, epoch: Epoch) -> ReceiverSecret {
    home.receiver(epoch).unwrap()
}

/// A member's shares of all keys of an epoch.
fn shares(base: &EpochBase, member: MemberId, receiver: &ReceiverSecret) -> Named {
    let sharing = base.sharing(member, receiver).unwrap();
    let bytes = |share: &SuiteSecret| match share {
        SuiteSecret::Tdh2(share) => share.expose_secret().to_vec(),
        SuiteSecret::BaekZheng(share) => share.expose_secret().to_vec(),
    };
    let former = sharing.former.as_ref().unwrap().share().unwrap();
    let certificates = sharing.certificates.as_ref().unwrap();
    let signing = certificates.secret.expose_secret().to_vec();
    vec![
        ("a share of the key".to_owned(), bytes(&sharing.share)),
        ("a share of the former key".to_owned(), bytes(&former)),
        ("a share of the certificate key".to_owned(), signing),
    ]
}

/// The secrets of the first epoch, and the passphrase that they lie under.
fn secrets_of(cluster: &Cluster) -> Named {
    let mut secrets = vec![("the passphrase".to_owned(), PASSPHRASE.to_vec())];
    for member in &cluster.testnet.members {
        let seed = member.home.identity().unwrap().seed().to_vec();
        secrets.push(("an identity".to_owned(), seed));
        let receiver = receiver(&member.home, Epoch(0));
        secrets.push((
            "a receiver key".to_owned(),
            receiver.expose_secret().to_vec(),
        ));
    }
    secrets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_logs_nor_metrics_show_a_secret() {
    finds_all_forms();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passphrase");
    std::fs::write(&file, PASSPHRASE).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let with = [
        "--log",
        "trace",
        "--passphrase-file",
        file.to_str().unwrap(),
    ];
    let with = with.map(str::to_owned).to_vec();
    let passphrase = Arc::new(Passphrase::from_file(&file).unwrap());
    let mut cluster = Cluster::start_making_a_key_with(4, None, with, |options| {
        options.passphrase = Some(passphrase);
    })
    .await;
    let mut secrets = secrets_of(&cluster);
    let seed: [u8; 32] = core::array::from_fn(|n| (n * 29 + 7) as u8);
    secrets.push(("the trader's seed".to_owned(), seed.to_vec()));
    let mut trader = Trader {
        key: SecretKey::from_seed(seed),
        rng: SeededRng::new(&[7; 32], b"logs"),
        nonce: 0,
        said: Vec::new(),
    };
    let mut payloads = trader.trade(&cluster).await;
    refusals(&cluster, &mut trader).await;
    cluster.kill(3);
    cluster.spawn(3);
    cluster.ready(3).await;

    // The same members in another epoch, under a fresh key.
    cluster.decide(&[0, 1, 2, 3]);
    let homes = cluster.testnet.members.iter().map(|member| &member.home);
    let receivers: Vec<_> = homes.map(|home| receiver(home, Epoch(1))).collect();
    for member in 0..4 {
        cluster.in_epoch(member, 1).await;
        cluster.ready(member).await;
    }
    let members = cluster.committee.members().to_vec();
    let base = members[0].epoch_base(Epoch(1), EPOCH_BASE_BYTES_MAX).await;
    let base: EpochBase = decode(&base.unwrap(), EPOCH_BASE_BYTES_MAX).unwrap();
    for (member, receiver) in receivers.iter().enumerate() {
        let expose = receiver.expose_secret().to_vec();
        secrets.push(("a receiver key of the next epoch".to_owned(), expose));
        secrets.extend(shares(&base, MemberId(member as u8), receiver));
    }
    let genesis = cluster.testnet.genesis.clone();
    let pin = members[0].pin(genesis).await.unwrap();
    assert_ne!(pin.key().id(), cluster.committee.pin().key().id());
    cluster.committee = Committee::new(pin, members);
    payloads.extend(trader.trade(&cluster).await);
    refusals(&cluster, &mut trader).await;
    let ids = payloads.keys().copied().collect();
    complete_opened(&ids, &payloads, &cluster.settled(&ids).await);

    secrets.extend(trader.said);
    let search = Secrets::new(secrets.clone());
    for member in 0..4 {
        let metrics = cluster.ops[member].metrics().await.unwrap();
        assert!(metrics.contains("fairlane_"), "{metrics}");
        cluster.kill(member);
        let log = cluster.whole_log(member);
        // Those that see what is sent and received.
        for krate in ["fairlane_node", "quinn_proto", "hyper_util"] {
            let said = |line: &str| line.contains(&format!("TRACE {krate}"));
            assert!(log.lines().any(said), "{krate} logs less than it can");
        }
        for (place, text) in [("log", &log), ("metrics", &metrics)] {
            if let Some((name, around)) = search.shown(text.as_bytes()) {
                panic!("the {place} of member {member} shows {name}: {around}");
            }
            // In the same text it would be found.
            let (name, secret) = &secrets[member];
            let planted = format!("{text}\nfield={secret:?}\n{text}");
            let found = search.shown(planted.as_bytes()).map(|(name, _)| name);
            assert_eq!(found, Some(name.as_str()), "the search is blind");
        }
        println!(
            "member {member}: {} bytes of log, {} secrets",
            log.len(),
            secrets.len()
        );
    }
}

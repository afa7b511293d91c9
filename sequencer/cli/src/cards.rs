//! Cards: who a member is in one epoch, and where the others find it. Operators hand them to each
//! other, for the first committee and for every change.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use fairlane_encryption::ReceiverSecret;
use fairlane_node::config::{ApiConfig, Config, StoreConfig};
use fairlane_node::home::{Home, HomeError};
use fairlane_node::testnet::write_config;
use fairlane_types::{ChainId, Epoch, NextMember, ReceiverBytes, SecretKey};
use rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::addresses;
use crate::committee_args::PlaceArgs;
use crate::exit::{Outcome, Problem};
use crate::term::Term;

/// Largest file of these verbs that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Name of a card in the home that it is made with.
pub const CARD: &str = "card.json";

/// What an operator hands to the others: who its member is in one epoch. Another epoch takes
/// another card, since every epoch has receiver keys of its own (THREATS A21).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    chain: ChainId,
    epoch: Epoch,
    pub member: NextMember,
}

impl Card {
    /// Of a home that is there.
    pub fn of(
        home: &Home,
        (chain, epoch): (ChainId, Epoch),
        (quic, api): (String, String),
    ) -> Outcome<Self> {
        let member = NextMember {
            identity: home.identity()?.public(),
            receiver: receiver(home, epoch)?,
            quic,
            api,
        };
        Ok(Self {
            chain,
            epoch,
            member,
        })
    }

    /// The card that a home was made with.
    pub fn in_home(home: &Home) -> Outcome<Self> {
        read(&home.root().join(CARD))
    }

    /// The chain that it is for.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// What a card says of a member of the epoch, which it must be for.
    pub fn member_of(path: &Path, chain: ChainId, epoch: Epoch) -> Outcome<NextMember> {
        let card: Self = read(path)?;
        let path = path.display();
        if card.chain != chain {
            let of = card.chain;
            return Err(Problem::usage(format!("{path} is a card of chain {of}")));
        }
        if card.epoch != epoch {
            let of = card.epoch;
            let what = format!("{path} is a card for epoch {of}, not for epoch {epoch}");
            let verb = match epoch {
                Epoch(0) => "ceremony prepare",
                _ => "committee card",
            };
            let next = format!("its operator makes another: fairlane {verb}");
            return Err(Problem::usage(what).next(next));
        }
        Ok(card.member)
    }
}

/// A home's receiver key for an epoch; made where there is none yet. The card has what can be
/// read back.
fn receiver(home: &Home, epoch: Epoch) -> Outcome<ReceiverBytes> {
    let secret = match home.receiver(epoch) {
        Err(HomeError::Missing(_)) => {
            let secret = ReceiverSecret::generate(&mut UnwrapErr(getrandom::SysRng));
            home.write_receiver(epoch, &secret)?;
            home.receiver(epoch)?
        }
        found => found?,
    };
    Ok(ReceiverBytes(*secret.key().bytes()))
}

/// Where a machine listens, and where its card says that it is.
pub struct Place {
    config: Config,
    quic: String,
    api: String,
}

impl Place {
    /// As it is asked for; `join` names APIs to learn of epochs from.
    pub fn new(args: &PlaceArgs, join: &[String], term: Term) -> Outcome<Self> {
        let listen_quic = SocketAddr::new(args.host, args.port);
        let listen_api = SocketAddr::new(args.host, args.port + 1);
        // The ops port asks nobody who they are.
        let listen_ops = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), args.port + 2);
        let quic = args.quic.clone();
        let quic = quic.unwrap_or_else(|| listen_quic.to_string());
        let api = args.api.clone();
        let api = api.unwrap_or_else(|| format!("http://{listen_api}"));
        addresses::check("the card", &quic, &api, term)?;
        let config = Config {
            listen_quic,
            listen_api,
            listen_ops,
            log: "info".to_owned(),
            peers: BTreeMap::new(),
            join: join.to_vec(),
            api: ApiConfig::default(),
            store: StoreConfig {
                reserve_mb: args.reserve_mb,
                ..StoreConfig::default()
            },
            oracle: None,
        };
        Ok(Self { config, quic, api })
    }

    /// Space on its disk that is never used.
    pub const fn reserve_bytes(&self) -> u64 {
        self.config.reserve_bytes()
    }

    /// Fills a new home: identity, receiver key, configuration, card.
    pub fn fill(self, home: &Home, of: (ChainId, Epoch)) -> Outcome<Card> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(Problem::failed)?;
        home.write_identity(&SecretKey::from_seed(*seed))?;
        write_config(home, &self.config)?;
        let card = Card::of(home, of, (self.quic, self.api))?;
        write(&home.root().join(CARD), &card)?;
        Ok(card)
    }
}

/// Reads a JSON file of these verbs.
pub fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Outcome<T> {
    let wrong =
        |error: &dyn std::fmt::Display| Problem::usage(format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path)
        .map_err(|error| wrong(&error))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(&format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(&error))
}

/// Writes a JSON file of these verbs, over another if there is one.
pub fn write(path: &Path, value: &impl Serialize) -> Outcome {
    let mut text = serde_json::to_string_pretty(value).map_err(Problem::failed)?;
    text.push('\n');
    std::fs::write(path, text)
        .map_err(|error| Problem::preflight(format!("{}: {error}", path.display())))
}

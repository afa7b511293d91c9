//! Arguments of `fairlane committee`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use fairlane_types::NextKey;

use crate::args::{KeysHome, PassphraseArgs};

/// `committee`.
#[derive(Debug, Subcommand)]
pub enum CommitteeVerb {
    /// Make the home of a machine that is to become a member.
    ///
    /// Its node waits until a committee that it belongs to takes over. The card that is made
    /// goes to whoever proposes the change.
    Join(JoinArgs),
    /// Write a member's card for the next epoch: its keys and addresses, for a proposal.
    ///
    /// Every epoch has a receiver key of its own, which is made here and kept in the folder;
    /// that of the epoch before is erased once the next one has begun.
    Card {
        /// The member's folder.
        #[command(flatten)]
        home: KeysHome,
        /// Where the other members reach it, host:port.
        #[arg(long, value_name = "HOST:PORT")]
        quic: String,
        /// Where its API is reached, http://host:port.
        #[arg(long, value_name = "URL")]
        api: String,
        /// The epoch it is for, if it is not the one after that of the folder.
        #[arg(long, value_name = "N")]
        epoch: Option<u64>,
        /// File to write.
        #[arg(short = 'o', long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write down who is to follow: the cards of all members of the next committee.
    Propose {
        /// The chain's genesis file.
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// A present member's API.
        #[arg(long, value_name = "URL")]
        to: String,
        /// The encryption key of the next epoch: a fresh one, so that later committees cannot
        /// read what was sealed to that of this epoch; or this one, which then stays what
        /// senders seal to.
        #[arg(long, value_enum, default_value_t = KeyChoice::Fresh)]
        key: KeyChoice,
        /// Their cards, in the order of their ids.
        #[arg(required = true, value_name = "CARD")]
        cards: Vec<PathBuf>,
        /// File to write.
        #[arg(short = 'o', long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Approve a change with a present member's key.
    ///
    /// The file goes from operator to operator until enough have approved.
    Approve {
        /// The member's folder.
        #[command(flatten)]
        home: KeysHome,
        /// The change.
        change: PathBuf,
    },
    /// Hand an approved change to members; the committee does the rest.
    Submit {
        /// The change.
        change: PathBuf,
        /// Ops addresses of present members; one is enough.
        #[arg(long, required = true, value_name = "URL", value_delimiter = ',')]
        ops: Vec<String>,
    },
}

/// The encryption key of the next epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyChoice {
    /// Made by the committees with the change.
    Fresh,
    /// Dealt on, unchanged.
    Kept,
}

impl KeyChoice {
    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Kept => "kept",
        }
    }
}

impl From<KeyChoice> for NextKey {
    fn from(choice: KeyChoice) -> Self {
        match choice {
            KeyChoice::Fresh => Self::Fresh,
            KeyChoice::Kept => Self::Kept,
        }
    }
}

/// Where a new home is.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Address to listen on for members and traders; operators are heard on loopback only.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
    /// Where the other members reach it, host:port, for the card; --host and --port if left out.
    #[arg(long, value_name = "HOST:PORT")]
    pub quic: Option<String>,
    /// Where its API is reached, http://host:port, for the card; likewise.
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// First of three ports: links, API, operators.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..65_533))]
    pub port: u16,
    /// Space on the disk that is never used, MiB.
    #[arg(long, default_value_t = fairlane_node::config::StoreConfig::default().reserve_mb)]
    pub reserve_mb: u64,
}

/// `committee join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The chain's genesis file.
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// Folder to make.
    #[arg(short = 'o', long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// APIs of present members, from which it learns of its committee.
    #[arg(long, required = true, value_name = "URL", value_delimiter = ',')]
    pub from: Vec<String>,
    /// The epoch that the card is for; otherwise members are asked which is the next one.
    #[arg(long, value_name = "N")]
    pub epoch: Option<u64>,
    /// Of its key files.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

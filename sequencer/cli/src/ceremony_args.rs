//! Arguments of `fairlane ceremony`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fairlane_types::{Digest, Scheme};

use crate::args::{KeysHome, OrderArgs, PassphraseArgs, scheme};
use crate::committee_args::PlaceArgs;

/// `ceremony`.
#[derive(Debug, Subcommand)]
pub enum CeremonyVerb {
    /// Make the home of a member of the first committee, and its card.
    ///
    /// Its keys are made here and stay here. The card goes to whoever puts the genesis together.
    Prepare(PrepareArgs),
    /// Make the genesis of a chain from the cards of all members of its first committee.
    ///
    /// It holds nothing secret, so anybody may do it. The file goes to all of them.
    Genesis(Box<GenesisArgs>),
    /// Show a founding file and its hash; with --hash, take it into a home that was prepared.
    ///
    /// It is taken in only if it has this home's own keys and addresses. All operators compare the
    /// hash that is shown without --hash, and then say it.
    Adopt {
        /// The member's folder.
        #[command(flatten)]
        home: KeysHome,
        /// The founding file.
        founding: PathBuf,
        /// The hash that the operators agreed on; another file is refused.
        #[arg(long, value_name = "HASH")]
        hash: Option<Digest>,
    },
}

/// `ceremony prepare`.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// The chain's id, which its founders agree on: a number of their own.
    #[arg(long, value_name = "N")]
    pub chain: u64,
    /// Folder to make.
    #[arg(short = 'o', long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Of its key files.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Do not encrypt them: for tests only, and refused by chains that are no experiment.
    #[arg(long, conflicts_with = "passphrase_file")]
    pub plain: bool,
}

/// `ceremony genesis`.
#[derive(Debug, Args)]
pub struct GenesisArgs {
    /// The chain's id, as on the cards.
    #[arg(long, value_name = "N")]
    pub chain: u64,
    /// Their cards, in the order of their ids.
    #[arg(required = true, value_name = "CARD")]
    pub cards: Vec<PathBuf>,
    /// Founding file to write. Must not exist yet.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub out: PathBuf,
    /// Allow what protects nobody's orders: plain key files, development traders.
    #[arg(long)]
    pub experiment: bool,
    /// Encryption scheme: tdh2 or baek-zheng.
    #[arg(long, default_value = "tdh2", value_parser = scheme)]
    pub scheme: Scheme,
    /// How orders are ordered and opened.
    #[command(flatten)]
    pub order: OrderArgs,
    /// An execution.toml for all members: what they execute.
    #[arg(long, value_name = "FILE")]
    pub execution: Option<PathBuf>,
    /// The members are its oracles, whatever the file says.
    #[arg(long, requires = "execution")]
    pub member_prices: bool,
}

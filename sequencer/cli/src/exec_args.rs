//! The part of the command line that is about the clearing house.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{CommitteeKey, KeysHome, TrustArgs, committee_key};

/// `account`.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// Public key of the account, in hex.
    #[arg(required_unless_present = "trader", conflicts_with = "trader")]
    pub key: Option<String>,
    /// Development trader by name (experiment chains only).
    #[arg(long, value_name = "NAME")]
    pub trader: Option<String>,
    /// Members' public addresses in the order of their ids; f+1 of them at least.
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        required = true,
        env = "FAIRLANE_MEMBERS"
    )]
    pub to: Vec<String>,
    /// What is trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Trust this key of the committee and nothing else (48 bytes in hex): the account is
    /// shown under the next state that the committee signs. One member is enough.
    #[arg(long, value_name = "HEX", value_parser = committee_key, conflicts_with_all = ["genesis", "genesis_hash"])]
    pub committee_key: Option<CommitteeKey>,
}

/// `exec`.
#[derive(Debug, Subcommand)]
pub enum ExecVerb {
    /// Measure matching with margin, blocks with receipts and roots, the root and the
    /// liquidation sweep on one core, beside the order books lobster and obcore on the same
    /// orders. Takes some seconds. In a release build only are the figures of use.
    Bench,
    /// Apply the sequences of two members' folders again and name the first block, receipt or
    /// event that differs; also hold each snapshot against its own folder. The members must
    /// not run, and their sequences must not be pruned.
    Diff {
        /// A member's folder.
        a: PathBuf,
        /// Another's.
        b: PathBuf,
    },
    /// Say a change of parameters with a member's key: what 2f+1 of the oracles say for one
    /// height takes hold there. Waits for what the clearing house answers.
    Change(ExecChangeArgs),
    /// Run the clearing house in a process of its own, fed by the members, verified. After a
    /// kill it goes on from its last save to the same roots.
    Follow(ExecFollowArgs),
}

/// `exec change`.
#[derive(Debug, Args)]
pub struct ExecChangeArgs {
    /// The member's folder.
    #[command(flatten)]
    pub home: KeysHome,
    /// Members' public addresses in the order of their ids.
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        required = true,
        env = "FAIRLANE_MEMBERS"
    )]
    pub to: Vec<String>,
    /// What is trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Height at whose end it takes hold; all members must name the same.
    #[arg(long, value_name = "HEIGHT")]
    pub height: u64,
    /// The change, TOML: one of [market], [oracles] and [general].
    pub file: PathBuf,
}

/// `exec follow`.
#[derive(Debug, Args)]
pub struct ExecFollowArgs {
    /// Folder for what it keeps; made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub home: PathBuf,
    /// The members' execution.toml.
    #[arg(long, value_name = "FILE")]
    pub execution: PathBuf,
    /// Members' public addresses; any of them may serve the feed.
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        required = true,
        env = "FAIRLANE_MEMBERS"
    )]
    pub to: Vec<String>,
    /// What is trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Heights between two saves.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    pub save_every: u64,
    /// End after this height.
    #[arg(long, value_name = "HEIGHT")]
    pub until: Option<u64>,
    /// Execute blocks that the committee has not attested, on the members' word: whoever serves
    /// them can have invented them.
    #[arg(long)]
    pub unattested: bool,
}

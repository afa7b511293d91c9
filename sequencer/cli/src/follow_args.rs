//! The part of the command line that is about the sequence: following it, and files of it.

use std::path::PathBuf;

use clap::Args;

use crate::args::{CommitteeKey, TrustArgs, committee_key};

/// `follow`.
#[derive(Debug, Args)]
pub struct FollowArgs {
    /// Members' public addresses; any of them serves.
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
    /// Trust this key of the committee and nothing else (48 bytes in hex, as `devnet` prints it
    /// and `/v1/epochs/current` has it): no genesis, no openings.
    #[arg(long, value_name = "HEX", value_parser = committee_key, conflicts_with_all = ["genesis", "genesis_hash", "cursor", "unattested"])]
    pub committee_key: Option<CommitteeKey>,
    /// First height, 1 being the first of the chain. Left out it is the first that the members
    /// keep; with --cursor it is 1, and counts while there is no such file.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub from: Option<u64>,
    /// File that remembers where to go on; written after every attestation.
    #[arg(long, value_name = "FILE")]
    pub cursor: Option<PathBuf>,
    /// End after this height; with --out, after the attestation that covers it.
    #[arg(long)]
    pub until: Option<u64>,
    /// Show blocks before the committee has attested them, some 100 ms sooner, on the members'
    /// word: whoever serves them can have invented them.
    #[arg(long)]
    pub unattested: bool,
    /// Also show blocks without orders.
    #[arg(long)]
    pub all: bool,
    /// Also write a sequence file with envelopes, for `fairlane verify`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Sequence file, as written by `fairlane follow --out`.
    #[arg(required_unless_present_any = ["evidence", "blind"])]
    pub file: Option<PathBuf>,
    /// Proofs of misbehaviour, as answered by a member's `/v1/evidence`.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub evidence: Option<PathBuf>,
    /// Blind-order receipt, as written by `fairlane blind --out`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "evidence", "committee_key"])]
    pub blind: Option<PathBuf>,
    /// The chain's genesis file.
    #[arg(
        long,
        value_name = "FILE",
        env = "FAIRLANE_GENESIS",
        required_unless_present = "committee_key"
    )]
    pub genesis: Option<PathBuf>,
    /// Trust this key of the committee and nothing else (48 bytes in hex): roots, links and
    /// attestations are checked, openings are not.
    #[arg(long, value_name = "HEX", value_parser = committee_key, conflicts_with_all = ["genesis", "evidence"])]
    pub committee_key: Option<CommitteeKey>,
    /// Do not fail where no attestation covers the end of the file, or any of it.
    #[arg(long)]
    pub unattested: bool,
    /// Do not fail where the file lacks the envelopes that openings are checked against.
    #[arg(long, conflicts_with_all = ["committee_key", "evidence", "blind"])]
    pub without_envelopes: bool,
}

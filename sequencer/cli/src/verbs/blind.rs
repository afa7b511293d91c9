//! `fairlane blind`: the blind-order receipt of an order, fetched, checked and kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fairlane_client::{Member, Pin, PinError};
use fairlane_node::blind;
use fairlane_node::home::Home;
use fairlane_node::store::RocksStore;
use fairlane_replica::audit::{BLIND_BYTES_MAX, BlindReceipt, Shown, Step};
use fairlane_types::{Genesis, Height, decode, encode};

use super::input;
use crate::args::BlindArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// Fetches it from a member or takes it from a folder.
pub async fn run(args: BlindArgs, term: Term) -> Outcome {
    let (genesis, receipt) = match (&args.home, &args.to) {
        (Some(root), _) => {
            let home = Home::open(root).map_err(Problem::preflight)?;
            let genesis = args.genesis.unwrap_or_else(|| home.genesis_path());
            let genesis = Pin::read_genesis(&genesis)?;
            let reader = RocksStore::read_only(&home.data_path()).map_err(Problem::preflight)?;
            let receipt = blind::receipt(&genesis, &reader, args.order);
            (genesis, receipt.map_err(Problem::preflight)?)
        }
        (None, Some(address)) => {
            let genesis = args.genesis.as_deref();
            let genesis = genesis.ok_or_else(|| Problem::usage("--genesis is missing"))?;
            let bytes = Member::new(address)?.blind(args.order).await?;
            let receipt = decode(&bytes, BLIND_BYTES_MAX)
                .map_err(|error| Problem::failed(format!("{address}: {error}")))?;
            (Pin::read_genesis(genesis)?, receipt)
        }
        (None, None) => return Err(Problem::usage("give --to ADDRESS or --home FOLDER")),
    };
    if receipt.ct_id() != args.order {
        let what = format!("the receipt is for order {}", receipt.ct_id());
        return Err(Problem::new(Exit::Verification, what));
    }
    let shown = check(&genesis, &receipt)?;
    if let Some(path) = &args.out {
        input::write_new(path, &encode(&receipt))?;
    }
    say(&receipt, shown, term);
    Ok(())
}

/// Checks a receipt from a file.
pub fn verify(path: &Path, genesis: &Genesis, term: Term) -> Outcome {
    let receipt = read(path)?;
    let shown = check(genesis, &receipt)?;
    say(&receipt, shown, term);
    Ok(())
}

fn read(path: &Path) -> Outcome<BlindReceipt> {
    let bytes = input::read(path, BLIND_BYTES_MAX as u64)?;
    decode(&bytes, BLIND_BYTES_MAX).map_err(|error| {
        Problem::usage(format!(
            "{} is no blind-order receipt: {error}",
            path.display()
        ))
    })
}

/// The place is shown without the encryption key: nothing is decrypted for it.
fn check(genesis: &Genesis, receipt: &BlindReceipt) -> Outcome<Shown> {
    let committee = genesis.validate().map_err(PinError::from)?;
    receipt
        .check(genesis, &committee)
        .map_err(|error| Problem::new(Exit::Verification, error.to_string()))
}

fn say(receipt: &BlindReceipt, shown: Shown, term: Term) {
    let value = serde_json::json!({ "blind": {
        "ok": true, "order": receipt.ct_id(), "height": shown.height,
        "position": shown.position, "block": receipt.header.id(), "lanes": shown.lanes,
        "signers": receipt.certificate.signers.iter().count(), "attested": shown.attested,
        "beacon": shown.beacon,
        "bytes": encode(receipt).len(),
    }});
    term.result(&value, || {
        format!(
            "{} order {} was fixed at position {} by final block {} (height {}): {} lanes of its cut have it, {} members signed{}{}",
            term.green("✔"),
            receipt.ct_id(),
            shown.position,
            short(receipt.header.id()),
            shown.height,
            shown.lanes,
            receipt.certificate.signers.iter().count(),
            match shown.attested {
                Some(height) => format!(", attested with height {height}"),
                None => String::new(),
            },
            if shown.beacon { ", its beacon broke ties" } else { "" },
        )
    });
}

/// Blind-order receipts that an audit holds against what it computes.
#[derive(Debug, Default)]
pub struct BlindBook {
    open: BTreeMap<Height, Vec<BlindReceipt>>,
    /// So many were given.
    pub given: u64,
    /// So many agree.
    pub kept: u64,
    /// What those say that do not.
    pub broken: Vec<String>,
}

impl BlindBook {
    /// Reads and checks them.
    pub fn read(paths: &[PathBuf], genesis: &Genesis) -> Outcome<Self> {
        let mut book = Self::default();
        for path in paths {
            let receipt = read(path)?;
            check(genesis, &receipt)?;
            book.given += 1;
            let height = receipt.header.height;
            book.open.entry(height).or_default().push(receipt);
        }
        Ok(book)
    }

    /// A height that holds: the place in a receipt must be the one that the lanes gave.
    pub fn step(&mut self, step: &Step) {
        let height = step.block.header.height;
        for receipt in self.open.remove(&height).unwrap_or_default() {
            let items = &step.sequenced.items;
            let same = step.block.header.id() == receipt.header.id()
                && step.sequenced.root == receipt.block.root
                && items.contains(&receipt.item);
            if same {
                self.kept += 1;
            } else {
                self.broken.push(format!(
                    "order {} is not at position {} of the block that the lanes give at height {height}",
                    receipt.ct_id(),
                    receipt.item.position
                ));
            }
        }
    }

    /// Receipts of heights that did not come.
    pub fn open(&self) -> u64 {
        self.open.values().map(|list| list.len() as u64).sum()
    }
}

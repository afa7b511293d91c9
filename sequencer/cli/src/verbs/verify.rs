//! `fairlane verify`: a sequence file against a genesis, without any network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use fairlane_client::sequence_file::{Record, SequenceFileError, SequenceReader};
use fairlane_client::{ChainVerifier, Cursor, Pin};
use fairlane_types::{CtId, Item, Outcome as OrderOutcome};

use crate::args::VerifyArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// Items whose envelope may still come; a file has it right behind the block.
const WAITING_MAX: usize = 1_000_000;

/// Checks every root, parent link and opening in the file.
pub fn run(args: &VerifyArgs, term: Term) -> Outcome {
    let pin = Pin::read(&args.genesis)?;
    let wrong = |error: SequenceFileError| {
        let what = format!("{}: {error}", args.file.display());
        match error {
            SequenceFileError::Io(_) => Problem::preflight(what),
            SequenceFileError::Header => Problem::usage(what)
                .next("sequence files are written by `fairlane follow --out FILE`"),
            SequenceFileError::Record { .. } => Problem::new(Exit::Verification, what),
        }
    };
    let file = File::open(&args.file).map_err(|error| wrong(error.into()))?;
    let mut reader = SequenceReader::new(BufReader::new(file)).map_err(wrong)?;
    if reader.genesis() != pin.hash() {
        let what = format!(
            "the file is of genesis {}, {} is {}",
            short(reader.genesis()),
            args.genesis.display(),
            short(pin.hash())
        );
        return Err(Problem::new(Exit::Verification, what));
    }
    let mut verifier: Option<ChainVerifier> = None;
    let mut waiting: BTreeMap<CtId, Item> = BTreeMap::new();
    let (mut first, mut orders, mut opened, mut checked) = (0_u64, 0_u64, 0_u64, 0_u64);
    while let Some(record) = reader.next_record().map_err(wrong)? {
        match record {
            Record::Block(block) => {
                let chain = verifier.get_or_insert_with(|| {
                    first = block.height.0;
                    let start = match block.height.0 {
                        // Nothing before it: the parent is taken as the file says.
                        2.. => Cursor::before(&pin, &block),
                        _ => Cursor::start(&pin),
                    };
                    ChainVerifier::new(pin.clone(), start)
                });
                chain.accept(&block)?;
                orders += block.items.len() as u64;
                for item in block.items {
                    opened += u64::from(matches!(item.outcome, OrderOutcome::Opened { .. }));
                    if waiting.len() < WAITING_MAX {
                        waiting.insert(item.ct_id, item);
                    }
                }
            }
            Record::Envelope(envelope) => {
                let id = envelope.id();
                let (Some(chain), Some(item)) = (&verifier, waiting.remove(&id)) else {
                    let what = format!("envelope {id} belongs to no order before it");
                    return Err(Problem::new(Exit::Verification, what));
                };
                let signed = envelope.signature_check().verify();
                signed.map_err(|error| {
                    Problem::new(Exit::Verification, format!("order {id}: {error}"))
                })?;
                checked += u64::from(chain.check_opening(&item, &envelope)?);
            }
        }
    }
    let Some(verifier) = verifier else {
        return Err(Problem::new(Exit::Verification, "the file holds no block"));
    };
    let cursor = verifier.cursor();
    let value = serde_json::json!({ "verify": {
        "ok": true, "from": first, "height": cursor.height(), "orders": orders,
        "opened": opened, "openings_checked": checked, "root": cursor.root(),
        "from_genesis": first == 1,
    }});
    term.result(&value, || {
        format!(
            "{} blocks {first} to {}: roots and links hold · {orders} orders, {opened} opened, {checked} openings proven · root {}",
            term.green("✔"),
            cursor.height(),
            cursor.root(),
        )
    });
    if checked < opened {
        term.note(format!(
            "{} openings could not be checked: the file lacks their envelopes",
            opened - checked
        ));
    }
    Ok(())
}

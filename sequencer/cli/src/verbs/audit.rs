//! `fairlane audit`: the order computed again from the lanes, and held against the
//! sequence and against receipts. What is found can be handed to anyone as a case.

use std::collections::VecDeque;
use std::path::Path;

use fairlane_client::wire::ReceiptBody;
use fairlane_client::{Member, Pin};
use fairlane_encryption::leads_on;
use fairlane_node::home::Home;
use fairlane_node::known_key::KnownKey;
use fairlane_node::store::{RocksStore, StoreReader};
use fairlane_replica::audit::{
    Auditor, Case, ReceiptBook, STEP_BYTES_MAX, Start, Step, StepError, Violation,
};
use fairlane_replica::{
    EPOCH_BASE_BYTES_MAX, EpochBase, StoreError, Table, current_epoch, epoch_key,
};
use fairlane_types::{Epoch, Handover, Height, Receipt, decode, encode};

use super::blind::BlindBook;
use super::input;
use crate::args::AuditArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::term::{Term, short};

/// Largest file of receipts or case that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Heights between two lines of progress.
const PROGRESS_HEIGHTS: u64 = 256;

/// Audits a member's records, or shows a case again.
pub async fn run(args: AuditArgs, term: Term) -> Outcome {
    if let Some(path) = &args.case {
        return case(path, &args, term);
    }
    let mut source = Source::open(&args)?;
    let (mut pin, mut handovers) = source.pin(&args).await?;
    let start = source.start(&pin).await?;
    if let Start::At(at) = &start {
        term.note(term.dim(&format!(
            "lower heights are pruned: the audit begins after height {}, whose root {} is taken on the member's word",
            at.block.header.height,
            short(at.sequenced.root)
        )));
    }
    let (key, activation) = (pin.key().clone(), pin.activation());
    let mut auditor = Auditor::new(pin.genesis(), key, activation, start.clone())
        .map_err(|error| Problem::new(Exit::Verification, error.to_string()))?;
    let receipts = match &args.receipts {
        Some(path) => read_receipts(path, &mut auditor, &pin)?,
        None => 0,
    };
    let mut blind = BlindBook::read(&args.blind, pin.genesis())?;
    let from = auditor.height().next();
    let mut case = Case {
        genesis: pin.hash(),
        handovers: handovers.clone(),
        activation: pin.activation().cloned(),
        start,
        steps: Vec::new(),
    };
    let mut violation = hold(
        &mut source,
        &mut auditor,
        &mut blind,
        &mut case,
        &args,
        term,
    )
    .await?;
    let mut books = Vec::new();
    for folder in &args.then {
        if violation.is_some() || auditor.height() >= until(&args) {
            break;
        }
        source = Source::disk(folder)?;
        let base = source.base_after(&auditor)?;
        pin = pin.handed_over(base.handover.clone())?;
        handovers.push(base.handover.clone());
        let next = match auditor.cross(&base, pin.key().clone()) {
            Ok(next) => next,
            Err(found) => {
                violation = Some(found);
                break;
            }
        };
        books.push(std::mem::replace(&mut auditor, next).receipts);
        term.note(term.dim(&format!("epoch {}", base.epoch())));
        case = Case {
            genesis: pin.hash(),
            handovers: handovers.clone(),
            activation: None,
            start: Start::Epoch(Box::new(base)),
            steps: Vec::new(),
        };
        violation = hold(
            &mut source,
            &mut auditor,
            &mut blind,
            &mut case,
            &args,
            term,
        )
        .await?;
    }
    if auditor.height() < from && violation.is_none() {
        return Err(Problem::failed(format!(
            "there is no height {from} to audit"
        )));
    }
    if let (Some(found), Some(path)) = (&violation, &args.case_out) {
        if matches!(found, Violation::Boundary { .. }) {
            term.note("what two epochs disagree about is no case: both folders show it again");
        } else {
            input::write_new(path, &encode(&case))?;
            term.note(format!(
                "the case is in {}; show it with: fairlane audit --case {0} --genesis FILE",
                path.display()
            ));
        }
    }
    if books.is_empty() {
        books.push(std::mem::take(&mut auditor.receipts));
    }
    // Receipts are of the epoch that the audit began in.
    let book = books.swap_remove(0);
    report(
        &auditor,
        from,
        (&book, receipts, &blind),
        violation.as_ref(),
        term,
    )
}

fn until(args: &AuditArgs) -> Height {
    Height(args.until.unwrap_or(u64::MAX))
}

/// Holds the heights of one epoch, as far as the records go; what breaks a rule is in the case.
async fn hold(
    source: &mut Source,
    auditor: &mut Auditor,
    blind: &mut BlindBook,
    case: &mut Case,
    args: &AuditArgs,
    term: Term,
) -> Outcome<Option<Violation>> {
    while auditor.height() < until(args) {
        let Some(step) = source.step(auditor).await? else {
            break;
        };
        let held = auditor.step(&step);
        if held.is_ok() {
            blind.step(&step);
        }
        case.steps.push(step);
        if let Err(found) = held {
            return Ok(Some(found));
        }
        if let Some(start) = auditor.checkpoint() {
            case.start = start;
            case.steps.clear();
        }
        if term.watched() && auditor.height().0.is_multiple_of(PROGRESS_HEIGHTS) {
            term.note(format!("height {}", auditor.height()));
        }
    }
    Ok(None)
}

/// Prints what was found; fails if something was.
fn report(
    auditor: &Auditor,
    from: Height,
    (book, receipts, blind): (&ReceiptBook, u64, &BlindBook),
    violation: Option<&Violation>,
    term: Term,
) -> Outcome {
    let findings = auditor.findings();
    let contradicted = book.broken().len() as u64 + book.contradicted();
    let broken = contradicted + blind.broken.len() as u64;
    let violations = broken + u64::from(violation.is_some());
    let value = serde_json::json!({ "audit": {
        "ok": violations == 0, "orders": findings.orders, "violations": violations,
        "from": from, "height": auditor.height(), "root": auditor.root(),
        "opened": findings.opened, "openings_unchecked": findings.openings_unchecked,
        "undecryptable": findings.undecryptable, "expired": findings.expired,
        "duplicate_nonce": findings.duplicates, "live": auditor.live(),
        "receipts": { "given": receipts, "kept": book.kept(), "broken": contradicted, "open": book.open() },
        "blind": { "given": blind.given, "kept": blind.kept, "broken": blind.broken, "open": blind.open() },
        "violation": violation.map(ToString::to_string),
    }});
    term.result(&value, || {
        let mark = if violations == 0 { term.green("✔") } else { term.red("✖") };
        let mut text = format!(
            "{mark} heights {from} to {}: certificates, lanes, order and openings {} · {} orders, {} opened, {} expired, {} duplicate, {} undecryptable · root {}",
            auditor.height(),
            if violation.is_none() { "hold" } else { "held so far" },
            findings.orders,
            findings.opened,
            findings.expired,
            findings.duplicates,
            findings.undecryptable,
            short(auditor.root()),
        );
        if receipts > 0 {
            text.push_str(&format!(
                "\n{receipts} receipts: {} kept, {contradicted} broken, {} not final yet",
                book.kept(),
                book.open()
            ));
        }
        if blind.given > 0 {
            text.push_str(&format!(
                "\n{} blind-order receipts: {} kept, {} broken, {} of other heights",
                blind.given,
                blind.kept,
                blind.broken.len(),
                blind.open()
            ));
        }
        for what in &blind.broken {
            text.push_str(&format!("\n{} {what}", term.red("✖")));
        }
        for proof in book.broken() {
            text.push_str(&format!(
                "\n{} member {} is convicted by its own lane: receipt for order {} (batch {}, entry {})",
                term.red("✖"),
                proof.receipt.lane,
                proof.receipt.ct_id,
                proof.receipt.seq,
                proof.receipt.entry,
            ));
        }
        text
    });
    match (violation, broken) {
        (None, 0) => Ok(()),
        (Some(violation), _) => Err(Problem::new(Exit::Verification, violation.to_string())),
        (None, broken) => {
            let what = format!("{broken} receipts are contradicted by final lanes");
            Err(Problem::new(Exit::Verification, what))
        }
    }
}

/// Shows a case again.
fn case(path: &Path, args: &AuditArgs, term: Term) -> Outcome {
    let Some(genesis) = &args.trust.genesis else {
        return Err(Problem::usage(
            "a case is held against a genesis file: give --genesis FILE",
        ));
    };
    let genesis = Pin::read_genesis(genesis)?;
    let bytes = input::read(path, FILE_BYTES_MAX)?;
    let case: Case = decode(&bytes, bytes.len())
        .map_err(|error| Problem::usage(format!("{} is no case: {error}", path.display())))?;
    let mut pin = Pin::activated(genesis, case.activation.clone())?;
    for handover in &case.handovers {
        pin = pin.handed_over(handover.clone())?;
    }
    let violation = case
        .verify(pin.genesis(), pin.key().clone())
        .map_err(|error| Problem::new(Exit::Verification, format!("nothing is shown: {error}")))?;
    let trusted = match &case.start {
        Start::Genesis | Start::Epoch(_) => "the genesis".to_owned(),
        Start::At(at) => format!(
            "root {} at height {}",
            at.sequenced.root, at.sequenced.height
        ),
    };
    let value = serde_json::json!({ "case": {
        "shown": true, "violation": violation.to_string(), "given": trusted,
        "heights": case.steps.len(),
    }});
    term.result(&value, || {
        format!(
            "{} the case shows, given {trusted}: {violation}",
            term.green("✔")
        )
    });
    Ok(())
}

/// Whose records are audited.
enum Source {
    Disk {
        home: Home,
        reader: Box<StoreReader>,
    },
    Api {
        member: Member,
        steps: VecDeque<Step>,
    },
}

impl Source {
    fn open(args: &AuditArgs) -> Outcome<Self> {
        match (&args.home, &args.to) {
            (Some(root), _) => Self::disk(root),
            (None, Some(address)) => Ok(Self::Api {
                member: Member::new(address)?,
                steps: VecDeque::new(),
            }),
            (None, None) => Err(Problem::usage(
                "give --home FOLDER, --to ADDRESS or --case FILE",
            )),
        }
    }

    fn disk(root: &Path) -> Outcome<Self> {
        let home = Home::open(root).map_err(Problem::preflight)?;
        let reader = RocksStore::read_only(&home.data_path()).map_err(Problem::preflight)?;
        let reader = Box::new(reader);
        Ok(Self::Disk { home, reader })
    }

    /// What the epoch after an auditor's begins with, of the folder that is in it.
    fn base_after(&self, auditor: &Auditor) -> Outcome<EpochBase> {
        let Self::Disk { home, reader } = self else {
            return Err(Problem::usage("later epochs are read from folders"));
        };
        let base = current_epoch(|table, key| reader.get(table, key));
        let base = base.map_err(Problem::preflight)?.map(EpochBase::stripped);
        let next = auditor.epoch().next();
        let folder = home.root().display();
        match base {
            Some(base) if base.epoch() == next => Ok(base),
            Some(base) => Err(Problem::preflight(format!(
                "{folder} is in epoch {}, the audit has come to the end of {}",
                base.epoch(),
                auditor.epoch()
            ))),
            None => Err(Problem::preflight(format!(
                "{folder} is in the first epoch"
            ))),
        }
    }

    /// What is trusted in the epoch of the records, and the hand-overs that lead there.
    async fn pin(&self, args: &AuditArgs) -> Outcome<(Pin, Vec<Handover>)> {
        let genesis = match (&args.trust.genesis, self) {
            (Some(path), _) => Pin::read_genesis(path)?,
            // The folder's own: what the member itself runs on.
            (None, Self::Disk { home, .. }) => Pin::read_genesis(&home.genesis_path())?,
            (None, Self::Api { .. }) => {
                return Err(Problem::usage(
                    "a member's word is not enough for an audit: give --genesis FILE",
                ));
            }
        };
        let (pin, handovers) = match self {
            Self::Disk { reader, .. } => {
                let handovers = handovers(reader)?;
                let first = match handovers.first() {
                    // Which keys its members made is not on the disk any more, and not needed.
                    Some(first) => {
                        leads_on(first, &genesis, None).map_err(Problem::preflight)?;
                        Pin::new(first.genesis.clone())?
                    }
                    None => {
                        let known = KnownKey::read(&genesis, reader).map_err(Problem::preflight)?;
                        let activation = known.and_then(|known| known.activation);
                        Pin::activated(genesis, activation)?
                    }
                };
                let mut later = handovers.iter().skip(1).cloned();
                let pin = later.try_fold(first, |pin, next| pin.handed_over(next))?;
                (pin, handovers)
            }
            Self::Api { member, .. } => {
                let mut handovers = Vec::new();
                let pin = member.pin(genesis.clone()).await?;
                for epoch in 1..=pin.genesis().epoch().0 {
                    handovers.push(member.handover(Epoch(epoch)).await?);
                }
                (pin, handovers)
            }
        };
        match args.trust.genesis_hash {
            Some(hash) => Ok((pin.expect(hash)?, handovers)),
            None => Ok((pin, handovers)),
        }
    }

    async fn start(&self, pin: &Pin) -> Outcome<Start> {
        match self {
            Self::Disk { reader, .. } => {
                Start::read(pin.genesis(), |table, key| reader.get(table, key)).map_err(unread)
            }
            Self::Api { member, .. } => {
                let bytes = member.audit_start().await?;
                decode(&bytes, bytes.len()).map_err(|error| {
                    Problem::failed(format!(
                        "{}: the start of the audit: {error}",
                        member.address()
                    ))
                })
            }
        }
    }

    /// The step after the auditor's height; none when the records end there.
    async fn step(&mut self, auditor: &Auditor) -> Outcome<Option<Step>> {
        let next = auditor.height().next();
        match self {
            Self::Disk { reader, .. } => {
                if reader.block(next).map_err(Problem::preflight)?.is_none() {
                    return Ok(None);
                }
                let get = |table, key: &[u8]| reader.get(table, key);
                Step::read(next, auditor.cut(), get)
                    .map(Some)
                    .map_err(unread)
            }
            Self::Api { member, steps } => {
                if steps.is_empty() {
                    let bytes = member.audit_steps(next).await?;
                    *steps = frames(&bytes).map_err(|error| {
                        Problem::failed(format!("{}: {error}", member.address()))
                    })?;
                }
                Ok(steps.pop_front())
            }
        }
    }
}

/// The hand-overs on a member's disk, from the first epoch to its present one.
fn handovers(reader: &StoreReader) -> Outcome<Vec<Handover>> {
    let present = current_epoch(|table, key| reader.get(table, key)).map_err(Problem::preflight)?;
    let present = present.map_or(0, |base| base.epoch().0);
    let one = |epoch| {
        let row = reader.get(Table::Epochs, &epoch_key(Epoch(epoch)));
        let row = row.map_err(Problem::preflight)?;
        let row = row.ok_or_else(|| {
            Problem::preflight(format!("what epoch {epoch} began with is not kept"))
        })?;
        let base: EpochBase = decode(&row, EPOCH_BASE_BYTES_MAX).map_err(Problem::preflight)?;
        Ok(base.handover)
    };
    (1..=present).map(one).collect()
}

/// Steps, each behind its length.
fn frames(mut bytes: &[u8]) -> Result<VecDeque<Step>, String> {
    let mut steps = VecDeque::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (body, rest) = rest
            .split_at_checked(length)
            .ok_or("the answer ends within a step")?;
        steps.push_back(decode(body, STEP_BYTES_MAX).map_err(|error| error.to_string())?);
        bytes = rest;
    }
    if bytes.is_empty() {
        Ok(steps)
    } else {
        Err("the answer ends within a length".to_owned())
    }
}

fn unread(error: StepError) -> Problem {
    match error {
        StepError::Store(StoreError::Corrupt(_)) => {
            Problem::new(Exit::Verification, error.to_string())
        }
        StepError::Absent { .. } => Problem::preflight(error)
            .next("audit a member that keeps everything: store.archive = true"),
        _ => Problem::preflight(error),
    }
}

/// Receipts as `fairlane submit --json` prints them, or alone, one a line.
fn read_receipts(path: &Path, auditor: &mut Auditor, pin: &Pin) -> Outcome<u64> {
    let bytes = input::read(path, FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Problem::usage(format!("{}: not UTF-8", path.display())))?;
    let committee = auditor.committee().clone();
    let (chain, epoch) = (pin.genesis().chain, pin.genesis().epoch());
    let mut count = 0;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong =
            |error: String| Problem::usage(format!("{}:{}: {error}", path.display(), index + 1));
        let mut value: serde_json::Value =
            serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let value = match value.get_mut("receipt") {
            Some(receipt) => receipt.take(),
            None => value,
        };
        let body: ReceiptBody =
            serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        auditor
            .receipts
            .add(Receipt::from(body), chain, epoch, &committee)
            .map_err(|error| wrong(format!("not a receipt of this committee: {error}")))?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a member answers is anyone's bytes: read or refused, never a panic, and no
    /// length is believed before the bytes are there.
    #[test]
    fn answers_are_read_or_refused() {
        assert_eq!(frames(&[]).map(|steps| steps.len()), Ok(0));
        assert!(frames(&[1]).is_err());
        assert!(frames(&[0xff, 0xff, 0xff, 0xff, 0]).is_err());
        assert!(frames(&[0, 0, 0, 0]).is_err(), "an empty step is none");
        let mut rng = fairlane_types::SeededRng::new(&[3; 32], b"answers");
        for length in 0..512_usize {
            let mut bytes = vec![0; length];
            rand_core::Rng::fill_bytes(&mut rng, &mut bytes);
            if let Some(first) = bytes.first_chunk_mut::<4>() {
                *first = ((length - 4) as u32).to_le_bytes();
            }
            assert!(length == 0 || frames(&bytes).is_err());
        }
    }
}

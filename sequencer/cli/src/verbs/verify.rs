//! `fairlane verify`: a sequence file, or proofs of misbehaviour, against a genesis,
//! without any network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use fairlane_client::sequence_file::{Record, SequenceFileError, SequenceReader};
use fairlane_client::wire::{EvidenceBody, EvidenceRecord};
use fairlane_client::{ChainVerifier, Cursor, Pin, PinError, check_opening};
use fairlane_encryption::leads_on;
use fairlane_replica::Evidence;
use fairlane_types::{
    CtId, Genesis, Handover, Height, Item, KeyActivation, MemberId, Outcome as OrderOutcome,
};

use crate::exit::{Exit, Outcome, Problem};
use crate::follow_args::VerifyArgs;
use crate::term::{Term, short};

/// Items whose envelope may still come; a file has it right behind the block.
const WAITING_MAX: usize = 1_000_000;

/// Largest file of evidence that is read, in bytes.
const EVIDENCE_BYTES_MAX: u64 = 64 << 20;

/// Checks what it is given.
pub fn run(args: &VerifyArgs, term: Term) -> Outcome {
    if let (Some(key), Some(file)) = (args.committee_key, &args.file) {
        return super::attested::verify(file, key, args.unattested, term);
    }
    let genesis = args.genesis.as_deref();
    let genesis = genesis.ok_or_else(|| Problem::usage("--genesis is missing"))?;
    let trusted = Pin::read_genesis(genesis)?;
    if let Some(file) = &args.blind {
        return super::blind::verify(file, &trusted, term);
    }
    match (&args.file, &args.evidence) {
        (Some(file), _) => sequence(file, genesis, trusted, args, term),
        (None, Some(file)) => evidence(file, trusted, term),
        (None, None) => Err(Problem::usage(
            "neither a sequence file nor --evidence".to_owned(),
        )),
    }
}

/// Checks every proof in the file and names whom it convicts.
fn evidence(path: &Path, genesis: Genesis, term: Term) -> Outcome {
    let bytes = super::input::read(path, EVIDENCE_BYTES_MAX)?;
    let body: EvidenceBody = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::usage(format!("{}: {error}", path.display()))
            .next("such files are what a member answers to GET /v1/evidence")
    })?;
    for (member, kind) in convictions(&body, &genesis)? {
        let value = serde_json::json!({ "convicted": { "member": member.0, "kind": kind }});
        term.result(&value, || {
            format!("{} member {member} is convicted of {kind}", term.green("✔"))
        });
    }
    let count = body.evidence.len();
    let value = serde_json::json!({ "verify": { "ok": true, "evidence": count } });
    term.result(&value, || {
        format!("{} {count} proofs hold", term.green("✔"))
    });
    Ok(())
}

/// Whom the proofs convict, and of what; an error if one of them does not hold.
pub fn convictions(
    body: &EvidenceBody,
    genesis: &Genesis,
) -> Outcome<Vec<(MemberId, &'static str)>> {
    if body.genesis != genesis.hash() {
        let what = format!(
            "the evidence is about genesis {}, not {}",
            body.genesis,
            genesis.hash()
        );
        return Err(Problem::new(Exit::Verification, what));
    }
    let activation = match body.activation.as_slice() {
        [] => None,
        bytes => Some(fairlane_types::decode(bytes, bytes.len()).map_err(|error| {
            Problem::new(Exit::Verification, format!("the key's activation: {error}"))
        })?),
    };
    let committee = genesis.validate().map_err(PinError::from)?;
    // Members may contradict themselves before they have made a key.
    let pin = match Pin::activated(genesis.clone(), activation) {
        Ok(pin) => Some(pin),
        Err(PinError::NoKey) => None,
        Err(error) => return Err(error.into()),
    };
    let keys = pin.as_ref().map(Pin::share_keys).unwrap_or_default();
    let convict = |record: &EvidenceRecord| {
        let unproven = |what: String| {
            let what = format!("{} against member {}: {what}", record.kind, record.accused);
            Problem::new(Exit::Verification, what)
        };
        let proof: Evidence = fairlane_types::decode(&record.proof, record.proof.len())
            .map_err(|error| unproven(error.to_string()))?;
        let (chain, epoch) = (genesis.chain, genesis.epoch());
        let convicted = proof
            .verify(chain, epoch, &committee, &keys)
            .map_err(|error| unproven(error.to_string()))?;
        Ok((convicted, proof.kind()))
    };
    body.evidence.iter().map(convict).collect()
}

/// What to say of a sequence file that cannot be read on.
pub fn unreadable(path: &Path, error: SequenceFileError) -> Problem {
    let what = format!("{}: {error}", path.display());
    match error {
        SequenceFileError::Io(_) => Problem::preflight(what),
        SequenceFileError::Header => {
            Problem::usage(what).next("sequence files are written by `fairlane follow --out FILE`")
        }
        SequenceFileError::Record { .. } => Problem::new(Exit::Verification, what),
    }
}

/// What a file has led to, from the genesis that is trusted.
struct Trust {
    genesis: Genesis,
    /// None while it is not known which key the members made.
    pin: Option<Pin>,
}

impl Trust {
    fn new(genesis: Genesis, activation: Option<KeyActivation>) -> Result<Self, PinError> {
        let pin = match Pin::activated(genesis.clone(), activation) {
            Ok(pin) => Some(pin),
            Err(PinError::NoKey) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { genesis, pin })
    }

    fn hand_over(&mut self, handover: Handover) -> Result<(), PinError> {
        let genesis = handover.genesis.clone();
        self.pin = Some(match &self.pin {
            Some(pin) => pin.handed_over(handover)?,
            None => {
                leads_on(&handover, &self.genesis, None)?;
                Pin::activated(handover.genesis, None)?
            }
        });
        self.genesis = genesis;
        Ok(())
    }

    fn pin(&self) -> Result<&Pin, PinError> {
        self.pin.as_ref().ok_or(PinError::NoKey)
    }
}

/// Checks every root, parent link, opening and attestation in the file.
fn sequence(
    path: &Path,
    genesis: &Path,
    trusted: Genesis,
    args: &VerifyArgs,
    term: Term,
) -> Outcome {
    let wrong = |error| unreadable(path, error);
    let file = File::open(path).map_err(|error| wrong(error.into()))?;
    let mut reader = SequenceReader::new(BufReader::new(file)).map_err(wrong)?;
    if reader.genesis() != trusted.hash() {
        let what = format!(
            "the file is of genesis {}, {} is {}",
            short(reader.genesis()),
            genesis.display(),
            short(trusted.hash())
        );
        return Err(Problem::new(Exit::Verification, what));
    }
    let mut record = reader.next_record().map_err(wrong)?;
    let activation = match record {
        Some(Record::Activation(activation)) => {
            record = reader.next_record().map_err(wrong)?;
            Some(activation)
        }
        _ => None,
    };
    let mut trust = Trust::new(trusted, activation)?;
    let mut verifier: Option<ChainVerifier> = None;
    let mut waiting: BTreeMap<CtId, Item> = BTreeMap::new();
    let mut attested = Height(0);
    let (mut first, mut orders, mut opened, mut checked) = (0_u64, 0_u64, 0_u64, 0_u64);
    while let Some(found) = record {
        match found {
            Record::Handover(handover) => {
                trust.hand_over(*handover)?;
                if let Some(chain) = &mut verifier {
                    chain.go_on(trust.pin()?.clone());
                }
            }
            Record::Block(block) => {
                let pin = trust.pin()?;
                let chain = verifier.get_or_insert_with(|| {
                    first = block.height.0;
                    let start = match block.height.0 {
                        // Nothing before it: the parent is taken as the file says.
                        2.. => Cursor::before(pin, &block),
                        _ => Cursor::start(pin),
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
            Record::Activation(_) => {
                let what = "an encryption key is named after the first block";
                return Err(Problem::new(Exit::Verification, what));
            }
            Record::Attestation(attestation) => {
                let at = verifier.as_ref().map(|chain| chain.cursor());
                let covers = at.is_some_and(|cursor| {
                    cursor.height() == attestation.height && cursor.root() == attestation.root
                });
                let pin = trust.pin()?;
                let key = pin.certificate_key();
                let chain = pin.genesis().chain;
                if !covers || !key.is_some_and(|key| attestation.verify(key, chain)) {
                    let what = format!(
                        "the attestation of height {} does not hold",
                        attestation.height
                    );
                    return Err(Problem::new(Exit::Verification, what));
                }
                attested = attestation.height;
            }
            Record::Envelope(envelope) => {
                let id = envelope.id();
                let Some(item) = waiting.remove(&id) else {
                    let what = format!("envelope {id} belongs to no order before it");
                    return Err(Problem::new(Exit::Verification, what));
                };
                let signed = envelope.signature_check().verify();
                signed.map_err(|error| {
                    Problem::new(Exit::Verification, format!("order {id}: {error}"))
                })?;
                checked += u64::from(check_opening(trust.pin()?, &item, &envelope)?);
            }
        }
        record = reader.next_record().map_err(wrong)?;
    }
    let Some(verifier) = verifier else {
        return Err(Problem::new(Exit::Verification, "the file holds no block"));
    };
    let cursor = verifier.cursor();
    let covered = attested == cursor.height();
    let unchecked = opened - checked;
    let value = serde_json::json!({ "verify": {
        "ok": covered && unchecked == 0, "from": first, "height": cursor.height(), "orders": orders,
        "opened": opened, "openings_checked": checked, "openings_unchecked": unchecked, "root": cursor.root(),
        "from_genesis": first == 1, "attested": attested,
        "not_covered": cursor.height().0 - attested.0.max(first - 1),
    }});
    term.result(&value, || {
        let mark = if covered && unchecked == 0 { format!("{} ", term.green("✔")) } else { String::new() };
        let what = match attested {
            _ if covered => "attested by the committee".to_owned(),
            Height(0) => "not attested".to_owned(),
            to => format!("attested by the committee to {to}"),
        };
        format!(
            "{mark}{what}: blocks {first} to {} · {orders} orders, {opened} opened: {checked} openings proven, {unchecked} not · root {}",
            cursor.height(),
            cursor.root(),
        )
    });
    let begin = attested.next().max(Height(first));
    uncovered(begin, cursor.height(), args.unattested, term)?;
    unproven(unchecked, args.without_envelopes, term)
}

/// What to say of plaintexts whose ciphertexts are not in a file.
fn unproven(openings: u64, accepted: bool, term: Term) -> Outcome {
    if openings == 0 {
        return Ok(());
    }
    let what = format!(
        "{openings} openings could not be checked: the file lacks their envelopes, and nothing in \
         it shows that those plaintexts are what was sealed"
    );
    if accepted {
        term.note(what);
        return Ok(());
    }
    Err(Problem::new(Exit::Verification, what).next(
        "--without-envelopes accepts that; `fairlane follow --genesis FILE --out FILE` writes the \
         envelopes that members still keep",
    ))
}

/// What to say of blocks at the end of a file that no attestation in it covers.
pub fn uncovered(first: Height, last: Height, accepted: bool, term: Term) -> Outcome {
    if last < first {
        return Ok(());
    }
    let what = format!(
        "no attestation in the file covers blocks {first} to {last}: they belong together, but \
         anyone can have made them"
    );
    if accepted {
        term.note(what);
        return Ok(());
    }
    Err(Problem::new(Exit::Verification, what).next("--unattested accepts that"))
}

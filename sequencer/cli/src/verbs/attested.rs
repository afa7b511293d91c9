//! The sequence under the committee's key alone: `follow --committee-key` and
//! `verify --committee-key`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use fairlane_client::sequence_file::{Record, SequenceReader};
use fairlane_client::wire::ErrorCode;
use fairlane_client::{AttestedChain, AttestedError, AttestedEvent, AttestedFeed, Member};
use fairlane_types::{ChainId, Digest, Height, KeyActivation, Outcome as OrderOutcome};
use tokio::signal::unix::{SignalKind, signal};

use super::sequence_out::SequenceOut;
use crate::args::CommitteeKey;
use crate::exit::{Exit, Outcome, Problem};
use crate::follow_args::FollowArgs;
use crate::term::{Term, short};

/// Pause between two questions for a key that is being made.
const KEY_POLL: Duration = Duration::from_millis(200);

impl From<AttestedError> for Problem {
    fn from(error: AttestedError) -> Self {
        Self::new(Exit::Verification, error.to_string())
    }
}

/// Prints attested blocks until the end asked for or Ctrl-C.
pub async fn follow(args: &FollowArgs, key: CommitteeKey, term: Term) -> Outcome {
    let members = super::trust::members(&args.to)?;
    let (chain, genesis) = chain_of(&members).await?;
    let out = args.out.as_deref();
    let mut out = out
        .map(|path| SequenceOut::create(path, genesis))
        .transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    if let Some(out) = &mut out
        && let Some(activation) = activation_of(&members, genesis, term).await?
    {
        out.write(&Record::Activation(activation))?;
    }
    let mut feed = AttestedFeed::new(members, key, chain, args.from.map(Height));
    let until = Height(args.until.unwrap_or(u64::MAX));
    while feed.chain().attested().is_none_or(|(at, _)| at < until) {
        let event = tokio::select! {
            event = feed.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        };
        match event {
            AttestedEvent::Heartbeat(_) => {}
            AttestedEvent::Moved { from, error } => super::follow::moved(&from, &error, term),
            AttestedEvent::Blocks {
                blocks,
                attestation,
            } => {
                for block in blocks {
                    if args.all || !block.items.is_empty() {
                        super::follow::show(&block, true, term);
                    }
                    if let Some(out) = &mut out {
                        out.write(&Record::Block(block))?;
                    }
                }
                if let Some(out) = &mut out {
                    out.write(&Record::Attestation(attestation))?;
                    out.sync()?;
                }
                let (height, root) = (attestation.height, attestation.root);
                let value = serde_json::json!({ "attested": { "height": height.to_string(), "root": root }});
                term.result(&value, || {
                    let line = format!("attested to height {height}  root {}", short(root));
                    term.dim(&line)
                });
            }
        }
    }
    Ok(())
}

/// What the first member that answers says of the chain: a false word verifies nothing.
pub async fn chain_of(members: &[Member]) -> Outcome<(ChainId, Digest)> {
    let mut last = Problem::usage("no member's address was given");
    for member in members {
        match member.info().await {
            Ok(info) => return Ok((ChainId(info.chain), info.genesis)),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Who the members say made their key, where they made it: whoever has the genesis can then
/// verify the file, but for the openings, whose envelopes it lacks. Waits for the key. Nothing is believed here: the activation
/// bears a quorum's signatures, which are checked against the genesis.
async fn activation_of(
    members: &[Member],
    genesis: Digest,
    term: Term,
) -> Outcome<Option<KeyActivation>> {
    let mut last = Problem::usage("no member's address was given");
    let mut told = false;
    loop {
        let mut keyless = false;
        for member in members {
            match member.genesis().await {
                Ok(pin) if pin.hash() == genesis => return Ok(pin.activation().cloned()),
                Ok(_) => {
                    last = Problem::failed(format!("{} has another genesis", member.address()))
                }
                Err(error) => {
                    keyless |= error.code() == Some(ErrorCode::NoEncryptionKey);
                    last = error.into();
                }
            }
        }
        if !keyless {
            return Err(last);
        }
        if !std::mem::replace(&mut told, true) {
            term.note(term.dim("the members are making their key"));
        }
        tokio::time::sleep(KEY_POLL).await;
    }
}

/// Checks roots, links and attestations of a sequence file.
pub fn verify(path: &Path, key: CommitteeKey, unattested: bool, term: Term) -> Outcome {
    let wrong = |error| super::verify::unreadable(path, error);
    let file = File::open(path).map_err(|error| wrong(error.into()))?;
    let mut reader = SequenceReader::new(BufReader::new(file)).map_err(wrong)?;
    let mut chain: Option<AttestedChain> = None;
    let (mut first, mut last) = (Height(0), Height(0));
    let (mut orders, mut opened) = (0_usize, 0_usize);
    while let Some(record) = reader.next_record().map_err(wrong)? {
        match record {
            Record::Block(block) => {
                let chain = chain.get_or_insert_with(|| {
                    first = block.height;
                    AttestedChain::new(key, block.chain)
                });
                last = block.height;
                chain.push(block)?;
            }
            Record::Attestation(attestation) => {
                let covered = match &mut chain {
                    Some(chain) => chain.attest(&attestation)?,
                    None => Vec::new(),
                };
                for item in covered.iter().flat_map(|block| &block.items) {
                    orders += 1;
                    opened += usize::from(matches!(item.outcome, OrderOutcome::Opened { .. }));
                }
            }
            // Its opening hangs on the encryption key, which is not known here.
            Record::Envelope(_) | Record::Activation(_) | Record::Handover(_) => {}
        }
    }
    let Some((height, root)) = chain.and_then(|chain| chain.attested()) else {
        return Err(Problem::new(
            Exit::Verification,
            "no attestation in the file covers a block of it",
        ));
    };
    let not_covered = last.0 - height.0;
    let value = serde_json::json!({ "verify": {
        "ok": not_covered == 0, "from": first.to_string(), "attested": height.to_string(),
        "orders": orders, "opened": opened, "openings_checked": 0, "openings_unchecked": opened,
        "root": root, "not_covered": not_covered,
    }});
    term.result(&value, || {
        format!(
            "{} blocks {first} to {height}: attested by the committee · {orders} orders, {opened} opened: no opening checked · root {root}",
            term.green("✔"),
        )
    });
    super::verify::uncovered(height.next(), last, unattested, term)
}

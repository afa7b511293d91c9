//! What the lanes ask for, carried out: batches are signed, stored before they are said
//! (M1, M2), and checked by jobs.

use std::sync::Arc;

use fairlane_encryption::SuiteParsed;
use fairlane_mempool::{self as mempool, Batch, Flaw, Input, Output, Record, Wanted};
use fairlane_types::{CIPHERTEXT_BYTES_MAX, CtId, Envelope, decode, encode};

use crate::boundary::{Effect, Peers, Reply, Ticket, TimerId};
use crate::envelope_checks::Checked;
use crate::job::EnvelopeFault;
use crate::keys::{ack_key, batch_key, payload_key};
use crate::replica::Replica;
use crate::under_way::{Purpose, Reading, Written};
use crate::{Evidence, Fault, Job, Message, Row, Table, Write};

/// Bytes of lane batches read for one request.
const LOAD_BYTES: usize = 2 << 20;
/// Largest stored batch.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Largest stored envelope.
const ENVELOPE_BYTES_MAX: usize = CIPHERTEXT_BYTES_MAX + 256;

/// Payloads being read one by one.
#[derive(Debug, Default)]
pub(crate) struct PayloadLoad {
    missing: usize,
    payloads: Vec<Arc<Envelope>>,
}

impl Replica {
    /// Carries out what the lanes asked for.
    pub(crate) fn carry_out(&mut self, outputs: &mut Vec<Output>, out: &mut Vec<Effect>) {
        for output in outputs.drain(..) {
            self.lane_output(output, out);
        }
    }

    fn lane_output(&mut self, output: Output, out: &mut Vec<Effect>) {
        match output {
            Output::Store {
                id,
                records,
                durable,
            } => {
                let writes = records.into_iter().flat_map(writes_of).collect();
                self.store(writes, durable, Written::Lanes(id), out);
            }
            Output::Send { to, message } => {
                let to = match to {
                    mempool::To::All => Peers::All,
                    mempool::To::One(member) => Peers::One(member),
                };
                self.send(to, Message::Lane(message), out);
            }
            Output::Sign(header) => {
                let signature = header.sign(&self.identity, self.chain());
                self.tell_lanes(Input::Signed {
                    seq: header.seq,
                    signature,
                });
            }
            Output::VerifyBatch { check, signature } => {
                self.compute(Job::Verify(vec![signature]), Purpose::Batch(check), out);
            }
            Output::VerifyEnvelopes { check, envelopes } => {
                let fresh = self.envelope_checks.begin(check, envelopes);
                if !fresh.is_empty() {
                    let checked = fresh.iter().map(|(id, e)| (*id, e.signature)).collect();
                    self.compute(Job::Envelopes(fresh), Purpose::Envelopes(checked), out);
                }
            }
            Output::SetTimer { timer, at } => {
                out.push(Effect::SetTimer {
                    id: TimerId::Lanes(timer),
                    at,
                });
            }
            Output::Accepted { ticket, receipt } => {
                let reply = Reply::Receipt(receipt.signed(&self.identity));
                out.push(Effect::Reply {
                    ticket: Ticket(ticket.0),
                    reply,
                });
            }
            Output::Refused { ticket, error } => {
                let reply = Reply::Refused(error);
                out.push(Effect::Reply {
                    ticket: Ticket(ticket.0),
                    reply,
                });
            }
            Output::Load { id, wanted } => self.load_lanes(id, wanted, out),
            Output::Fault { peer, fault } => {
                out.push(Effect::Fault {
                    peer,
                    fault: Fault::Lane(fault),
                });
            }
            Output::Evidence(fork) => self.convict(Evidence::LaneFork(*fork), out),
            Output::Advancing(advancing) => self.advancing = advancing,
            Output::CutReady { block } => self.ready.push(block),
        }
    }

    fn load_lanes(&mut self, load: mempool::LoadId, wanted: Wanted, out: &mut Vec<Effect>) {
        match wanted {
            Wanted::Batches { lane, from, to } => {
                let rows = usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(0) + 1;
                let range = (
                    Table::Lanes,
                    batch_key(lane, from),
                    batch_key(lane, to.next()),
                );
                let limits = (rows.min(mempool::BATCHES_MAX), LOAD_BYTES);
                self.load(range, limits, Reading::Lanes(load), out);
            }
            Wanted::Payloads(ids) => {
                let entry = PayloadLoad {
                    missing: ids.len(),
                    payloads: Vec::new(),
                };
                self.payload_loads.insert(load, entry);
                for id in ids {
                    let key = payload_key(&id);
                    let end = [key.as_slice(), &[0]].concat();
                    let range = (Table::Payloads, key, end);
                    self.load(range, (1, LOAD_BYTES), Reading::Payload { load }, out);
                }
            }
        }
    }

    pub(crate) fn lanes_loaded(&mut self, load: mempool::LoadId, rows: &[Row]) {
        let batches = rows
            .iter()
            .map_while(|(_, row)| decode::<Batch>(row, BATCH_BYTES_MAX).ok());
        let batches = batches.map(Arc::new).collect();
        self.tell_lanes(Input::Loaded {
            load,
            batches,
            payloads: Vec::new(),
        });
    }

    pub(crate) fn payload_loaded(&mut self, load: mempool::LoadId, rows: &[Row]) {
        let Some(entry) = self.payload_loads.get_mut(&load) else {
            return;
        };
        entry.missing = entry.missing.saturating_sub(1);
        let decoded = rows
            .first()
            .and_then(|(_, row)| decode(row, ENVELOPE_BYTES_MAX).ok());
        entry.payloads.extend(decoded.map(Arc::new));
        if entry.missing == 0
            && let Some(PayloadLoad { payloads, .. }) = self.payload_loads.remove(&load)
        {
            self.tell_lanes(Input::Loaded {
                load,
                batches: Vec::new(),
                payloads,
            });
        }
    }

    pub(crate) fn envelopes_verified(
        &mut self,
        envelopes: &[Checked],
        results: Vec<Result<Arc<SuiteParsed>, EnvelopeFault>>,
    ) {
        for (envelope, result) in envelopes.iter().zip(results) {
            let flaw = match result {
                Ok(parsed) => {
                    self.parsed.insert(envelope.0, parsed);
                    None
                }
                Err(EnvelopeFault::Signature) => Some(Flaw::Signature),
                Err(EnvelopeFault::Ciphertext(_)) => Some(Flaw::Proof),
            };
            for (check, bad) in self.envelope_checks.verdict(envelope, flaw) {
                self.tell_lanes(Input::Verified { check, bad });
            }
        }
    }
}

fn writes_of(record: Record) -> Vec<Write> {
    match record {
        Record::Batch { batch, ids, .. } => {
            let key = batch_key(batch.lane, batch.seq);
            let mut writes = vec![Write::put(Table::Lanes, key, encode(&batch))];
            // By id as well: that is how they are asked for (D6, `/proof`).
            let payloads = ids.iter().zip(&batch.payloads);
            writes.extend(payloads.map(|(id, envelope)| payload_write(id, envelope)));
            writes
        }
        Record::Payload { ct_id, envelope } => vec![payload_write(&ct_id, &envelope)],
        Record::Ack(ack) => {
            vec![Write::put(
                Table::Lanes,
                ack_key(ack.lane, ack.seq),
                encode(&ack),
            )]
        }
    }
}

fn payload_write(id: &CtId, envelope: &Envelope) -> Write {
    Write::put(Table::Payloads, payload_key(id), encode(envelope))
}

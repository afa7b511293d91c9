//! What was asked of the shell and is under way: writes, reads and jobs, what each is for,
//! and who gets what comes of it.

use std::sync::Arc;

use fairlane_consensus::{self as consensus, RecordId};
use fairlane_encryption::{Attestation, Beacon, StateAttestation};
use fairlane_mempool as mempool;
use fairlane_types::{
    BlockId, CommitteeChange, CtId, Height, MemberId, QuorumWord, SequencedBlock,
};

use crate::boundary::{Effect, JobId, LoadId, WriteId};
use crate::envelope_checks::Checked;
use crate::epoch_base::EpochBase;
use crate::key_making::Signatures;
use crate::replica::Replica;
use crate::retention::Pruning;
use crate::serving::Serving;
use crate::{Job, JobResult, Row, Table, Write};

/// What a `Stored` stands for.
#[derive(Debug)]
pub(crate) enum Written {
    Lanes(mempool::WriteId),
    Record(RecordId),
    Final(Height),
    /// A block of the sequence, and what its height left out as stale.
    Emit(Arc<SequencedBlock>, Vec<mempool::Emitted>),
    /// What the next epoch begins with.
    Epoch(Arc<EpochBase>),
    Nothing,
}

/// What a `Computed` answers.
#[derive(Debug)]
pub(crate) enum Purpose {
    Consensus(consensus::CheckId),
    Batch(mempool::CheckId),
    Envelopes(Vec<Checked>),
    Reparse(Vec<CtId>),
    Shares(Height),
    Combine(Height, u16),
    OpenKeys(Height, u16, MemberId),
    Attest(Height),
    Certify(Height),
    CheckAttestation(MemberId, Box<Attestation>),
    BeaconShare(Height),
    Beacon(Height, BlockId),
    CheckBeacon(MemberId, Box<Beacon>),
    AttestState(Height),
    CertifyState(Height),
    CheckState(MemberId, Box<StateAttestation>),
    Deal,
    Judge(Height),
    Conclude,
    KeyMade(Signatures),
    Change(MemberId, Arc<CommitteeChange>),
    Open(Height),
    Reshared,
    Handover(Signatures),
    Handed(MemberId, Arc<QuorumWord>),
}

/// What a `Loaded` is for.
#[derive(Debug)]
pub(crate) enum Reading {
    Blocks(Serving),
    Shares { to: MemberId },
    Prune(Pruning),
    Lanes(mempool::LoadId),
    Payload { load: mempool::LoadId },
}

impl Replica {
    pub(crate) fn store(
        &mut self,
        writes: Vec<Write>,
        durable: bool,
        then: Written,
        out: &mut Vec<Effect>,
    ) {
        let id = WriteId(self.fresh());
        if durable {
            self.writes.insert(id, then);
        }
        out.push(Effect::Store {
            id,
            writes,
            durable,
        });
    }

    pub(crate) fn compute(&mut self, job: Job, purpose: Purpose, out: &mut Vec<Effect>) {
        let Some((job, purpose)) = self.keep_back(job, purpose) else {
            return;
        };
        let id = JobId(self.fresh());
        self.jobs.insert(id, purpose);
        out.push(Effect::Compute { id, job });
    }

    pub(crate) fn load(
        &mut self,
        range: (Table, Vec<u8>, Vec<u8>),
        limits: (usize, usize),
        reading: Reading,
        out: &mut Vec<Effect>,
    ) {
        let id = LoadId(self.fresh());
        self.loads.insert(id, reading);
        let ((table, from, to), (rows_max, bytes_max)) = (range, limits);
        out.push(Effect::Load {
            id,
            table,
            from,
            to,
            rows_max,
            bytes_max,
        });
    }

    pub(crate) fn stored(&mut self, id: WriteId, out: &mut Vec<Effect>) {
        match self.writes.remove(&id) {
            Some(Written::Lanes(id)) => self.tell_lanes(mempool::Input::Stored(id)),
            Some(Written::Record(id)) => self.recorded(id, out),
            Some(Written::Final(height)) => self.openings.durable(height),
            Some(Written::Emit(block, stale)) => self.emitted(block, stale, out),
            Some(Written::Epoch(base)) => self.ended(base, out),
            Some(Written::Nothing) | None => {}
        }
    }

    pub(crate) fn loaded(&mut self, id: LoadId, rows: &[Row], out: &mut Vec<Effect>) {
        match self.loads.remove(&id) {
            Some(Reading::Blocks(serving)) => self.run_read(serving, rows, out),
            Some(Reading::Shares { to }) => self.served_shares(to, rows, out),
            Some(Reading::Prune(step)) => self.pruning(step, rows, out),
            Some(Reading::Lanes(load)) => self.lanes_loaded(load, rows),
            Some(Reading::Payload { load }) => self.payload_loaded(load, rows),
            None => {}
        }
    }

    pub(crate) fn computed(&mut self, id: JobId, result: JobResult, out: &mut Vec<Effect>) {
        let Some(purpose) = self.jobs.remove(&id) else {
            return;
        };
        match (purpose, result) {
            (Purpose::Consensus(check), JobResult::Verified { bad }) => {
                self.tell(consensus::Input::Verified { check, bad });
            }
            (Purpose::Batch(check), JobResult::Verified { bad }) => {
                let bad = bad
                    .into_iter()
                    .map(|i| (i, mempool::Flaw::Signature))
                    .collect();
                self.tell_lanes(mempool::Input::Verified { check, bad });
            }
            (Purpose::Envelopes(envelopes), JobResult::Envelopes(results)) => {
                self.envelopes_verified(&envelopes, results);
            }
            (Purpose::Reparse(ids), JobResult::Envelopes(results)) => {
                self.reparsed(&ids, results);
            }
            (Purpose::Shares(height), JobResult::Shares(messages)) => {
                self.shares_made(height, messages, out);
            }
            (Purpose::Combine(height, slice), JobResult::Combined(result)) => {
                self.combined(height, slice, result, out);
            }
            (Purpose::OpenKeys(height, slice, from), JobResult::KeysOpened(result)) => {
                self.keys_opened(height, slice, from, result, out);
            }
            (Purpose::Attest(height), JobResult::Attest(share)) => {
                self.attest_made(height, share, out);
            }
            (Purpose::Certify(height), JobResult::Certified(result)) => {
                self.certified(height, &result, out);
            }
            (Purpose::CheckAttestation(from, given), JobResult::Judged(holds)) => {
                self.attested_checked(from, *given, holds, out);
            }
            (Purpose::BeaconShare(height), JobResult::Beacon(share)) => {
                self.beacon_made(height, share, out);
            }
            (Purpose::Beacon(height, block), JobResult::Certified(result)) => {
                self.beacon_combined(height, block, &result, out);
            }
            (Purpose::CheckBeacon(from, given), JobResult::Judged(holds)) => {
                self.beacon_checked(from, *given, holds, out);
            }
            (Purpose::AttestState(height), JobResult::Attest(share)) => {
                self.state_share_made(height, share, out);
            }
            (Purpose::CertifyState(height), JobResult::Certified(result)) => {
                self.state_certified(height, &result, out);
            }
            (Purpose::CheckState(from, given), JobResult::Judged(holds)) => {
                self.state_checked(from, &given, holds, out);
            }
            (Purpose::Deal, JobResult::Dealt(dealing)) => self.dealt(dealing, out),
            (Purpose::Judge(height), JobResult::Judged(valid)) => {
                self.dealing_judged(height, valid, out);
            }
            (Purpose::Conclude, JobResult::Concluded(key)) => self.concluded(key, out),
            (Purpose::KeyMade(said), JobResult::Verified { bad }) => {
                self.key_signatures(said, &bad, out);
            }
            (Purpose::Change(from, change), JobResult::Verified { bad }) => {
                self.change_verified(from, change, &bad, out);
            }
            (Purpose::Open(height), JobResult::Opened(ceremony)) => {
                self.change_opened(height, ceremony, out);
            }
            (Purpose::Reshared, JobResult::Concluded(key)) => self.reshared(key, out),
            (Purpose::Handover(said), JobResult::Verified { bad }) => {
                self.handover_verified(said, &bad, out);
            }
            (Purpose::Handed(from, word), JobResult::Verified { bad }) => {
                self.word_verified(from, &word, &bad, out);
            }
            // A shell that answers a job with another one's result is broken; the job is
            // lost, and only progress suffers.
            _ => {}
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

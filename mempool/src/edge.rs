//! Direct submissions (M5): stateless facts, then cryptography in shared jobs, then the
//! stateful facts that only the edge asks.

use std::collections::VecDeque;
use std::sync::Arc;

use fairlane_types::{CtId, Envelope, EnvelopeError, Epoch, LANE_NONE, Micros, PublicKey};

use crate::lanes::{Check, Lanes};
use crate::pool::TICKETS_MAX;
use crate::quota::Quotas;
use crate::{AdmissionError, CheckId, Flaw, Output, Pressure, Ticket};

/// Submissions that wait for verification.
pub(crate) const SUBMISSIONS_MAX: usize = 4_096;
/// Verification jobs of submissions under way; more wait and share the next job.
pub(crate) const JOBS_MAX: usize = 4;
/// Nobody is told to come back sooner, ms.
const RETRY_MIN_MS: u64 = 10;
/// Submissions in one verification job.
pub(crate) const JOB_ORDERS_MAX: usize = 64;

/// An order that waits for its check.
#[derive(Debug)]
pub(crate) struct Submission {
    ticket: Ticket,
    ct_id: CtId,
    envelope: Arc<Envelope>,
    /// What there was when it came, those before it counted: see [`Pressure::room`].
    room: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Edge {
    pub quotas: Quotas,
    queue: VecDeque<Submission>,
    jobs: usize,
    /// Submissions in these jobs.
    verifying: usize,
    /// What the last submission came with, see [`Pressure::wait_ms`].
    wait_ms: u64,
}

impl Edge {
    /// Submissions that are being verified, or wait for it.
    pub fn pending(&self) -> usize {
        self.queue.len() + self.verifying
    }
}

impl Lanes {
    pub(crate) fn submit(
        &mut self,
        now: Micros,
        ticket: Ticket,
        envelope: Envelope,
        pressure: Pressure,
        out: &mut Vec<Output>,
    ) {
        self.edge.wait_ms = pressure.wait_ms;
        let result = (|| {
            if self.config.observer {
                return Err(AdmissionError::Observer);
            }
            if self.config.keys.is_empty() {
                return Err(AdmissionError::NoKey);
            }
            self.config.check_envelope(&envelope)?;
            let ct_id = envelope.id();
            if self.pool.get(&ct_id).is_some() || self.pool.is_done(&ct_id) {
                return Ok((ct_id, true));
            }
            self.check_stateful(now, &ct_id, &envelope)?;
            (self.edge.quotas)
                .check(&self.config.quota, &envelope.label.sender, now)
                .map_err(over_quota)?;
            self.check_room(&envelope.label.sender, pressure.room)?;
            if self.edge.queue.len() >= SUBMISSIONS_MAX {
                return Err(self.over_capacity());
            }
            Ok((ct_id, false))
        })();
        match result {
            Err(error) => out.push(Output::Refused { ticket, error }),
            Ok((ct_id, true)) => self.answer_known(ticket, ct_id, out),
            Ok((ct_id, false)) => {
                self.edge.queue.push_back(Submission {
                    ticket,
                    ct_id,
                    envelope: Arc::new(envelope),
                    room: pressure.room,
                });
                self.check_submissions(out);
            }
        }
    }

    /// Stateful facts: capacity, expiry, nonce.
    fn check_stateful(
        &self,
        now: Micros,
        ct_id: &CtId,
        envelope: &Envelope,
    ) -> Result<(), AdmissionError> {
        let label = &envelope.label;
        // A larger committee before this one may have acknowledged it: members that left hand on
        // what they acknowledged, as it was sealed.
        let first = self.config.epoch == Epoch::default();
        if first && label.lane != LANE_NONE && usize::from(label.lane) >= self.config.committee.n()
        {
            return Err(EnvelopeError::Lane(label.lane).into());
        }
        if label.expiry < self.final_time {
            return Err(AdmissionError::Expired {
                expiry: label.expiry,
                time: self.final_time,
            });
        }
        if let Some((key, until)) = self.config.former
            && key == label.key_id
            && label.expiry > until
            && self.final_time.max(now.as_millis()) > self.config.former_taken_until(until)
        {
            return Err(AdmissionError::OldKey { until });
        }
        // Finalized time rests when the lanes do; then the own clock says how far ahead.
        let latest = self
            .final_time
            .max(now.as_millis())
            .plus(self.config.ttl_max.0);
        if label.expiry > latest {
            let expiry = label.expiry;
            return Err(AdmissionError::ExpiryTooFar { expiry, latest });
        }
        let holder = self.pool.nonce_holder(label, self.final_time);
        if holder.is_some_and(|id| id != *ct_id) {
            return Err(AdmissionError::NonceUsed(label.nonce));
        }
        let (entries, bytes) = self.own_load();
        let size = envelope.encoded_len();
        if entries >= self.limits.window_entries || bytes + size > self.limits.window_bytes {
            return Err(self.over_capacity());
        }
        Ok(())
    }

    /// A11: what one sender has under way leaves room for the next. Only orders whose
    /// signature was checked count, so nobody fills the place of another.
    fn check_room(&self, sender: &PublicKey, room: usize) -> Result<(), AdmissionError> {
        if self.pool.direct_of(sender) < room {
            Ok(())
        } else {
            Err(self.over_capacity())
        }
    }

    fn over_capacity(&self) -> AdmissionError {
        AdmissionError::OverCapacity {
            retry_after_ms: self.edge.wait_ms.max(RETRY_MIN_MS),
        }
    }

    fn check_submissions(&mut self, out: &mut Vec<Output>) {
        while self.edge.jobs < JOBS_MAX && !self.edge.queue.is_empty() {
            let count = self.edge.queue.len().min(JOB_ORDERS_MAX);
            let orders: Vec<_> = self.edge.queue.drain(..count).collect();
            let envelopes = orders
                .iter()
                .map(|order| (order.ct_id, order.envelope.clone()))
                .collect();
            let check = CheckId(self.fresh_id());
            self.checks.insert(check, Check::Submitted(orders));
            self.edge.jobs += 1;
            self.edge.verifying += count;
            out.push(Output::VerifyEnvelopes { check, envelopes });
        }
    }

    pub(crate) fn submissions_verified(
        &mut self,
        now: Micros,
        orders: Vec<Submission>,
        bad: &[(usize, Flaw)],
        out: &mut Vec<Output>,
    ) {
        self.edge.jobs = self.edge.jobs.saturating_sub(1);
        self.edge.verifying = self.edge.verifying.saturating_sub(orders.len());
        for (index, order) in orders.into_iter().enumerate() {
            let Submission {
                ticket,
                ct_id,
                envelope,
                room,
            } = order;
            let flaw = bad.iter().find(|(at, _)| *at == index);
            let result = match flaw {
                Some((_, Flaw::Signature)) => Err(AdmissionError::BadSignature),
                Some((_, Flaw::Proof)) => Err(AdmissionError::BadProof),
                None if self.pool.get(&ct_id).is_some() || self.pool.is_done(&ct_id) => Ok(()),
                // Asked again: much may have come in while the job ran.
                None => self.check_stateful(now, &ct_id, &envelope).and_then(|()| {
                    self.check_room(&envelope.label.sender, room)?;
                    (self.edge.quotas)
                        .take(&self.config.quota, &envelope.label.sender, now)
                        .map_err(over_quota)
                }),
            };
            match result {
                Err(error) => out.push(Output::Refused { ticket, error }),
                Ok(()) => {
                    self.admit(now, ct_id, envelope, out);
                    self.answer_known(ticket, ct_id, out);
                }
            }
        }
        self.check_submissions(out);
    }

    /// The same order again gives the same receipt, now or when its batch is durable.
    fn answer_known(&mut self, ticket: Ticket, ct_id: CtId, out: &mut Vec<Output>) {
        let full = self.over_capacity();
        self.pool.sent_here(&ct_id);
        let (place, error) = match self.pool.get_mut(&ct_id) {
            None => (
                self.pool.done_place(&ct_id),
                AdmissionError::AlreadySequenced,
            ),
            Some(held) if held.place.is_some() => (held.place, full),
            Some(held) if held.parked || held.tickets.len() >= TICKETS_MAX => (None, full),
            Some(held) => return held.tickets.push(ticket),
        };
        out.push(match place {
            None => Output::Refused { ticket, error },
            Some(place) => Output::Accepted {
                ticket,
                receipt: self.receipt(ct_id, place),
            },
        });
    }
}

fn over_quota(wait_us: u64) -> AdmissionError {
    AdmissionError::OverQuota {
        retry_after_ms: wait_us.div_ceil(1_000),
    }
}

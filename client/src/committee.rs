//! Several members at once: fan-out with a delay for each, and checked receipts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlane_types::{Envelope, Height, MemberId, PublicKey, Receipt};
use tokio::task::JoinSet;

use crate::account::{AccountError, ProvenAccount, check_account, check_claims};
use crate::wire::ErrorCode;
use crate::{ClientError, Member, Pin, check_receipt};

/// The members' addresses in the order of their ids, and what is trusted about them.
#[derive(Clone, Debug)]
pub struct Committee {
    pin: Pin,
    members: Vec<Member>,
}

/// What one member answered.
#[derive(Debug)]
pub struct Delivery {
    /// The member asked.
    pub member: MemberId,
    /// When its answer came.
    pub at: Instant,
    /// Its checked receipt, or why there is none.
    pub result: Result<Receipt, ClientError>,
}

/// Whom to send to, each after its own delay: paths to members are never equally long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FanOut(Vec<(MemberId, Duration)>);

impl FanOut {
    /// The members and their delays.
    #[must_use]
    pub fn new(to: Vec<(MemberId, Duration)>) -> Self {
        Self(to)
    }

    /// `count` of `n` members, the first being `first`; the k-th hears it `delays[k]`
    /// later (the last delay counts for the rest).
    #[must_use]
    pub fn around(first: usize, count: usize, n: usize, delays: &[Duration]) -> Self {
        let delay = |k: usize| delays.get(k).or(delays.last()).copied().unwrap_or_default();
        Self(
            (0..count.clamp(1, n.max(1)))
                .map(|k| (MemberId(((first + k) % n.max(1)) as u8), delay(k)))
                .collect(),
        )
    }

    /// Whom it goes to.
    #[must_use]
    pub fn targets(&self) -> &[(MemberId, Duration)] {
        &self.0
    }
}

impl Committee {
    /// Addresses in the order of member ids.
    #[must_use]
    pub fn new(pin: Pin, members: Vec<Member>) -> Self {
        Self { pin, members }
    }

    /// What is trusted.
    #[must_use]
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The members' APIs.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Sends one envelope as `plan` says, all in parallel; every answer in the order in
    /// which they came.
    pub async fn submit(&self, envelope: &Envelope, plan: &FanOut) -> Vec<Delivery> {
        self.submit_until(envelope, plan, usize::MAX).await
    }

    /// As [`submit`](Self::submit), but once `enough` receipts are there the members that have
    /// not answered get only a moment more. What is on its way to them goes on.
    pub async fn submit_until(
        &self,
        envelope: &Envelope,
        plan: &FanOut,
        enough: usize,
    ) -> Vec<Delivery> {
        let mut tasks = JoinSet::new();
        let shared = Arc::new(envelope.clone());
        for (member, delay) in plan.targets().iter().copied() {
            self.send(&mut tasks, member, shared.clone(), delay);
        }
        let mut deliveries = Vec::with_capacity(tasks.len());
        let mut receipts = 0;
        let end = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                done = tasks.join_next() => match done {
                    Some(Ok(delivery)) => {
                        receipts += usize::from(delivery.result.is_ok());
                        if receipts == enough && delivery.result.is_ok() {
                            end.as_mut().reset(tokio::time::Instant::now() + FAN_OUT_GRACE);
                        }
                        deliveries.push(delivery);
                    }
                    // A task ends so only when the runtime stops.
                    Some(Err(_)) => {}
                    None => return deliveries,
                },
                () = &mut end, if receipts >= enough => {
                    tasks.detach_all();
                    return deliveries;
                }
            }
        }
    }

    /// Sends to one member after a delay; its receipt is checked.
    fn send(
        &self,
        tasks: &mut JoinSet<Delivery>,
        member: MemberId,
        envelope: Arc<Envelope>,
        delay: Duration,
    ) {
        let Some(api) = self.members.get(member.index()).cloned() else {
            return;
        };
        let pin = self.pin.clone();
        tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            let result = api.submit(&envelope).await.and_then(|receipt| {
                match check_receipt(&pin, envelope.id(), &receipt) {
                    Ok(()) => Ok(receipt),
                    Err(error) => {
                        let url = api.address().to_owned();
                        Err(ClientError::False { url, error })
                    }
                }
            });
            let at = Instant::now();
            Delivery { member, at, result }
        });
    }

    /// Sends one envelope to one member after the other until one acknowledges it; the next one
    /// is asked as well when there is no answer for a while. Safe to repeat: the same envelope
    /// is the same order everywhere.
    ///
    /// # Errors
    /// A refusal that says that the order itself is wrong, at once when f+1 members refuse (one
    /// of them is honest); otherwise the last member's error.
    pub async fn submit_to_any(
        &self,
        envelope: &Envelope,
        first: usize,
    ) -> Result<Delivery, ClientError> {
        let n = self.members.len();
        let shared = Arc::new(envelope.clone());
        let mut tasks = JoinSet::new();
        let (mut asked, mut refusals) = (0, 0);
        let mut refusal = None;
        let mut last = ClientError::Address("no members".into());
        loop {
            if asked < n {
                let member = MemberId(((first + asked) % n) as u8);
                self.send(&mut tasks, member, shared.clone(), Duration::ZERO);
                asked += 1;
            }
            let done = tokio::select! {
                done = tasks.join_next() => done,
                () = tokio::time::sleep(ANSWER_WAIT), if asked < n => continue,
            };
            match done {
                Some(Ok(delivery)) => match delivery.result {
                    Ok(_) => {
                        tasks.detach_all();
                        return Ok(delivery);
                    }
                    Err(error @ ClientError::Api(_)) if !error.is_retryable() => {
                        refusals += 1;
                        if refusals > self.pin.committee().f() {
                            return Err(error);
                        }
                        refusal = Some(error);
                    }
                    Err(error) => last = error,
                },
                Some(Err(_)) => {}
                None if asked < n => {}
                None => return Err(refusal.unwrap_or(last)),
            }
        }
    }
}

/// Time for members that have not answered, when enough others have.
const FAN_OUT_GRACE: Duration = Duration::from_millis(500);
/// Without an answer for so long the next member is asked as well.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How often an account is asked for until f+1 members agree on its state.
const ACCOUNT_TRIES: usize = 10;
/// Time for the slower members to come to a height.
const CLAIM_WAIT: Duration = Duration::from_millis(200);

impl Committee {
    /// An account under a state that f+1 members signed; no single one is believed.
    ///
    /// # Errors
    /// [`AccountProblem`]: what the last try ended with.
    pub async fn account(&self, key: &PublicKey) -> Result<ProvenAccount, AccountProblem> {
        let mut last = AccountProblem::Client(ClientError::Address("no members".into()));
        for turn in 0..ACCOUNT_TRIES.max(self.members.len()) {
            let Some(member) = self.members.get(turn % self.members.len().max(1)) else {
                break;
            };
            match self.account_from(member, key).await {
                Ok(proven) => return Ok(proven),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn account_from(
        &self,
        member: &Member,
        key: &PublicKey,
    ) -> Result<ProvenAccount, AccountProblem> {
        let body = member.account(key).await?;
        let account = check_account(key, &body)?;
        let (height, state_root) = (Height(body.height), body.state_root);
        let mut tasks = JoinSet::new();
        for member in self.members.clone() {
            tasks.spawn(async move {
                match member.state_claim(height).await {
                    Err(error) if error.code() == Some(ErrorCode::OutOfRange) => {
                        tokio::time::sleep(CLAIM_WAIT).await;
                        member.state_claim(height).await
                    }
                    answer => answer,
                }
            });
        }
        let mut claims = Vec::new();
        while let Some(done) = tasks.join_next().await {
            if let Ok(Ok(claim)) = done {
                claims.push(claim);
            }
        }
        let signed_by = check_claims(&self.pin, height, state_root, &claims)?;
        Ok(ProvenAccount {
            account,
            height,
            state_root,
            signed_by,
        })
    }
}

/// Why an account could not be proven.
#[derive(Debug, thiserror::Error)]
pub enum AccountProblem {
    /// A member did not answer, or has no such account.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was served is not proven.
    #[error(transparent)]
    Unproven(#[from] AccountError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fan_out_goes_round_with_a_delay_each() {
        let ms = Duration::from_millis;
        let plan = FanOut::around(3, 3, 4, &[ms(0), ms(5)]);
        let want = [
            (MemberId(3), ms(0)),
            (MemberId(0), ms(5)),
            (MemberId(1), ms(5)),
        ];
        assert_eq!(plan.targets(), want);
        assert_eq!(FanOut::around(0, 9, 4, &[]).targets().len(), 4);
        assert_eq!(FanOut::around(0, 0, 4, &[]).targets().len(), 1);
    }
}

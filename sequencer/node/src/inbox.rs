//! What waits for the core: most urgent first, bounded, and fair among members
//! (boundary rule 4; C11).
//!
//! Results of the node's own effects are bounded by the effects themselves. Messages are
//! bounded by the [`Charge`] that each carries: the link that reads them takes it out of
//! its member's budget before it reads, and gets it back when the core is done with the
//! message, so that a member that floods slows down only itself. Requests of clients are
//! refused when their queue is full.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairlane_replica::{AdmissionError, Class, Event, Message, Reply};
use fairlane_types::{CtId, Envelope, MEMBERS_MAX, MemberId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::failure::lock;
use crate::handle::RequestError;

/// Requests of clients that wait at most.
pub const REQUESTS_WAITING_MAX: usize = 8_192;
/// A submission that waited longer is refused instead of taken (A23): the core is behind,
/// and an answer that comes late is worth less than one that says so.
const SUBMISSION_WAIT_MAX: Duration = Duration::from_millis(500);
/// What clients are told to wait before the core has said anything, and at least, ms.
const RETRY_AFTER_MS_MIN: u32 = 250;
/// Results taken in one turn.
const RESULTS_PER_TURN_MAX: usize = 1_024;
/// Requests taken in one turn.
const REQUESTS_PER_TURN_MAX: usize = 64;

/// Messages of a class taken in one turn: the urgent ones get most of it, and none
/// starves.
const fn per_turn_max(class: Class) -> usize {
    match class {
        Class::Consensus => 128,
        Class::Shares => 64,
        Class::Lanes => 64,
        Class::Sync => 8,
    }
}

/// A part of a member's budget of unprocessed bytes; given back when dropped.
#[derive(Debug, Default)]
pub struct Charge {
    _permit: Option<OwnedSemaphorePermit>,
}

impl From<OwnedSemaphorePermit> for Charge {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: Some(permit),
        }
    }
}

/// A request of a client.
#[derive(Debug)]
pub enum Request {
    /// An order.
    Submit {
        /// The order.
        envelope: Arc<Envelope>,
        /// Takes the answer.
        reply: oneshot::Sender<Reply>,
    },
    /// A question.
    Query {
        /// The order asked for.
        ct_id: CtId,
        /// Takes the answer.
        reply: oneshot::Sender<Reply>,
    },
}

/// One thing for the core to do.
#[derive(Debug)]
pub enum Input {
    /// What came of an effect, or of a link.
    Result(Event),
    /// A message.
    Message {
        /// Its sender.
        from: MemberId,
        /// The message.
        message: Message,
        /// Given back after the step.
        charge: Charge,
    },
    /// A request of a client.
    Request(Request),
}

/// Messages of one class, one queue a member, served in turn.
#[derive(Default)]
struct Lane {
    queues: Vec<VecDeque<(Message, Charge)>>,
    len: usize,
    turn: usize,
}

impl Lane {
    fn push(&mut self, from: MemberId, message: Message, charge: Charge) {
        if self.queues.len() <= from.index() {
            self.queues.resize_with(from.index() + 1, VecDeque::new);
        }
        self.queues[from.index()].push_back((message, charge));
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Input> {
        let members = self.queues.len();
        for step in 0..members {
            let at = (self.turn + step) % members;
            if let Some((message, charge)) = self.queues[at].pop_front() {
                self.turn = at + 1;
                self.len -= 1;
                return Some(Input::Message {
                    from: MemberId(at as u8),
                    message,
                    charge,
                });
            }
        }
        None
    }
}

#[derive(Default)]
struct State {
    results: VecDeque<Event>,
    lanes: [Lane; Class::ALL.len()],
    requests: VecDeque<(Instant, Request)>,
    /// The core takes no requests for now: too many of them are unanswered.
    hold_requests: bool,
    /// See [`Inbox::retry_after`].
    retry_after_ms: u32,
    /// The core sleeps and was not woken yet.
    asleep: bool,
    closed: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.results.is_empty()
            && (self.requests.is_empty() || self.hold_requests)
            && self.lanes.iter().all(|lane| lane.len == 0)
    }

    fn retry_after_ms(&self) -> u32 {
        self.retry_after_ms.max(RETRY_AFTER_MS_MIN)
    }

    /// The next request; submissions that waited too long are refused on the way.
    fn next_request(&mut self) -> Option<Request> {
        loop {
            match self.requests.pop_front()? {
                (since, Request::Submit { reply, .. }) if since.elapsed() > SUBMISSION_WAIT_MAX => {
                    metrics::counter!("fairlane_requests_refused_total", "reason" => "waited")
                        .increment(1);
                    // Nobody may be waiting any more.
                    drop(reply.send(Reply::Refused(AdmissionError::OverCapacity {
                        retry_after_ms: self.retry_after_ms().into(),
                    })));
                }
                (_, request) => return Some(request),
            }
        }
    }

    /// Boundary rule 4: results, consensus, shares, lanes, submissions, sync last.
    fn take(&mut self, out: &mut Vec<Input>) {
        let results = self.results.len().min(RESULTS_PER_TURN_MAX);
        out.extend(self.results.drain(..results).map(Input::Result));
        for class in Class::ALL {
            if class == Class::Sync && !self.hold_requests {
                let requests = std::iter::from_fn(|| self.next_request());
                out.extend(requests.take(REQUESTS_PER_TURN_MAX).map(Input::Request));
            }
            let lane = &mut self.lanes[usize::from(class.code())];
            for _ in 0..per_turn_max(class) {
                let Some(input) = lane.pop() else { break };
                out.push(input);
            }
        }
    }
}

/// Queues in front of the core thread.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    filled: Condvar,
}

impl Inbox {
    /// Queues what came of an effect.
    pub fn result(&self, event: Event) {
        self.results([event]);
    }

    /// Queues several results, in order.
    pub fn results(&self, events: impl IntoIterator<Item = Event>) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.results.extend(events);
            self.wake(state);
        }
    }

    /// Queues a message of a member of the committee; its charge bounds the queue.
    pub fn message(&self, from: MemberId, class: Class, message: Message, charge: Charge) {
        debug_assert!(from.index() < MEMBERS_MAX, "links exist for members only");
        let mut state = lock(&self.state);
        if !state.closed {
            state.lanes[usize::from(class.code())].push(from, message, charge);
            self.wake(state);
        }
    }

    /// Wakes the core if it sleeps; it finds what is queued for itself if it does not.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.filled.notify_one();
        }
    }

    /// Queues a request of a client.
    ///
    /// # Errors
    /// [`RequestError`] when the queue is full or the core has stopped.
    pub fn request(&self, request: Request) -> Result<(), RequestError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(RequestError::Stopped);
        }
        if state.requests.len() >= REQUESTS_WAITING_MAX {
            metrics::counter!("fairlane_requests_refused_total", "reason" => "over_capacity")
                .increment(1);
            let retry_after_ms = state.retry_after_ms();
            return Err(RequestError::OverCapacity { retry_after_ms });
        }
        state.requests.push_back((Instant::now(), request));
        self.wake(state);
        Ok(())
    }

    /// Leaves requests where they are while too many of them are unanswered; the queue
    /// fills up, and then they are refused.
    pub fn hold_requests(&self, hold: bool) {
        lock(&self.state).hold_requests = hold;
    }

    /// What whoever is refused here is told to wait: the core's own measure, ms.
    pub fn retry_after(&self, wait_ms: u64) {
        lock(&self.state).retry_after_ms = u32::try_from(wait_ms).unwrap_or(u32::MAX);
    }

    /// Requests that wait.
    #[must_use]
    pub fn requests_waiting(&self) -> usize {
        lock(&self.state).requests.len()
    }

    /// Waits for something to do, at most for `wait`, and takes one turn's share of it.
    /// False when the inbox is closed.
    pub fn turn(&self, wait: Duration, out: &mut Vec<Input>) -> bool {
        let begun = Instant::now();
        let mut state = lock(&self.state);
        while state.is_empty() && !state.closed {
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            state.asleep = true;
            (state, _) = self
                .filled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
        }
        if state.closed {
            return false;
        }
        state.take(out);
        true
    }

    /// Drops what waits, refuses the rest and ends the core's loop.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        *state = State {
            closed: true,
            ..State::default()
        };
        self.filled.notify_all();
    }

    /// Publishes the lengths of the queues.
    pub fn publish_lengths(&self) {
        let state = lock(&self.state);
        let set = |queue: &'static str, len: usize| {
            metrics::gauge!("fairlane_inbox_waiting", "queue" => queue).set(len as f64);
        };
        set("results", state.results.len());
        set("requests", state.requests.len());
        for class in Class::ALL {
            set(class.name(), state.lanes[usize::from(class.code())].len);
        }
    }
}

#[cfg(test)]
mod tests {
    use fairlane_replica::Stage;
    use fairlane_types::{Digest, Height, LABEL_BYTES, SecretKey};

    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    fn query() -> (Request, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        (
            Request::Query {
                ct_id: CtId(Digest([7; 32])),
                reply,
            },
            answer,
        )
    }

    fn message(inbox: &Inbox, from: u8, class: Class) {
        inbox.message(MemberId(from), class, sample(class), Charge::default());
    }

    fn sample(class: Class) -> Message {
        crate::driver::tests::sample(class)
    }

    fn kinds(inputs: &[Input]) -> Vec<(&'static str, u8)> {
        inputs
            .iter()
            .map(|input| match input {
                Input::Result(_) => ("result", 0),
                Input::Message { from, message, .. } => (message.class().name(), from.0),
                Input::Request(_) => ("request", 0),
            })
            .collect()
    }

    #[test]
    fn a_turn_takes_the_most_urgent_first_and_members_in_turn() {
        let inbox = Inbox::default();
        let (request, _answer) = query();
        message(&inbox, 1, Class::Sync);
        inbox.request(request).unwrap();
        message(&inbox, 1, Class::Lanes);
        for from in [1, 1, 1, 3, 2] {
            message(&inbox, from, Class::Consensus);
        }
        inbox.result(Event::Connected(MemberId(1)));
        let mut out = Vec::new();
        assert!(inbox.turn(Duration::ZERO, &mut out));
        let want = [
            ("result", 0),
            ("consensus", 1),
            ("consensus", 2),
            ("consensus", 3),
            ("consensus", 1),
            ("consensus", 1),
            ("lanes", 1),
            ("request", 0),
            ("sync", 1),
        ];
        assert_eq!(kinds(&out), want);
    }

    #[test]
    fn a_flood_of_urgent_messages_starves_nobody() {
        let inbox = Inbox::default();
        for _ in 0..10_000 {
            message(&inbox, 1, Class::Consensus);
        }
        message(&inbox, 2, Class::Consensus);
        message(&inbox, 2, Class::Sync);
        let mut out = Vec::new();
        assert!(inbox.turn(Duration::ZERO, &mut out));
        assert!(out.len() < 1_000, "a turn is bounded");
        assert!(kinds(&out).contains(&("consensus", 2)));
        assert!(kinds(&out).contains(&("sync", 2)));
    }

    #[tokio::test]
    async fn requests_are_bounded_and_the_refusal_has_a_code() {
        let inbox = Inbox::default();
        let mut answers = Vec::new();
        for _ in 0..REQUESTS_WAITING_MAX {
            let (request, answer) = query();
            inbox.request(request).unwrap();
            answers.push(answer);
        }
        let refused = inbox.request(query().0).unwrap_err();
        assert_eq!(
            (refused, refused.code()),
            (
                RequestError::OverCapacity {
                    retry_after_ms: RETRY_AFTER_MS_MIN
                },
                "over_capacity"
            )
        );
        let mut out = Vec::new();
        assert!(inbox.turn(Duration::ZERO, &mut out));
        inbox.request(query().0).unwrap();
        let Some(Input::Request(Request::Query { reply, .. })) = out.into_iter().next() else {
            panic!("no request");
        };
        let stage = Reply::Status(Some(Stage::Final { height: Height(1) }));
        reply.send(stage.clone()).unwrap();
        assert_eq!(answers.remove(0).await, Ok(stage));
        inbox.hold_requests(true);
        out = Vec::new();
        assert!(inbox.turn(Duration::ZERO, &mut out));
        assert!(out.is_empty(), "requests are left where they are");
        assert_eq!(
            inbox.requests_waiting(),
            REQUESTS_WAITING_MAX - REQUESTS_PER_TURN_MAX + 1
        );
        // Whoever still waits learns that there will be no answer.
        inbox.close();
        assert!(answers.pop().unwrap().await.is_err());
        assert_eq!(inbox.request(query().0), Err(RequestError::Stopped));
        assert!(!inbox.turn(WAIT, &mut Vec::new()));
    }

    #[tokio::test]
    async fn a_submission_that_waited_too_long_is_refused_and_not_taken() {
        let inbox = Inbox::default();
        let submit = || {
            let label = fairlane_types::decode(&[0; LABEL_BYTES], LABEL_BYTES).unwrap();
            let envelope = Envelope::sign(label, Vec::new(), &SecretKey::from_seed([1; 32]));
            let (reply, answer) = oneshot::channel();
            let envelope = Arc::new(envelope);
            (Request::Submit { envelope, reply }, answer)
        };
        let (old, refused) = submit();
        let (question, _asked) = query();
        let long_ago = Instant::now().checked_sub(2 * SUBMISSION_WAIT_MAX).unwrap();
        {
            let mut state = lock(&inbox.state);
            state.requests.push_back((long_ago, old));
            state.requests.push_back((long_ago, question));
        }
        let (new, _open) = submit();
        inbox.request(new).unwrap();
        let mut out = Vec::new();
        assert!(inbox.turn(Duration::ZERO, &mut out));
        let taken: Vec<_> = out
            .iter()
            .map(|input| matches!(input, Input::Request(Request::Submit { .. })))
            .collect();
        assert_eq!(taken, [false, true], "the question and the new one");
        let answer = refused.await.unwrap();
        assert!(matches!(
            answer,
            Reply::Refused(AdmissionError::OverCapacity { .. })
        ));
    }

    #[test]
    fn a_turn_waits_until_something_comes_or_time_is_up() {
        let inbox = Arc::new(Inbox::default());
        let mut out = Vec::new();
        assert!(inbox.turn(Duration::from_millis(2), &mut out));
        assert!(out.is_empty());
        let pushing = Arc::clone(&inbox);
        let start = Instant::now();
        let thread = std::thread::spawn(move || pushing.result(Event::Start));
        assert!(inbox.turn(WAIT, &mut out));
        assert_eq!(out.len(), 1);
        assert!(start.elapsed() < WAIT);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn a_charge_comes_back_when_the_core_is_done_with_the_message() {
        let budget = Arc::new(tokio::sync::Semaphore::new(10));
        let inbox = Inbox::default();
        let permit = Arc::clone(&budget).acquire_many_owned(8).await.unwrap();
        inbox.message(
            MemberId(1),
            Class::Lanes,
            sample(Class::Lanes),
            Charge::from(permit),
        );
        assert_eq!(budget.available_permits(), 2);
        let mut out = Vec::new();
        assert!(inbox.turn(Duration::ZERO, &mut out));
        assert_eq!(budget.available_permits(), 2);
        out.clear();
        assert_eq!(budget.available_permits(), 10);
    }
}

//! One member's API, typed.

use std::time::Duration;

use bytes::Bytes;
use fairlane_encryption::{Attestation, Beacon, StateAttestation, leads_on};
use fairlane_types::{
    CommitteeChange, CtId, Envelope, Epoch, Genesis, Handover, Height, KeySource, PublicKey,
    Receipt, SequencedBlock, StateClaim,
};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::http::Http;
use crate::wire::{
    self, AccountBody, AttestationBody, BINARY, BatchResult, CertBody, EpochBody, ExecutedBody,
    Frame, FrameReader, InfoBody, JSON, OrderBody, ProofBody, StatusBody, SubmitBody, Wait,
};
use crate::{ClientError, Pin, PinError};

/// A stream that says nothing for this long is dead: heartbeats come every second.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A member's public address (or its ops address, for [`Member::status`]).
#[derive(Clone, Debug)]
pub struct Member {
    http: Http,
    limit: Duration,
}

impl Member {
    /// A member at `http://host:port` or `host:port`.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(address: &str) -> Result<Self, ClientError> {
        Ok(Self {
            http: Http::new(address)?,
            limit: Duration::from_secs(15),
        })
    }

    /// Changes how long an answer may take; waits come on top of it.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.http.base()
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let call = self
            .http
            .call(Method::GET, path, None, JSON, Bytes::new(), self.limit);
        self.json(&call.await?.1)
    }

    fn json<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(bytes).map_err(|error| self.http.protocol(error))
    }

    fn block(&self, bytes: &[u8]) -> Result<SequencedBlock, ClientError> {
        fairlane_types::decode(bytes, wire::FRAME_BYTES_MAX)
            .map_err(|error| self.http.protocol(error))
    }

    /// `GET /v1/info`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn info(&self) -> Result<InfoBody, ClientError> {
        self.get("/v1/info").await
    }

    /// `GET /v1/epochs/current`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn epoch(&self) -> Result<EpochBody, ClientError> {
        self.get("/v1/epochs/current").await
    }

    /// `GET /v1/genesis`, and the activation of the key where the genesis names none; checked
    /// in themselves: compare [`Pin::hash`] with the one expected.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn genesis(&self) -> Result<Pin, ClientError> {
        let call = self.http.call(
            Method::GET,
            "/v1/genesis",
            None,
            JSON,
            Bytes::new(),
            self.limit,
        );
        let genesis = Pin::parse(&call.await?.1).map_err(|error| self.http.protocol(error))?;
        self.pin(genesis).await
    }

    /// A pin of a genesis that is trusted; the activation of the key, where the genesis
    /// names none, comes from this member and is checked.
    ///
    /// # Errors
    /// [`ClientError`]; code `no_encryption_key` while the members have not made one.
    pub async fn pin(&self, genesis: Genesis) -> Result<Pin, ClientError> {
        let epoch = self.info().await?.epoch;
        if genesis.epoch().0 < epoch {
            let mut seen = Vec::new();
            let look = |genesis: &Genesis| seen.push(genesis.clone());
            let genesis = self.genesis_in(genesis, Epoch(epoch), look).await?;
            let wrong = |error: PinError| self.http.protocol(error);
            let mut pin = Pin::new(genesis).map_err(wrong)?;
            for genesis in &seen {
                pin.remember(genesis).map_err(wrong)?;
            }
            return Ok(pin);
        }
        let activation = match genesis.encryption.source {
            KeySource::InsecureDealer | KeySource::Reshared => None,
            KeySource::Ceremony => {
                let bytes = self.epoch().await?.activation;
                let read = fairlane_types::decode(&bytes, bytes.len());
                Some(read.map_err(|error| self.http.protocol(error))?)
            }
        };
        Pin::activated(genesis, activation).map_err(|error| self.http.protocol(error))
    }

    /// The pin of the present epoch, from one of an earlier epoch: what a client that was told
    /// [`ErrorCode::OldKey`](crate::wire::ErrorCode::OldKey) seals with from then on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pin_after(&self, pin: &Pin) -> Result<Pin, ClientError> {
        let epoch = self.info().await?.epoch;
        let mut at = pin.clone();
        while at.genesis().epoch().0 < epoch {
            let handover = self.handover(at.genesis().epoch().next()).await?;
            let next = at.handed_over(handover);
            at = next.map_err(|error| self.http.protocol(error))?;
        }
        Ok(at)
    }

    /// The genesis of the present epoch, from one that is trusted: one committee's word after
    /// the other leads there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn present_genesis(&self, genesis: Genesis) -> Result<Genesis, ClientError> {
        self.walk_geneses(genesis, |_| {}).await
    }

    /// As [`present_genesis`](Self::present_genesis), with a look at the genesis of each epoch
    /// on the way, first and last included.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn walk_geneses(
        &self,
        genesis: Genesis,
        look: impl FnMut(&Genesis),
    ) -> Result<Genesis, ClientError> {
        let epoch = self.info().await?.epoch;
        self.genesis_in(genesis, Epoch(epoch), look).await
    }

    async fn genesis_in(
        &self,
        genesis: Genesis,
        epoch: Epoch,
        mut look: impl FnMut(&Genesis),
    ) -> Result<Genesis, ClientError> {
        let mut at = genesis;
        look(&at);
        while at.epoch() < epoch {
            let handover = self.handover(at.epoch().next()).await?;
            let holds = leads_on(&handover, &at, None);
            holds.map_err(|error| self.http.protocol(error))?;
            at = handover.genesis;
            look(&at);
        }
        Ok(at)
    }

    /// `GET /v1/epochs/{epoch}/handover`: what began an epoch. Not checked here: see
    /// [`Pin::handed_over`].
    ///
    /// # Errors
    /// [`ClientError`]; code `not_found` when this member did not begin that epoch.
    pub async fn handover(&self, epoch: Epoch) -> Result<Handover, ClientError> {
        let bytes = self.bytes(&format!("/v1/epochs/{epoch}/handover")).await?;
        fairlane_types::decode(&bytes, bytes.len()).map_err(|error| self.http.protocol(error))
    }

    /// `GET /v1/epochs/{epoch}/base`: all that a member begins an epoch with, borsh, unchecked, if
    /// it is no longer than `bytes_max`.
    ///
    /// # Errors
    /// [`ClientError`]; code `not_found` when this member did not begin that epoch.
    pub async fn epoch_base(&self, epoch: Epoch, bytes_max: usize) -> Result<Bytes, ClientError> {
        let path = format!("/v1/epochs/{epoch}/base");
        self.http.large(&path, bytes_max, self.limit).await
    }

    /// `POST /admin/committee` of an ops port: hands in a change that a quorum approved.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change_committee(&self, change: &CommitteeChange) -> Result<(), ClientError> {
        let body = serde_json::to_vec(change).map_err(|error| self.http.protocol(error))?;
        let call = self.http.call(
            Method::POST,
            "/admin/committee",
            Some(JSON),
            JSON,
            Bytes::from(body),
            self.limit,
        );
        call.await.map(|_| ())
    }

    /// Submits; answers with the receipt once it is durable. The receipt's signature is
    /// not checked here: see [`check_receipt`](crate::check_receipt).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn submit(&self, envelope: &Envelope) -> Result<Receipt, ClientError> {
        let body = Bytes::from(fairlane_types::encode(envelope));
        let call = self.http.call(
            Method::POST,
            "/v1/orders",
            Some(BINARY),
            BINARY,
            body,
            self.limit,
        );
        fairlane_types::decode(&call.await?.1, 4 << 10).map_err(|error| self.http.protocol(error))
    }

    /// Submits and waits for more than the receipt.
    ///
    /// # Errors
    /// [`ClientError`]; code `timeout` leaves the order running.
    pub async fn submit_and_wait(
        &self,
        envelope: &Envelope,
        wait: Wait,
        limit: Duration,
    ) -> Result<SubmitBody, ClientError> {
        let ms = (limit.as_millis() as u64).min(wire::WAIT_MS_MAX);
        let path = format!("/v1/orders?wait={}&timeout_ms={ms}", wait.word());
        let body = Bytes::from(fairlane_types::encode(envelope));
        let limit = self.limit + limit;
        let call = self
            .http
            .call(Method::POST, &path, Some(BINARY), JSON, body, limit);
        self.json(&call.await?.1)
    }

    /// Submits up to [`wire::BATCH_MAX`] envelopes; one result for each, in order.
    ///
    /// # Errors
    /// [`ClientError`] when the batch as a whole is refused.
    pub async fn submit_batch(
        &self,
        envelopes: &[Envelope],
    ) -> Result<Vec<BatchResult>, ClientError> {
        let body = Bytes::from(fairlane_types::encode(envelopes));
        let call = self.http.call(
            Method::POST,
            "/v1/orders/batch",
            Some(BINARY),
            BINARY,
            body,
            self.limit,
        );
        let results: Vec<BatchResult> = fairlane_types::decode(&call.await?.1, 1 << 20)
            .map_err(|error| self.http.protocol(error))?;
        if results.len() == envelopes.len() {
            Ok(results)
        } else {
            Err(self.http.protocol("another number of results than orders"))
        }
    }

    /// `GET /v1/orders/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn order(&self, id: CtId) -> Result<OrderBody, ClientError> {
        self.get(&format!("/v1/orders/{id}")).await
    }

    /// `GET /v1/orders/{id}/proof`; see [`check_proof`](crate::check_proof).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn proof(&self, id: CtId) -> Result<ProofBody, ClientError> {
        self.get(&format!("/v1/orders/{id}/proof")).await
    }

    /// `GET /v1/orders/{id}/blind`: the blind-order receipt, borsh.
    ///
    /// # Errors
    /// [`ClientError`]; code `not_found` while it has no place, or is not attested.
    pub async fn blind(&self, id: CtId) -> Result<Bytes, ClientError> {
        self.bytes(&format!("/v1/orders/{id}/blind")).await
    }

    /// `GET /v1/blocks/{height}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn block_at(&self, height: Height) -> Result<SequencedBlock, ClientError> {
        let bytes = self.bytes(&format!("/v1/blocks/{height}")).await?;
        self.block(&bytes)
    }

    /// `GET /v1/certs/{height}`; see [`verify_certificate`](crate::verify_certificate).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn certificate(&self, height: Height) -> Result<CertBody, ClientError> {
        self.get(&format!("/v1/certs/{height}")).await
    }

    /// `GET /v1/attestations/{height}`: the first attestation at or above a height, or the
    /// latest one. [`Attestation::verify`] tells whether it is the committee's.
    ///
    /// # Errors
    /// [`ClientError`]; code `not_found` when there is none yet.
    pub async fn attestation(&self, from: Option<Height>) -> Result<Attestation, ClientError> {
        let body: AttestationBody = match from {
            Some(height) => self.get(&format!("/v1/attestations/{height}")).await?,
            None => self.get("/v1/attestations/latest").await?,
        };
        body.try_into()
            .map_err(|error: wire::WireError| self.http.protocol(error))
    }

    /// `GET /v1/beacons/{height}`: what broke the ties of a height. [`Beacon::verify`] tells
    /// whether it is the committee's.
    ///
    /// # Errors
    /// [`ClientError`]; code `not_found` where nothing was tied.
    pub async fn beacon(&self, height: Height) -> Result<Beacon, ClientError> {
        let body: wire::BeaconBody = self.get(&format!("/v1/beacons/{height}")).await?;
        body.try_into()
            .map_err(|error: wire::WireError| self.http.protocol(error))
    }

    /// `GET /v1/blocks?from=&until=`: blocks `from ≤ height < until`, as many as fit a page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn blocks(
        &self,
        from: Height,
        until: Height,
    ) -> Result<Vec<SequencedBlock>, ClientError> {
        let bytes = self
            .bytes(&format!("/v1/blocks?from={from}&until={until}"))
            .await?;
        let mut frames = FrameReader::default();
        frames.push(&bytes);
        let mut blocks = Vec::new();
        while let Some(frame) = frames
            .next_frame()
            .map_err(|error| self.http.protocol(error))?
        {
            match frame {
                Frame::Block(block) => blocks.push(block),
                _ => return Err(self.http.protocol("a page of blocks holds nothing else")),
            }
        }
        Ok(blocks)
    }

    /// `GET /v1/execution/{height}`: what the clearing house of this member made of a block.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn executed(&self, height: Height) -> Result<ExecutedBody, ClientError> {
        self.get(&format!("/v1/execution/{height}")).await
    }

    /// `GET /v1/execution/{height}/claim`: this member's signed word on the state there. The
    /// signature is not checked here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn state_claim(&self, height: Height) -> Result<StateClaim, ClientError> {
        let body: wire::ClaimBody = self.get(&format!("/v1/execution/{height}/claim")).await?;
        body.try_into()
            .map_err(|error: wire::WireError| self.http.protocol(error))
    }

    /// `GET /v1/markets`: the markets at the head.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn markets(&self) -> Result<Vec<wire::MarketBody>, ClientError> {
        self.get("/v1/markets").await
    }

    /// `GET /v1/changes`: changes of parameters that are on their way.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn changes(&self) -> Result<Vec<wire::ProposalBody>, ClientError> {
        self.get("/v1/changes").await
    }

    /// `GET /v1/account/{key}`: an account, as this member has it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn account(&self, key: &PublicKey) -> Result<AccountBody, ClientError> {
        self.get(&format!("/v1/account/{key}")).await
    }

    /// `GET /v1/account/{key}/attested`: an account under a state that the committee has
    /// signed; see [`check_attested_account`](crate::check_attested_account). The member
    /// waits for the next such height.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn attested_account(
        &self,
        key: &PublicKey,
    ) -> Result<wire::AttestedAccountBody, ClientError> {
        self.get(&format!("/v1/account/{key}/attested")).await
    }

    /// `GET /v1/states/{height}`: the first attested state at or above a height, or the
    /// latest one. [`StateAttestation::verify`] tells whether it is the committee's.
    ///
    /// # Errors
    /// [`ClientError`]; code `not_found` when there is none yet.
    pub async fn state(&self, from: Option<Height>) -> Result<StateAttestation, ClientError> {
        let body: wire::StateAttestationBody = match from {
            Some(height) => self.get(&format!("/v1/states/{height}")).await?,
            None => self.get("/v1/states/latest").await?,
        };
        body.try_into()
            .map_err(|error: wire::WireError| self.http.protocol(error))
    }

    /// `GET /v1/audit/start`: where an audit can begin, borsh.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_start(&self) -> Result<Bytes, ClientError> {
        self.bytes("/v1/audit/start").await
    }

    /// `GET /v1/audit?from=`: what an auditor needs of the heights from there on, as far as
    /// it fits one answer; each step is preceded by its length.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit_steps(&self, from: Height) -> Result<Bytes, ClientError> {
        self.bytes(&format!("/v1/audit?from={from}")).await
    }

    /// `GET /v1/evidence`: proofs of misbehaviour that this member holds. They are not
    /// checked here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn evidence(&self) -> Result<wire::EvidenceBody, ClientError> {
        self.get("/v1/evidence").await
    }

    async fn bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        let call = self
            .http
            .call(Method::GET, path, None, BINARY, Bytes::new(), self.limit);
        Ok(call.await?.1)
    }

    /// `GET /v1/status` of an ops port.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<StatusBody, ClientError> {
        self.get("/v1/status").await
    }

    /// `GET /metrics` of an ops port.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let call = self.http.call(
            Method::GET,
            "/metrics",
            None,
            "text/plain",
            Bytes::new(),
            self.limit,
        );
        String::from_utf8(call.await?.1.into()).map_err(|error| self.http.protocol(error))
    }

    /// `GET /v1/stream?from=`: every block from a height on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stream(&self, from: Height) -> Result<Stream, ClientError> {
        self.open_stream(Some(from), false).await
    }

    /// A stream from a height on, or from the first that is kept, with or without the
    /// attestations that cover its blocks.
    pub(crate) async fn open_stream(
        &self,
        from: Option<Height>,
        attestations: bool,
    ) -> Result<Stream, ClientError> {
        let mut path = format!("/v1/stream?attestations={attestations}");
        if let Some(from) = from {
            path.push_str(&format!("&from={from}"));
        }
        let open = tokio::time::timeout(self.limit, self.http.open(&path, BINARY));
        let body = open.await.map_err(|_| ClientError::TimedOut {
            url: self.address().into(),
            ms: self.limit.as_millis() as u64,
        })??;
        Ok(Stream {
            http: self.http.clone(),
            body,
            frames: FrameReader::default(),
        })
    }
}

/// A running stream of one member.
#[derive(Debug)]
pub struct Stream {
    http: Http,
    body: Incoming,
    frames: FrameReader,
}

impl Stream {
    /// The next frame; an end without [`Frame::Eof`] is an error.
    ///
    /// # Errors
    /// [`ClientError`]; open a new stream then, at this or at another member.
    pub async fn next(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(frame) = self
                .frames
                .next_frame()
                .map_err(|error| self.http.protocol(error))?
            {
                return Ok(frame);
            }
            let gone = |reason: String| ClientError::Unreachable {
                url: self.http.base().into(),
                reason,
            };
            match tokio::time::timeout(SILENCE_MAX, self.body.frame()).await {
                Err(_) => {
                    return Err(ClientError::TimedOut {
                        url: self.http.base().into(),
                        ms: SILENCE_MAX.as_millis() as u64,
                    });
                }
                Ok(None) => return Err(gone("the stream ended".into())),
                Ok(Some(Err(error))) => return Err(gone(error.to_string())),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.frames.push(&data);
                    }
                }
            }
        }
    }
}

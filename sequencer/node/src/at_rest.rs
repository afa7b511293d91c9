//! What a home serves while no node runs on it: the epochs and the sequence that it has, to those who
//! follow or join (PROTOCOL §6). Those who stay may all be down, and of those who come nobody may
//! know; then who has left is the only one that others find.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fairlane_types::MemberId;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::api;
use crate::config::Config;
use crate::epochs::{Resting, Standing};
use crate::handle::{NodeHandle, NodeStatus, Shared};
use crate::inbox::Inbox;
use crate::listening::listen;
use crate::node::StartError;

/// Who has no place in the epoch that the folder is in.
const NOBODY: MemberId = MemberId(u8::MAX);

/// A server that runs until it is stopped or dropped.
pub struct Serving {
    handle: NodeHandle,
    server: JoinSet<()>,
}

impl Serving {
    /// Ends once requests under way have their answers, or have had time for them.
    pub async fn stop(mut self) {
        self.handle.stop();
        while self.server.join_next().await.is_some() {}
    }
}

impl Resting {
    /// Serves what is here at the address of the API, from where the home stands now.
    ///
    /// # Errors
    /// [`StartError`] when the address is not to be had, or the home cannot be read.
    pub async fn serve(&self, config: &Config, standing: &Standing) -> Result<Serving, StartError> {
        let listener = listen("api", config.listen_api).await?;
        let reader = self.reader();
        let emitted = reader
            .emitted_range()?
            .map_or_else(Default::default, |(_, last)| last);
        let status = NodeStatus {
            emitted_height: emitted,
            draining: true,
            ..NodeStatus::default()
        };
        let handle = NodeHandle::new(Shared {
            origin: Arc::new(self.home().genesis()?),
            genesis: Arc::new(standing.genesis.clone()),
            key: Default::default(),
            me: standing.member.unwrap_or(NOBODY),
            inbox: Arc::new(Inbox::default()),
            reader,
            status: watch::channel(status).1,
            heads: watch::channel(emitted).1,
            blocks: broadcast::channel(1).0,
            draining: AtomicBool::new(true),
            stop: watch::Sender::new(false),
            metrics: None,
            log_control: None,
            executor: None,
            identity: Arc::new(self.home().identity()?),
        });
        let limits = config.api.limits(api::ApiLimits::default());
        let (router, stopping) = (
            api::at_rest(handle.clone(), limits.clone()),
            handle.stopping(),
        );
        let mut server = JoinSet::new();
        server.spawn(api::serve(listener, router, limits, stopping));
        Ok(Serving { handle, server })
    }
}

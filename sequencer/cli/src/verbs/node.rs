//! `fairlane node`.

use std::future::Future;
use std::io::Read;
use std::sync::Arc;

use fairlane_node::config::{Config, Overrides};
use fairlane_node::epochs::Resting;
use fairlane_node::home::{Home, HomeError};
use fairlane_node::node::{Ended, Node, NodeOptions, StartError, shutdown_signal};
use fairlane_node::telemetry::install_metrics;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

use crate::args::NodeArgs;
use crate::exit::{Exit, Outcome, Problem};
use crate::seeking::{self, Ahead, Known};

impl From<HomeError> for Problem {
    fn from(error: HomeError) -> Self {
        Self::preflight(error)
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let exit = match error {
            StartError::Home(_) | StartError::Listen { .. } | StartError::Descriptors(_) => {
                Exit::Preflight
            }
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

/// Flags, then the environment; `config.toml` comes below both.
pub fn overrides(log: Option<&str>) -> Outcome<Overrides> {
    let flags = Overrides {
        log: log.map(str::to_owned),
        ..Overrides::default()
    };
    let env = Overrides::from_env(|name| std::env::var(name).ok()).map_err(Problem::usage)?;
    Ok(flags.or(env))
}

/// Runs until SIGTERM, Ctrl-C or a failure.
pub fn run(args: NodeArgs, log: Option<&str>) -> Outcome {
    let overrides = overrides(log)?;
    // Read once before anything starts, for the log filter and for early errors.
    let home = Home::open(&args.home)?;
    let config = Config::load(&home, overrides.clone())?;
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| Problem::usage(format!("log = {:?}: {error}", config.log)))?;
    let (filter, handle) = reload::Layer::new(filter);
    tracing_subscriber::registry()
        .with(filter)
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(super::log_colour()),
        )
        .init();
    let mut options = NodeOptions::new(&args.home);
    options.overrides = overrides;
    options.passphrase = super::keys::passphrase(&args.passphrase)?.map(Arc::new);
    options.metrics = Some(install_metrics().map_err(Problem::failed)?);
    options.log_control = Some(Arc::new(move |text: &str| {
        let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = async {
            if args.stop_with_stdin {
                tokio::select! {
                    () = shutdown_signal() => {}
                    () = stdin_closed() => {}
                }
            } else {
                shutdown_signal().await;
            }
        };
        epochs(
            &home.with_passphrase(options.passphrase.clone()),
            options,
            stop,
        )
        .await
    })
}

/// One epoch after the other.
async fn epochs(home: &Home, options: NodeOptions, stop: impl Future<Output = ()>) -> Outcome {
    let mut stop = std::pin::pin!(stop);
    let mut ahead: Option<Ahead> = None;
    let mut ran = false;
    loop {
        let config = Config::load(home, options.overrides.clone())?;
        let mut resting = match Resting::open(home, &config) {
            // It could be opened when the process began: another start may help.
            Err(error) if ran => return Err(Problem::failed(error)),
            opened => opened?,
        };
        ran = true;
        if let Some(ahead) = &ahead {
            resting.leave(&ahead.base.handover)?;
        }
        let running = seeking::until_it_runs(&mut resting, &config, ahead.take(), stop.as_mut());
        let Some(standing) = running.await? else {
            return Ok(());
        };
        let members = seeking::sources(&config, &standing)?;
        let known = Known::by(&standing);
        let node = Node::start_from(options.clone(), resting, standing).await?;
        let handle = node.handle();
        let ended = {
            let looking = async {
                // Where no other API is known, nothing can be learnt from them.
                if members.is_empty() {
                    std::future::pending::<()>().await;
                }
                seeking::left_behind(members, known, handle).await
            };
            let stopped = async {
                tokio::select! {
                    () = stop.as_mut() => {}
                    found = looking => ahead = Some(found),
                }
            };
            node.run(stopped).await.map_err(Problem::failed)?
        };
        // What comes after its end is on disk, or others have it: `until_it_runs` looks.
        if matches!(ended, Ended::Stopped) && ahead.is_none() {
            return Ok(());
        }
    }
}

/// The API and the links: two threads at least, and more where there are more cores.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8))
}

/// Ready when the parent has closed our stdin, or is gone.
async fn stdin_closed() {
    let (closed, seen) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own: a blocking read in the runtime would hold up its end.
    std::thread::spawn(move || {
        let mut byte = [0];
        while !matches!(std::io::stdin().lock().read(&mut byte), Ok(0) | Err(_)) {}
        drop(closed);
    });
    let _ = seen.await;
}

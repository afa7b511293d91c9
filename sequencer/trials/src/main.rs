//! A member that follows the whole protocol but lies about decryption shares: wrong,
//! empty, duplicate, foreign and late ones by turns, or one kind of them; its lies come
//! first, since it makes them up without computing anything (THREATS A6, A7, A8). Or one that
//! lies while keys are made, in its present epoch. A test program.
//!
//! Usage: `fairlane-liar --home DIR [--stop-with-stdin] [--lie KIND|dealings]`, with the passphrase
//! of its key files where `fairlane node` has it, but for the flag.

mod dealings;
mod lies;

use std::process::ExitCode;
use std::sync::Arc;

use fairlane_node::epochs::Present;
use fairlane_node::home::{self, Home};
use fairlane_node::node::{Node, NodeOptions, shutdown_signal};
use fairlane_node::passphrase::Passphrase;
use tokio::io::AsyncReadExt;

use fairlane_node::tamper::Tamper;

use crate::dealings::FalseDealer;
use crate::lies::{Liar, Lie};

/// The word for lies while keys are made.
const DEALINGS: &str = "dealings";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fairlane-liar: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut home = None;
    let (mut lie, mut deals) = (None, false);
    let mut with_stdin = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--home" => home = args.next(),
            "--stop-with-stdin" => with_stdin = true,
            "--lie" => {
                let kind = args.next().ok_or("--lie is without a kind")?;
                if kind == DEALINGS {
                    deals = true;
                    continue;
                }
                let named = Lie::named(&kind);
                lie = Some(named.ok_or_else(|| format!("there is no lie {kind}"))?);
            }
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let folder = home.ok_or("--home is missing")?;
    let passphrase = Passphrase::find(None, |name| std::env::var(name).ok())?;
    let passphrase = passphrase.map(Arc::new);
    let home = Home::open(folder.clone())?.with_passphrase(passphrase.clone());
    let mut options = NodeOptions::new(folder);
    options.passphrase = passphrase;
    options.tamper = Some(match deals {
        true => false_dealer(&home)?,
        false => liar(&home, lie)?,
    });
    let node = Node::start(options).await?;
    let parent_gone = async {
        if with_stdin {
            let mut byte = [0];
            while tokio::io::stdin()
                .read(&mut byte)
                .await
                .is_ok_and(|n| n > 0)
            {}
        } else {
            std::future::pending::<()>().await;
        }
    };
    let shutdown = async {
        tokio::select! {
            () = shutdown_signal() => {}
            () = parent_gone => {}
        }
    };
    node.run(shutdown).await?;
    Ok(())
}

type Lying = Result<Arc<dyn Tamper>, Box<dyn std::error::Error>>;

fn liar(home: &Home, lie: Option<Lie>) -> Lying {
    let genesis = home.genesis()?;
    let identity = home.identity()?;
    let me = home::member_of(home, &genesis, &identity.public())?;
    let key = home::encryption_key(&genesis)?;
    let liar = Liar::new(&genesis, key.as_ref(), me, identity, lie);
    Ok(Arc::new(liar))
}

fn false_dealer(home: &Home) -> Lying {
    let genesis = Present::of(home)?.genesis;
    let identity = home.identity()?;
    let me = home::member_of(home, &genesis, &identity.public())?;
    Ok(Arc::new(FalseDealer::new(&genesis, me, identity)))
}

//! A committee that hands over to one whose machines are not up yet, without a common member or
//! with one that is down, is stopped and killed meanwhile: those who come still find what their epoch begins with, and every
//! order that the others acknowledged (PROTOCOL §6, THREATS A27).

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fairlane_client::Member;
use fairlane_node::testnet::{self, InitOptions};

use crate::common::{PATIENCE, free_ports, pause};
use crate::traders::{RATE, Sent, trade};
use crate::{Machine, decide, first_four, join, outcomes_of, sequence};

const AT_REST: &str = "no member of this epoch: waiting for the next epoch=1";

impl Machine {
    /// How often its log says something.
    fn says(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(self.home.join("node.log")).unwrap_or_default();
        text.matches(what).count()
    }

    async fn is_at_rest(&self, times: usize) {
        let is_so = async || self.says(AT_REST) >= times;
        self.waits_until("is not at rest", is_so).await;
    }

    /// It is asked to stop and does.
    async fn stops(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let asked = Command::new("kill").arg(child.id().to_string()).status();
        assert!(asked.unwrap().success());
        let until = Instant::now() + PATIENCE;
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(ended) => break ended,
                None if Instant::now() < until => pause().await,
                None => {
                    drop(child.kill());
                    panic!("{} does not stop\n{}", self.port, self.log());
                }
            }
        };
        assert!(ended.success(), "{ended:?}\n{}", self.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_leave_serve_those_who_come_whatever_happens_to_them_meanwhile() {
    serve(&[0, 1, 2, 3], None).await;
}

/// One member stays, and is down at the boundary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_leave_serve_where_the_one_who_stays_is_down() {
    serve(&[0, 1, 2], Some(3)).await;
}

async fn serve(leavers: &[usize], stays: Option<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.port = free_ports(8);
    options.reserve_mb = 64;
    let net = testnet::init(&options, |_| {}).unwrap();
    let mut machines = first_four(&net);
    for machine in &mut machines {
        machine.spawn();
    }
    for machine in &mut machines {
        machine.ready_in(0).await;
    }
    let joiners = 4..4 + leavers.len();
    join(dir.path(), &mut machines, 4..joiners.end as u16);
    let next: Vec<usize> = stays.into_iter().chain(joiners.clone()).collect();
    for joiner in joiners.clone() {
        machines[joiner].kill();
    }
    let pin = machines[0].api.pin(net.genesis.clone()).await.unwrap();
    let apis: Vec<Member> = machines.iter().map(|machine| machine.api.clone()).collect();
    let (sent, stop) = (
        Arc::new(Mutex::new(Sent::default())),
        Arc::new(AtomicBool::new(false)),
    );
    let load = tokio::spawn(trade(
        Arc::new(Mutex::new(pin)),
        apis,
        RATE,
        (Arc::clone(&sent), Arc::clone(&stop)),
    ));
    decide((dir.path(), "fresh"), &machines, &[0, 1, 2, 3], &next, 1);
    if let Some(machine) = stays {
        machines[machine].kill();
    }
    for leaver in leavers {
        machines[*leaver].is_at_rest(1).await;
    }
    machines[0].stops().await;
    for leaver in &leavers[1..] {
        machines[*leaver].kill();
    }
    for leaver in leavers {
        machines[*leaver].spawn();
    }
    for leaver in leavers {
        machines[*leaver].is_at_rest(2).await;
    }
    for joiner in joiners.clone() {
        machines[joiner].spawn();
    }
    for joiner in joiners {
        machines[joiner].ready_in(1).await;
    }
    if let Some(machine) = stays {
        machines[machine].spawn();
        machines[machine].ready_in(1).await;
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();

    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let reference = sequence(&machines[4], &sent).await;
    sent.complete(&outcomes_of(&reference));
    let epochs: BTreeSet<u64> = reference.iter().map(|block| block.epoch.0).collect();
    assert_eq!(epochs, BTreeSet::from([0, 1]));
    println!(
        "{} orders acknowledged, all there, each once",
        sent.acknowledged.len()
    );
}

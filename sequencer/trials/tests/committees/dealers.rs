//! f members of a committee deal falsely, and lie about what follows, while another one is down, in
//! each phase: the first keys, four machines and four others, 4 → 7, 7 → 4 (THREATS A18, A19, A27).
//! The true dealings are just enough: none counts that should not, and none is missing for ever.
//! The first keys and four others also with scheme baek-zheng, on a chain that is no experiment.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fairlane_client::Member;
use fairlane_node::epochs::Present;
use fairlane_node::home::Home;
use fairlane_node::passphrase::Passphrase;
use fairlane_node::testnet::{self, InitOptions};
use fairlane_types::{Epoch, Genesis, Scheme};

use crate::clear::{Disk, heights, nothing_was_shown_early};
use crate::common::free_ports;
use crate::traders::{RATE, Sent, by_epoch, trade};
use crate::{
    KEY_GRACE_MS, Machine, PASSPHRASE, Recorder, a_file_over_all_epochs_verifies, decide,
    first_four, join, outcomes_of, sequence, verified,
};

/// Orders a second where each costs a member some 8 ms.
const FEW: u64 = 10;
/// Fewest acknowledged orders of a run.
const ORDERS_MIN: usize = 80;

/// Who follows whom, who of the ones before lies, and who of them is down until a lie is judged.
struct Phase {
    next: &'static [usize],
    liars: &'static [usize],
    down: usize,
}

const PHASES: [Phase; 3] = [
    Phase {
        next: &[4, 5, 6, 7],
        liars: &[1],
        down: 2,
    },
    Phase {
        next: &[1, 2, 3, 4, 5, 6, 7],
        liars: &[7],
        down: 6,
    },
    Phase {
        next: &[0, 2, 3, 6],
        liars: &[1, 7],
        down: 4,
    },
];

impl Machine {
    /// Final dealings that do not count: while there are too few true ones, because they are false.
    async fn refused_dealings(&self) -> f64 {
        let text = self.ops.metrics().await.unwrap_or_default();
        let lines = text.lines();
        let of = |line: &str| {
            line.strip_prefix("fairlane_dealings_refused_total ")?
                .parse::<f64>()
                .ok()
        };
        lines.filter_map(of).sum()
    }

    /// Waits until it has judged more dealings false than before.
    async fn refuses_more_than(&self, before: f64) {
        let more = async || self.refused_dealings().await > before;
        self.waits_until("judged none", more).await;
    }

    /// Waits until its folder is in an epoch, as a member's or not.
    pub async fn follows_to(&self, epoch: u64) {
        let home = Home::open(&self.home).unwrap();
        let present = || Present::of(&home).map(|present| present.genesis.epoch());
        let is_there = async || present().is_ok_and(|present| present == Epoch(epoch));
        self.waits_until("stays behind", is_there).await;
    }

    /// It is started again as a liar, or as one that does not lie.
    pub fn turns(&mut self, lies: bool) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            child.wait().unwrap();
        }
        self.lies = lies;
        self.spawn();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn false_dealers_and_one_that_is_down_cost_nothing_in_any_phase() {
    cost_nothing(Scheme::Tdh2, RATE, &PHASES).await;
}

/// The second scheme, without a dealer and without anything that only experiments allow: an order
/// costs a member some 8 ms, so there are fewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hand_keys_of_the_second_scheme_over_to_four_others_under_load() {
    cost_nothing(Scheme::BaekZheng, FEW, &PHASES[..1]).await;
}

async fn cost_nothing(scheme: Scheme, rate: u64, phases: &[Phase]) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = InitOptions::new(dir.path().join("net"), 4);
    options.port = free_ports(8);
    options.reserve_mb = 64;
    options.dealer = false;
    options.scheme = scheme;
    let experiment = scheme == Scheme::Tdh2;
    if !experiment {
        let bytes = PASSPHRASE.as_bytes().to_vec().into();
        let passphrase = Passphrase::new(bytes, dir.path()).unwrap();
        options.passphrase = Some(Arc::new(passphrase));
    }
    let change_genesis = |genesis: &mut Genesis| {
        genesis.experiment = experiment;
        // A change waits for the end of a grace, and encrypted key files make members slow to start.
        if phases.len() > 1 {
            genesis.order.key_grace_ms = KEY_GRACE_MS;
        }
    };
    let net = testnet::init(&options, change_genesis).unwrap();
    let mut machines = first_four(&net);
    for machine in &mut machines {
        machine.sealed = !experiment;
    }

    // The first keys: two true dealings and a false one, until the fourth member is there.
    machines[1].lies = true;
    for machine in &mut machines[..3] {
        machine.spawn();
    }
    for honest in [0, 2] {
        machines[honest].refuses_more_than(0.0).await;
        let status = machines[honest].ops.status().await;
        assert!(
            !status.is_ok_and(|status| status.ready),
            "it is ready without keys"
        );
    }
    machines[3].spawn();
    for machine in &mut machines {
        machine.ready_in(0).await;
    }
    join(dir.path(), &mut machines, 4..8);
    let pin = machines[0].api.pin(net.genesis.clone()).await.unwrap();
    // Where nobody stays, whoever wants all envelopes follows from the start.
    let stays = phases
        .last()
        .unwrap()
        .next
        .iter()
        .any(|machine| *machine < 4);
    let recorder =
        (!stays).then(|| Recorder::start(dir.path(), &machines.iter().collect::<Vec<_>>()));
    let pin = Arc::new(Mutex::new(pin));
    let apis: Vec<Member> = machines.iter().map(|machine| machine.api.clone()).collect();
    let (sent, stop) = (
        Arc::new(Mutex::new(Sent::default())),
        Arc::new(AtomicBool::new(false)),
    );
    let load = tokio::spawn(trade(
        Arc::clone(&pin),
        apis,
        rate,
        (Arc::clone(&sent), Arc::clone(&stop)),
    ));

    let (mut present, mut disks) = (vec![0, 1, 2, 3], Vec::new());
    for (phase, epoch) in phases.iter().zip(1..) {
        let started = Instant::now();
        let disk = change(dir.path(), &mut machines, (&present, phase), epoch).await;
        disks.push(disk);
        println!("epoch {epoch} after {:?}", started.elapsed());
        present = phase.next.to_vec();
    }
    // Who asks learns of the present key before it is told.
    let first = &machines[present[0]];
    let known = pin.lock().unwrap().clone();
    let after = first.api.pin_after(&known).await.unwrap();
    let key = after.key().id();
    *pin.lock().unwrap() = after;
    let before = sent.lock().unwrap().acknowledged.len();
    let want = ORDERS_MIN.max(before + ORDERS_MIN / 4);
    let enough = async || sent.lock().unwrap().acknowledged.len() > want;
    first.waits_until("takes too few orders", enough).await;
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();

    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let reference = sequence(&machines[present[0]], &sent).await;
    let again = sent.complete(&outcomes_of(&reference));
    for machine in &present[1..] {
        let theirs = sequence(&machines[*machine], &sent).await;
        let both = theirs.len().min(reference.len());
        assert_eq!(theirs[..both], reference[..both], "machine {machine}");
    }
    let epochs: BTreeSet<u64> = reference.iter().map(|block| block.epoch.0).collect();
    assert_eq!(epochs, (0..=phases.len() as u64).collect());
    nothing_was_shown_early(&disks, &heights(&reference));
    let keys = by_epoch(&reference);
    let used: BTreeSet<_> = keys.values().flatten().collect();
    assert!(used.len() > 1 && used.contains(&key), "{keys:?}");
    drop(recorder);
    if stays {
        let last: Vec<&Machine> = present.iter().map(|machine| &machines[*machine]).collect();
        a_file_over_all_epochs_verifies(dir.path(), &last, &reference);
    } else {
        let all: Vec<&Machine> = machines.iter().collect();
        // Nobody who comes has the envelopes of the last blocks before (record 82).
        let found = verified(dir.path(), &all, &reference, &["--without-envelopes"]);
        let (opened, checked) = (&found["opened"], &found["openings_checked"]);
        let bare = opened.as_u64().unwrap() - checked.as_u64().unwrap();
        assert!(bare * 4 < opened.as_u64().unwrap(), "{found}");
    }
    println!(
        "{} orders acknowledged, all there, each once; {again} sealed again",
        sent.acknowledged.len()
    );
}

/// One change, with as many liars as there may be and one member that is down: what is left is
/// exactly what a quorum, and the dealings, need.
async fn change(
    dir: &Path,
    machines: &mut [Machine],
    (present, phase): (&[usize], &Phase),
    epoch: u64,
) -> Disk {
    for machine in present {
        let liar = phase.liars.contains(machine);
        if liar != machines[*machine].lies {
            machines[*machine].turns(liar);
        }
    }
    for machine in present {
        machines[*machine].ready_in(epoch - 1).await;
    }
    for machine in phase.next {
        machines[*machine].follows_to(epoch - 1).await;
    }
    let watch = present.iter().copied();
    let mut watch =
        watch.filter(|machine| !phase.liars.contains(machine) && *machine != phase.down);
    let watch = watch.next().unwrap();
    let before = machines[watch].refused_dealings().await;
    machines[phase.down].kill();
    let disk = machines[phase.down].disk();
    decide((dir, "fresh"), machines, present, phase.next, epoch);
    machines[watch].refuses_more_than(before).await;
    let status = machines[watch].ops.status().await.unwrap();
    assert!(status.epoch < epoch, "it went on with too few dealings");
    machines[phase.down].spawn();
    for machine in phase.next.iter().filter(|m| !phase.liars.contains(m)) {
        machines[*machine].ready_in(epoch).await;
    }
    // Their epoch is over, and their machines go on without lies.
    for liar in phase.liars {
        machines[*liar].turns(false);
    }
    for machine in phase.next {
        machines[*machine].ready_in(epoch).await;
    }
    disk
}

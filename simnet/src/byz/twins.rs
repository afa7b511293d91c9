//! Twins (Bano et al., OPODIS 2021): two replicas with one key. Each member hears one of
//! them, or both; neither hears the other. Every contradiction that the pair commits is
//! one that two honest programs would commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlane_replica::{
    CryptoContext, Effect, Event, Peers, Recovered, Replica, ReplicaConfig, Store as _, TimerId,
    birth,
};
use fairlane_types::{MemberId, Micros, Planted};

use super::{Act, Behaviour, Heard, Scene, send};
use crate::disk::SimStore;

/// Effects that one event may lead to, one after the other, at the twin.
const STEPS_MAX: usize = 10_000;

/// A second replica with the same key, driven whenever the first one hears something. Its
/// disk and its cores take no time.
#[derive(Default)]
pub struct Twins {
    twin: Option<Twin>,
}

struct Twin {
    replica: Replica,
    store: SimStore,
    timers: BTreeMap<TimerId, Micros>,
    /// Per member: whether it hears the first, whether it hears the twin.
    hears: Vec<(bool, bool)>,
}

impl core::fmt::Debug for Twins {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Twins").finish_non_exhaustive()
    }
}

impl Twins {
    /// The twin, born at the first word that is heard.
    fn twin(&mut self, scene: &mut Scene<'_>, acts: &mut Vec<Act>) -> Option<&mut Twin> {
        if self.twin.is_none() {
            let mut store = SimStore::new();
            store
                .commit(&birth(scene.genesis, scene.keys.me), true)
                .ok()?;
            let recovered = Recovered::read(&store, scene.genesis, scene.keys.me).ok()?;
            let config = ReplicaConfig {
                genesis: scene.genesis.clone(),
                me: scene.keys.me,
                identity: Arc::clone(&scene.keys.identity),
                archive: false,
                planted: Planted::NONE,
            };
            let replica = Replica::new(config, recovered).ok()?;
            let n = scene.keys.committee.n();
            let hears = (0..n).map(|_| match scene.rng.below(5) {
                0 | 1 => (true, false),
                2 | 3 => (false, true),
                _ => (true, true),
            });
            let mut twin = Twin {
                replica,
                store,
                timers: BTreeMap::new(),
                hears: hears.collect(),
            };
            twin.step(scene, Event::Start, acts);
            for peer in scene.keys.committee.ids().filter(|id| *id != scene.keys.me) {
                twin.step(scene, Event::Connected(peer), acts);
            }
            self.twin = Some(twin);
        }
        self.twin.as_mut()
    }
}

impl Twin {
    fn hears(&self, member: MemberId) -> (bool, bool) {
        let hears = self.hears.get(member.index());
        hears.copied().unwrap_or((true, false))
    }

    /// Timers that are due.
    fn wake(&mut self, scene: &mut Scene<'_>, acts: &mut Vec<Act>) {
        let now = scene.now;
        let due: Vec<_> = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.timers.remove(&id);
            self.step(scene, Event::Timer(id), acts);
        }
    }

    /// One event and all that follows from it at once.
    fn step(&mut self, scene: &mut Scene<'_>, event: Event, acts: &mut Vec<Act>) {
        let mut events = std::collections::VecDeque::from([event]);
        for _ in 0..STEPS_MAX {
            let Some(event) = events.pop_front() else {
                return;
            };
            let mut effects = Vec::new();
            self.replica.step(scene.now, event, &mut effects);
            for effect in effects {
                self.effect(scene, effect, &mut events, acts);
            }
        }
    }

    fn effect(
        &mut self,
        scene: &mut Scene<'_>,
        effect: Effect,
        events: &mut std::collections::VecDeque<Event>,
        acts: &mut Vec<Act>,
    ) {
        match effect {
            Effect::Send { to, message } => {
                let keys: &CryptoContext = scene.keys;
                let receivers: Vec<_> = match to {
                    Peers::One(to) => vec![to],
                    Peers::All => keys.committee.ids().filter(|id| *id != keys.me).collect(),
                };
                for to in receivers {
                    if self.hears(to).1 {
                        scene.lied();
                        acts.push(send(to, &message));
                    }
                }
            }
            Effect::SetTimer { id, at } => drop(self.timers.insert(id, at)),
            Effect::Store {
                id,
                writes,
                durable,
            } => {
                if self.store.commit(&writes, durable).is_ok() && durable {
                    events.push_back(Event::Stored(id));
                }
            }
            Effect::Load {
                id,
                table,
                from,
                to,
                rows_max,
                bytes_max,
            } => {
                if let Ok(rows) = self.store.scan(table, &from, &to, rows_max, bytes_max) {
                    events.push_back(Event::Loaded { id, rows });
                }
            }
            Effect::Compute { id, job } => {
                let result = scene.crypto.run(scene.keys, &job, &scene.rng.bytes32());
                events.push_back(Event::Computed { id, result });
            }
            // The twin has no clients, and its operator looks away.
            Effect::Emit(_)
            | Effect::Reply { .. }
            | Effect::Evidence(_)
            | Effect::Fault { .. }
            | Effect::EpochEnded(_)
            | Effect::KeyOver
            | Effect::Halt(_) => {}
        }
    }
}

impl Behaviour for Twins {
    fn act(&mut self, scene: &mut Scene<'_>, effect: Effect) -> Vec<Act> {
        let Effect::Send { to, message } = &effect else {
            return vec![Act::Effect(effect)];
        };
        let Some(twin) = &self.twin else {
            return vec![Act::Effect(effect)];
        };
        let receivers = match to {
            Peers::One(to) => vec![*to],
            Peers::All => scene.others(),
        };
        receivers
            .into_iter()
            .filter(|to| twin.hears(*to).0)
            .map(|to| send(to, message))
            .collect()
    }

    fn hear(&mut self, scene: &mut Scene<'_>, heard: &Heard<'_>, acts: &mut Vec<Act>) -> bool {
        let Some(twin) = self.twin(scene, acts) else {
            return true;
        };
        twin.wake(scene, acts);
        let (first, second) = twin.hears(heard.from);
        if second {
            let (from, message) = (heard.from, heard.message.clone());
            twin.step(scene, Event::Message { from, message }, acts);
        }
        first
    }
}

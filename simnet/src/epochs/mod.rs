//! Committees that change (PROTOCOL §6): the same replica as in every other run, with the
//! shell that takes a member from one epoch into the next around it.
//!
//! A run has one set of machines, and a list of committees, each some of the machines. While
//! traders go on sending, the operators of each committee approve the next one; the key is
//! dealt on, and the machines of the next committee take over, whether they belonged to the
//! one before or not. Machines crash, are cut off, and one of them lies. What is judged is
//! what users hold on to: one sequence without gaps across all epochs, every acknowledged
//! order in it, none twice, each with the plaintext that was sealed.

mod changes;
mod early;
mod first;
mod liar;
mod machine;
mod run;
mod traders;
mod word;

use core::fmt;

use fairlane_types::Scheme;

use crate::engine::{Nanos, Owner, Purpose, Stream};

pub use liar::Lie;

/// A run with changing committees.
#[derive(Clone, Debug)]
pub struct Epochs {
    /// Everything else follows from it.
    pub seed: u64,
    /// The committees, by machines: epoch 0 first.
    pub committees: Vec<Vec<usize>>,
    /// Orders that traders send.
    pub orders: usize,
    /// Machines crash and are cut off.
    pub faults: bool,
    /// Machines that lie, and how; at most f of any committee.
    pub liars: Vec<(usize, Lie)>,
    /// Encryption scheme of the chain.
    pub scheme: Scheme,
    /// The first key is made by its committee; else a dealer made it.
    pub ceremony: bool,
    /// Machines are killed between entering an epoch and erasing the secrets of the one before,
    /// and before they erase a former key's share.
    pub torn: bool,
    /// For each change whether the next epoch has a fresh encryption key.
    pub fresh: Vec<bool>,
}

impl Epochs {
    /// The run of a seed: three committees of 4 and 7 machines, overlapping or not.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Stream::new(seed, Owner::World, Purpose::Options);
        let grow = vec![vec![0, 1, 2, 3], (0..7).collect(), vec![3, 4, 5, 6]];
        let disjoint = vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![2, 0, 5, 7]];
        let refresh = vec![vec![0, 1, 2, 3], vec![0, 1, 2, 3], vec![3, 2, 1, 0]];
        let committees = match rng.below(4) {
            0 => refresh,
            1 => disjoint,
            _ => grow,
        };
        let faults = rng.chance(750);
        // At most f of a committee are faulty for good: one machine of any.
        let liar = rng.chance(600).then(|| {
            let machines = committees.iter().flatten().max().map_or(4, |m| m + 1);
            let machine = rng.below(machines as u64) as usize;
            let lie = rng.pick(&Lie::ALL[..4]).copied();
            (machine, lie.unwrap_or(Lie::FalseDealing))
        });
        let (orders, ceremony, torn) = (
            60 + rng.below(120) as usize,
            rng.chance(250),
            rng.chance(400),
        );
        let renews = rng.chance(500);
        let changes = committees.len() - 1;
        let fresh: Vec<bool> = (0..changes).map(|_| renews && rng.chance(800)).collect();
        let contributes = fresh.contains(&true) && rng.chance(400);
        let liar = liar.map(|(machine, lie)| match contributes {
            true => (machine, Lie::FalseContribution),
            false => (machine, lie),
        });
        let mut liars = Vec::from_iter(liar);
        if let [(one, _)] = liars[..] {
            // One more where no committee has more than f of them then.
            let machines = 0..committees.iter().flatten().max().map_or(0, |m| m + 1);
            let fits = |two: &usize| {
                let few = |c: &Vec<usize>| {
                    let both = usize::from(c.contains(&one)) + usize::from(c.contains(two));
                    both <= (c.len() - 1) / 3
                };
                *two != one && committees.iter().all(few)
            };
            let others: Vec<_> = machines.filter(fits).collect();
            if !others.is_empty()
                && rng.chance(600)
                && let Some(two) = rng.pick(&others).copied()
            {
                let lie = rng.pick(&Lie::ALL[..6]).copied();
                liars.push((two, lie.unwrap_or(Lie::FalseDealing)));
            }
        }
        let mut last = Stream::new(seed, Owner::World, Purpose::Byzantine);
        for (_, lie) in &mut liars {
            if matches!(lie, Lie::FalseWord | Lie::NoWord) && last.chance(500) {
                *lie = Lie::LastWord;
            }
        }
        Self {
            seed,
            committees,
            orders,
            faults,
            liars,
            scheme: Scheme::Tdh2,
            ceremony,
            torn,
            fresh,
        }
    }

    /// The same with keys of another scheme. With suite 0x02 an order costs every member
    /// pairings, so there are fewer.
    #[must_use]
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        let orders = match scheme {
            Scheme::Tdh2 => self.orders,
            Scheme::BaekZheng => self.orders / 6,
        };
        Self {
            scheme,
            orders,
            ..self
        }
    }

    /// Machines of the run.
    #[must_use]
    pub fn machines(&self) -> usize {
        let highest = self.committees.iter().flatten().max();
        highest.map_or(0, |machine| machine + 1)
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self) -> EpochsReport {
        run::Run::new(self).run()
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct EpochsReport {
    /// The run, for a line that repeats it.
    pub seed: u64,
    /// Rules that were broken, in words.
    pub violations: Vec<String>,
    /// Hash over all that happened.
    pub trace_hash: u128,
    /// Last epoch that any honest machine entered.
    pub epoch: u64,
    /// Heights emitted.
    pub heights: u64,
    /// Orders in the sequence.
    pub items: usize,
    /// Orders acknowledged by an honest machine.
    pub acknowledged: usize,
    /// Orders that came over from one epoch into the lanes of the next.
    pub carried: usize,
    /// Times a machine entered an epoch with what others handed it.
    pub fetched: usize,
    /// Times that epoch was over already, and was only passed through.
    pub passed_through: usize,
    /// Times a machine left an epoch by a word that others showed, before it came to the boundary.
    pub left_before: usize,
    /// Times a liar showed the word that it alone had to one member, and was gone.
    pub last_words: usize,
    /// Crashes.
    pub crashes: usize,
    /// Kills between entering an epoch and erasing the secrets of the one before, and before a
    /// former key's share was erased.
    pub torn: usize,
    /// Epochs that began with a fresh encryption key.
    pub renewed: u64,
    /// Orders that traders sealed again to a fresh key.
    pub resealed: usize,
    /// Orders that were opened with a former key.
    pub opened_late: usize,
    /// Blocks that held orders of two keys to open.
    pub mixed: usize,
    /// Shares of a former key that machines erased.
    pub forgotten: usize,
    /// Secrets of earlier epochs that were erased.
    pub erased: usize,
    /// Blocks of earlier epochs on disks from which a dealing has gone.
    pub emptied: usize,
    /// Shares of earlier epochs that were looked for on disks, in vain.
    pub searched: usize,
    /// Dealings that did not count.
    pub dealings_refused: u64,
    /// Lies that were told.
    pub lies: u64,
    /// Slices of blocks of which an honest machine sent shares, after the block was final.
    pub released: usize,
    /// From a change handed in to the first block of its epoch, virtual ms.
    pub switches_ms: Vec<u64>,
    /// Virtual time.
    pub ended: Nanos,
}

impl EpochsReport {
    /// Whether no rule was broken.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for EpochsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: epoch {}, {} heights, {} items, {} acknowledged, {} carried, {} fetched, {} left before, {} last words, \
             {} slices opened, {} lies, {} crashes, {} torn, {} secrets erased, {} fresh keys, {} resealed, {} opened late, \
             {} mixed blocks, {} shares forgotten, {} dealings refused, switches {:?} ms, ended at {}",
            self.seed,
            self.epoch,
            self.heights,
            self.items,
            self.acknowledged,
            self.carried,
            self.fetched,
            self.left_before,
            self.last_words,
            self.released,
            self.lies,
            self.crashes,
            self.torn,
            self.erased,
            self.renewed,
            self.resealed,
            self.opened_late,
            self.mixed,
            self.forgotten,
            self.dealings_refused,
            self.switches_ms,
            self.ended,
        )?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

//! A job that writes to the broker, under a seeded adversary: requests and answers are lost, attempts end anywhere and
//! go on though they have been replaced, and each attempt has another parallelism.

use tidemill_plans::ids::Epoch;

use super::broker::{Broker, Fault};
use super::*;

/// Rows that the job writes.
const ROWS: i64 = 60;

/// A small generator (xorshift64*), so that every run does the same.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

/// A checkpoint that has been sealed.
#[derive(Clone)]
struct Sealed {
    epoch: Epoch,
    states: Vec<Snapshot>,
    /// The rows before this one are in it.
    next_row: i64,
}

/// An attempt at the job.
struct Attempt {
    sinks: Vec<BrokerSink>,
    next_row: i64,
    /// The last checkpoint that was begun.
    epoch: Epoch,
    /// The last of its own that was sealed.
    sealed: Epoch,
    has_finished: bool,
}

impl Attempt {
    fn write(&mut self, random: &mut Random) -> Result<()> {
        if self.next_row >= ROWS {
            return Ok(());
        }
        let count = 1 + random.below(3) as i64;
        let rows = rows(self.next_row..ROWS.min(self.next_row + count));
        let sink = random.below(self.sinks.len() as u64) as usize;
        self.next_row += rows.num_rows() as i64;
        self.sinks[sink].write(&rows)
    }

    fn checkpoint(&mut self) -> Result<Sealed> {
        self.epoch = Epoch(self.epoch.0 + 1);
        if self.next_row >= ROWS {
            self.epoch = Epoch::END;
            self.has_finished = true;
            self.sinks.iter_mut().try_for_each(|sink| sink.finish())?;
        }
        let states = self.sinks.iter_mut().map(|sink| snapshot(sink, self.epoch)).collect::<Result<_>>()?;
        Ok(Sealed { epoch: self.epoch, states, next_row: self.next_row })
    }

    /// What it has sealed becomes visible, unless the message is lost.
    fn commit(&mut self, random: &mut Random) -> Result<()> {
        for sink in &mut self.sinks {
            if random.below(4) > 0 {
                sink.commit(self.sealed)?;
            }
        }
        Ok(())
    }
}

struct World {
    broker: Broker,
    random: Random,
    attempts: u32,
    /// The checkpoint that the next attempt goes on from.
    sealed: Option<Sealed>,
    /// Attempts that have been replaced and do not know.
    zombies: Vec<Attempt>,
}

impl World {
    /// The rows that a sealed checkpoint covers: no other may be visible.
    #[track_caller]
    fn check(&self) {
        let covered = self.sealed.as_ref().map_or(0, |sealed| sealed.next_row);
        let read = self.broker.read();
        assert!(read.is_sorted_by(|one, two| one < two), "a row twice: {read:?}");
        assert!(read.iter().all(|row| *row < covered), "only {covered} rows are covered: {read:?}");
    }

    fn begin(&mut self) -> Result<Attempt> {
        assert!(self.attempts < 10_000, "no attempt gets anywhere");
        let (attempt, parallelism) = (self.attempts, 1 + self.random.below(3) as u32);
        self.attempts += 1;
        let Some(Sealed { epoch, states, next_row }) = self.sealed.clone() else {
            let sinks = (0..parallelism).map(|subtask| open(&self.broker, attempt, subtask, parallelism)).collect();
            let (epoch, sealed) = (Epoch(0), Epoch(0));
            return Ok(Attempt { sinks, next_row: 0, epoch, sealed, has_finished: false });
        };
        let sinks = (0..parallelism).map(|subtask| restored(&self.broker, attempt, &states, subtask, parallelism));
        let sinks = sinks.collect::<Result<_>>()?;
        assert_eq!(self.broker.read(), (0..next_row).collect::<Vec<_>>(), "restored at {epoch}");
        Ok(Attempt { sinks, next_row, epoch, sealed: epoch, has_finished: false })
    }

    /// A step of the attempt that owns the job.
    fn step(&mut self, attempt: &mut Attempt) -> Result<()> {
        match self.random.below(8) {
            0..5 => attempt.write(&mut self.random),
            5 => attempt.commit(&mut self.random),
            _ => {
                let checkpoint = attempt.checkpoint()?;
                if self.random.below(4) > 0 {
                    attempt.sealed = checkpoint.epoch;
                    self.sealed = Some(checkpoint);
                }
                attempt.commit(&mut self.random)
            }
        }
    }

    /// A step of one that does not: it seals nothing, and what it hears of is sealed.
    fn step_of_zombie(&mut self) {
        if self.zombies.is_empty() {
            return;
        }
        let zombie = self.random.below(self.zombies.len() as u64) as usize;
        let zombie = &mut self.zombies[zombie];
        let _ = match self.random.below(3) {
            0 => zombie.write(&mut self.random),
            1 if !zombie.has_finished => zombie.checkpoint().map(drop),
            _ => zombie.commit(&mut self.random),
        };
    }

    fn run(&mut self) {
        while self.sealed.as_ref().is_none_or(|sealed| sealed.epoch != Epoch::END) {
            let Ok(mut attempt) = self.begin() else {
                self.check();
                continue;
            };
            while !attempt.has_finished {
                if self.random.below(8) == 0 {
                    let fault = if self.random.below(2) == 0 { Fault::Request } else { Fault::Answer };
                    self.broker.fail_after(self.random.below(6) as u32, fault);
                }
                self.step_of_zombie();
                self.check();
                let outcome = self.step(&mut attempt);
                self.check();
                if outcome.is_err() || self.random.below(30) == 0 {
                    break;
                }
            }
            self.zombies.push(attempt);
        }
        // A last one takes up what the end covers.
        while self.begin().is_err() {}
        assert_eq!(self.broker.read(), (0..ROWS).collect::<Vec<_>>());
    }
}

#[test]
fn each_row_is_read_once_whatever_crashes() {
    for seed in 1..=300 {
        let random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let mut world = World { broker: Broker::default(), random, attempts: 0, sealed: None, zombies: Vec::new() };
        world.run();
    }
}

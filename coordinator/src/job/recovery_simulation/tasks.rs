//! The job's tasks as small state machines: sources that count, tasks in the middle that sum, sinks that write
//! parts. Barriers are aligned as `engine/src/task/inbox.rs` does it, and sinks commit as
//! `engine/src/connector/files/sink.rs` does.

use std::collections::{BTreeMap, VecDeque};

use tidemill_plans::ids::{Barrier, Epoch, RunId, StageId, TaskId, WorkerId};

use super::outside::{Outside, Owner, Part, PartName, Row};
use crate::testing::Random;

pub(super) const SOURCE: StageId = StageId(0);
pub(super) const MIDDLE: StageId = StageId(1);
pub(super) const SINK: StageId = StageId(2);

/// How large a job is.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// How many rows each source has.
    pub(super) rows: Vec<u64>,
    pub(super) middles: u32,
    pub(super) sinks: u32,
}

impl Shape {
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        let sources = u32::try_from(self.rows.len()).unwrap();
        let of = |stage, count| (0..count).map(move |subtask| TaskId { stage, subtask });
        of(SOURCE, sources).chain(of(MIDDLE, self.middles)).chain(of(SINK, self.sinks))
    }

    fn stage(&self, stage: StageId) -> impl Iterator<Item = TaskId> {
        self.tasks().filter(move |task| task.stage == stage)
    }

    fn middle_of(&self, (_, number): Row) -> TaskId {
        TaskId { stage: MIDDLE, subtask: u32::try_from(number % u64::from(self.middles)).unwrap() }
    }

    fn sink_of(&self, (_, number): Row) -> TaskId {
        let group = number / u64::from(self.middles);
        TaskId { stage: SINK, subtask: u32::try_from(group % u64::from(self.sinks)).unwrap() }
    }

    /// What the middle has summed up to when it passes this row on.
    fn sum_at(&self, (source, number): Row) -> u64 {
        (1..=number).filter(|n| self.middle_of((source, *n)) == self.middle_of((source, number))).sum()
    }
}

/// What a task has written at a barrier, or at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) body: Body,
}

/// What a task knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// The row that comes next.
    Source(u64),
    /// The sum and the count of each source's rows.
    Middle(BTreeMap<u32, (u64, u64)>),
    Sink {
        /// The last checkpoint, behind which the current part begins.
        after: Option<Epoch>,
        pending: Vec<Part>,
        /// How many rows of each source there have been since the job's beginning.
        counts: BTreeMap<u32, u64>,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Message {
    /// A row, and behind the middle the sum.
    Row(Row, u64),
    Barrier(Barrier),
    End,
}

/// The messages on their way, by attempt and by the tasks at both ends.
pub(super) type Channels = BTreeMap<(RunId, TaskId, TaskId), VecDeque<Message>>;

/// What a task says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Notice {
    Passed(Epoch, Option<State>),
    Finished(State),
    Failed(String),
}

pub(super) struct Task {
    id: TaskId,
    run: RunId,
    worker: WorkerId,
    inbox: Inbox,
    body: Body,
    /// What a source was told.
    pub(super) commands: VecDeque<Command>,
    /// The part that a sink writes, and its rows.
    current: Option<(PartName, Vec<Row>)>,
    pub(super) has_ended: bool,
    /// Whether it had ended before it was restored.
    is_done: bool,
    pub(super) has_failed: bool,
    /// What a sink is to commit.
    pub(super) commits: VecDeque<Epoch>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    Barrier(Barrier),
    Stop,
}

/// What tasks share.
pub(super) struct Site<'a> {
    pub(super) shape: &'a Shape,
    pub(super) channels: &'a mut Channels,
    pub(super) outside: &'a mut Outside,
}

impl Task {
    /// A task that goes on from a state, or begins anew. Nothing if what it is to show is gone, or somebody else's.
    pub(super) fn build(owner: Owner, state: Option<&State>, site: &mut Site<'_>) -> Option<Self> {
        let (run, id, worker) = owner;
        let inputs = match id.stage {
            MIDDLE => site.shape.stage(SOURCE).collect(),
            SINK => site.shape.stage(MIDDLE).collect(),
            _ => Vec::new(),
        };
        let body = match (id.stage, state) {
            (_, Some(state)) => state.body.clone(),
            (SOURCE, None) => Body::Source(1),
            (MIDDLE, None) => Body::Middle(BTreeMap::new()),
            (_, None) => Body::Sink { after: None, pending: Vec::new(), counts: BTreeMap::new() },
        };
        let mut task = Self {
            id,
            run,
            worker,
            inbox: Inbox::new(inputs),
            body,
            commands: VecDeque::new(),
            current: None,
            has_ended: false,
            is_done: state.is_some_and(|state| state.epoch == Epoch::END),
            has_failed: false,
            commits: VecDeque::new(),
        };
        if let Body::Sink { pending, after, .. } = &mut task.body {
            let pending = std::mem::take(pending);
            if !site.outside.claim(id.subtask, owner) || !pending.iter().all(|part| site.outside.complete(part)) {
                return None;
            }
            site.outside.tidy(id.subtask, *after, &pending);
        }
        Some(task)
    }

    pub(super) fn owner(&self) -> Owner {
        (self.run, self.id, self.worker)
    }

    /// Does something, if there is something to do.
    pub(super) fn step(&mut self, site: &mut Site<'_>, random: &mut Random) -> Option<Vec<Notice>> {
        if self.has_ended || self.has_failed {
            return None;
        }
        if self.id.stage == SOURCE {
            return Some(self.read(site, random));
        }
        Some(match self.inbox.poll(self.run, self.id, site.channels, random)? {
            Input::Nothing => Vec::new(),
            Input::Row(row, sum) => self.take(row, sum, site),
            Input::Barrier(barrier) => vec![self.pass(barrier, site)],
            Input::End => vec![self.end(site)],
        })
    }

    fn read(&mut self, site: &mut Site<'_>, random: &mut Random) -> Vec<Notice> {
        let Body::Source(next) = &mut self.body else { unreachable!("a source") };
        let row = (self.id.subtask, *next);
        let is_at_end = self.is_done || *next > site.shape.rows[self.id.subtask as usize];
        if !is_at_end && (self.commands.is_empty() || random.below(3) == 0) {
            *next += 1;
            let to = site.shape.middle_of(row);
            self.send(to, Message::Row(row, 0), site);
            return Vec::new();
        }
        match self.commands.pop_front() {
            // At the end its driver may see that first.
            Some(Command::Barrier(barrier)) if !self.is_done && (!is_at_end || random.below(2) == 0) => {
                vec![self.pass(barrier, site)]
            }
            _ => vec![self.end(site)],
        }
    }

    fn take(&mut self, row: Row, sum: u64, site: &mut Site<'_>) -> Vec<Notice> {
        let (source, number) = row;
        match &mut self.body {
            Body::Middle(sums) => {
                let (total, count) = sums.entry(source).or_default();
                *total += number;
                *count += 1;
                let message = Message::Row(row, *total);
                self.send(site.shape.sink_of(row), message, site);
            }
            Body::Sink { counts, after, .. } => {
                assert_eq!(sum, site.shape.sum_at(row), "the middle has seen each row once");
                *counts.entry(source).or_default() += 1;
                let name = (self.id.subtask, *after);
                if self.current.is_none() {
                    site.outside.create(name, (self.run, self.id, self.worker));
                }
                let (name, rows) = self.current.get_or_insert_with(|| (name, Vec::new()));
                rows.push(row);
                site.outside.write(*name, (self.run, self.id, self.worker), row);
            }
            Body::Source(_) => unreachable!("sources have no input"),
        }
        Vec::new()
    }

    fn pass(&mut self, barrier: Barrier, site: &mut Site<'_>) -> Notice {
        self.send_on(Message::Barrier(barrier), site);
        if !barrier.is_checkpoint {
            return Notice::Passed(barrier.epoch, None);
        }
        self.complete_current(barrier.epoch, site);
        if let Body::Sink { after, .. } = &mut self.body {
            *after = Some(barrier.epoch);
        }
        Notice::Passed(barrier.epoch, Some(State { epoch: barrier.epoch, body: self.body.clone() }))
    }

    fn end(&mut self, site: &mut Site<'_>) -> Notice {
        self.has_ended = true;
        self.send_on(Message::End, site);
        self.complete_current(Epoch::END, site);
        Notice::Finished(State { epoch: Epoch::END, body: self.body.clone() })
    }

    fn complete_current(&mut self, epoch: Epoch, site: &mut Site<'_>) {
        let Some((name, rows)) = self.current.take() else { return };
        let attempt = self.run.attempt;
        site.outside.keep(name, attempt);
        let Body::Sink { pending, .. } = &mut self.body else { unreachable!("sinks alone write") };
        pending.push(Part { name, attempt, epoch, rows });
    }

    /// Shows what the checkpoint of an epoch covers. Says what is wrong if that is gone.
    pub(super) fn commit(&mut self, epoch: Epoch, outside: &mut Outside) -> Result<(), String> {
        let owner = self.owner();
        let Body::Sink { pending, .. } = &mut self.body else { return Ok(()) };
        if !outside.is_claimed_by(owner.1.subtask, owner) {
            return Err(format!("the parts of {} are somebody else's", owner.1));
        }
        for part in pending.extract_if(.., |part| part.epoch <= epoch) {
            if !outside.complete(&part) {
                return Err(format!("part {:?} is gone", part.name));
            }
        }
        Ok(())
    }

    /// Ends where it is and shows what it has.
    pub(super) fn cut(&mut self, site: &mut Site<'_>) -> Result<(), String> {
        if !self.has_ended {
            self.end(site);
        }
        self.commit(Epoch::END, site.outside)
    }

    fn send_on(&self, message: Message, site: &mut Site<'_>) {
        let targets: Vec<TaskId> = match self.id.stage {
            SOURCE => site.shape.stage(MIDDLE).collect(),
            MIDDLE => site.shape.stage(SINK).collect(),
            _ => Vec::new(),
        };
        for to in targets {
            self.send(to, message, site);
        }
    }

    fn send(&self, to: TaskId, message: Message, site: &mut Site<'_>) {
        site.channels.entry((self.run, self.id, to)).or_default().push_back(message);
    }
}

enum Input {
    /// Something that matters to the inbox alone.
    Nothing,
    Row(Row, u64),
    Barrier(Barrier),
    End,
}

struct Inbox {
    channels: Vec<Channel>,
    newest: Barrier,
    delivered: Barrier,
    has_ended: bool,
}

struct Channel {
    from: TaskId,
    barrier: Option<Barrier>,
    has_ended: bool,
}

impl Inbox {
    fn new(inputs: Vec<TaskId>) -> Self {
        let channels = inputs.into_iter().map(|from| Channel { from, barrier: None, has_ended: false }).collect();
        Self { channels, newest: Barrier::default(), delivered: Barrier::default(), has_ended: false }
    }

    fn poll(&mut self, run: RunId, to: TaskId, channels: &mut Channels, random: &mut Random) -> Option<Input> {
        if !self.has_ended && self.channels.iter().all(|channel| channel.has_ended) {
            self.has_ended = true;
            return Some(Input::End);
        }
        let is_readable = |channel: &Channel| {
            let waiting = channels.get(&(run, channel.from, to)).is_some_and(|messages| !messages.is_empty());
            !channel.has_ended && channel.barrier.is_none() && waiting
        };
        let readable: Vec<usize> = (0..self.channels.len()).filter(|n| is_readable(&self.channels[*n])).collect();
        let index = *readable.get(random.below(readable.len().max(1)))?;
        let message = channels.get_mut(&(run, self.channels[index].from, to))?.pop_front()?;
        Some(match message {
            Message::Row(row, sum) => Input::Row(row, sum),
            Message::Barrier(barrier) => self.take_barrier(index, barrier),
            Message::End => {
                self.channels[index].has_ended = true;
                self.aligned()
            }
        })
    }

    fn take_barrier(&mut self, index: usize, barrier: Barrier) -> Input {
        if barrier < self.newest || barrier <= self.delivered {
            return Input::Nothing;
        }
        if barrier > self.newest {
            self.newest = barrier;
            self.channels.iter_mut().for_each(|channel| channel.barrier = None);
        }
        self.channels[index].barrier = Some(barrier);
        self.aligned()
    }

    fn aligned(&mut self) -> Input {
        let mut open = self.channels.iter().filter(|channel| !channel.has_ended);
        let Some(first) = open.next().and_then(|channel| channel.barrier) else { return Input::Nothing };
        if !open.all(|channel| channel.barrier == Some(first)) {
            return Input::Nothing;
        }
        self.channels.iter_mut().for_each(|channel| channel.barrier = None);
        self.delivered = first;
        Input::Barrier(first)
    }
}

//! A task: one instance of a stage, polled until its input ends.
//!
//! ```text
//! channels -> Inbox (aligns watermarks and barriers) -> Chain of operators -> Outbox -> channels
//! ```
//! A task is plain state with a `poll` method, like a future: whoever runs it (an actor on a compute
//! thread, an I/O thread, a test) gives it a waker and calls it until it has nothing to do.

mod alignment;
mod chain;
mod channel;
mod checkpoints;
mod context;
mod dead_letter;
mod driver;
mod in_flight;
mod inbox;
mod message;
mod outbox;
mod query_memory;
mod run;
mod source_clock;
mod team;
mod turns;

pub use alignment::Alignment;
pub use chain::Chain;
pub use channel::{Gone, Receiver, Sender, channel};
pub use checkpoints::{NextSnapshot, Passed};
pub use context::{OperatorContext, PublishedModels, ResultPart, ResultPort, TaskEnv};
pub use dead_letter::{DeadLetter, DeadLetters};
pub use driver::{DriverCommand, SourceDriver};
pub use inbox::{Inbox, Input, PortWatermarks};
pub use message::{EndReason, Message};
pub use outbox::{OutEdge, Outbox};
pub use query_memory::QueryMemory;
pub use run::{BuiltTask, Task, TaskPlan, TaskPoll, build_task};
pub use team::{LocalLink, LocalTeams, Parts, TeamError, TeamLink, TeamRoom, Teams};
pub use tidemill_plans::size::batch_bytes;

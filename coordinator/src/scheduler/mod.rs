//! Decides which worker runs which task, and how long a job waits for workers.

mod placement;
mod slot_wait;

pub use placement::{Places, place};
pub use slot_wait::{Offer, SETTLE, SlotWait};

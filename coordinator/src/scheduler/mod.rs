//! Decides which worker runs which task.

mod placement;

pub use placement::{Places, place};

//! What the parts of a job cost: `cargo bench --bench main`. Figures and how they compare are in
//! benches/README.md.

#![expect(clippy::expect_used, clippy::panic, reason = "a bench that cannot be set up has nothing to say")]

mod exchange;
mod graph;
mod learn;
mod over;
mod task;
mod window;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    task::task_loop,
    task::hash_partitioning,
    window::window_aggregate,
    over::top_n,
    over::over_window,
    learn::learn_and_predict,
    exchange::exchange
);
criterion_main!(benches);

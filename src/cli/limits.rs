//! How much a server takes on: for each limit a number that is sound, and an option.

use clap::Args;
use tidemill_coordinator::Limits;
use tidemill_plans::codec::MESSAGE_BYTES_MAX;
use tidemill_plans::settings::parse_bytes;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct LimitArguments {
    /// How many connections each port has at a time.
    #[arg(long, value_name = "N", default_value = "4096", value_parser = count)]
    max_connections: usize,
    /// How many statements of clients are executed or fetched at a time.
    #[arg(long, value_name = "N", default_value = "256", value_parser = count)]
    max_statements: usize,
    /// The longest text that a client sends, statements or a plan, such as 4MB.
    #[arg(long, value_name = "SIZE", default_value = "1MB", value_parser = size)]
    max_statement_size: usize,
    /// How many jobs there are at a time, with those of SELECTs.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count)]
    max_jobs: usize,
    /// Memory for the state of a SELECT on each worker, such as 256MB; one that needs more fails. 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = memory)]
    query_memory: u64,
    /// Memory for what each user has prepared: statements, whose lengths count 100 times, and values bound to them.
    #[arg(long, value_name = "SIZE", default_value = "256MB", value_parser = memory)]
    max_prepared_size: u64,
}

impl LimitArguments {
    pub(super) fn connections(&self) -> usize {
        self.max_connections
    }

    pub(super) fn of_coordinator(&self) -> Limits {
        Limits {
            text_bytes_max: self.max_statement_size,
            statements_max: self.max_statements,
            jobs_max: self.max_jobs,
            query_memory: self.query_memory,
            prepared_bytes_max: usize::try_from(self.max_prepared_size).unwrap_or(usize::MAX),
        }
    }
}

fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=1_000_000).contains(count));
    count.ok_or_else(|| String::from("a number from 1 to 1000000 is wanted"))
}

/// No text is longer than the message that it comes in.
fn size(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.filter(|bytes| (1..MESSAGE_BYTES_MAX).contains(bytes));
    bytes.ok_or_else(|| String::from("a size such as 512kB or 4MB is wanted, less than 64MB"))
}

fn memory(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| String::from("a size such as 512MB or 2GB is wanted, or 0"))
}

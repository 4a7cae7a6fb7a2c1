//! Settings of a session: `SET name = value` and `--set name=value`, declared once.

use std::time::Duration;

use crate::error::{PlanError, Result};

/// One setting: its name, its default, what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingSpec {
    /// The name.
    pub name: &'static str,
    /// The value before anyone sets it.
    pub default: &'static str,
    /// What it does, a sentence.
    pub doc: &'static str,
}

/// All settings.
pub const SETTINGS: &[SettingSpec] = &[
    SettingSpec { name: "parallelism", default: "2", doc: "Instances of each operator that can be spread, 1 to 128." },
    SettingSpec {
        name: "execution",
        default: "inferred",
        doc: "How a SELECT of tables that end runs: batch (as a whole), streaming, or inferred: batch where it can.",
    },
    SettingSpec {
        name: "batch.engine",
        default: "inferred",
        doc: "Who runs a SELECT as a whole: embedded (the coordinator), cluster (workers), or inferred: workers, for large files.",
    },
    SettingSpec { name: "checkpoint_interval", default: "10s", doc: "Time between checkpoint barriers; 0 for none." },
    SettingSpec {
        name: "aligned_checkpoint_timeout",
        default: "0",
        doc: "Time after which a checkpoint's barrier overtakes rows, which become part of its state; 0 for never.",
    },
    SettingSpec {
        name: "checkpoint_storage",
        default: "",
        doc: "The folder or URL of the checkpoints; without one, they are below --data-dir, or there are none.",
    },
    SettingSpec {
        name: "from_savepoint",
        default: "",
        doc: "The folder or URL of the savepoint that jobs begin from; empty for none.",
    },
    SettingSpec {
        name: "allow_dropped_state",
        default: "false",
        doc: "Whether a job may begin from a savepoint though it leaves some of its state out.",
    },
    SettingSpec {
        name: "restart_strategy",
        default: "exponential_delay",
        doc: "How a job with checkpoints comes back after a failure: exponential_delay, fixed_delay, failure_rate, none.",
    },
    SettingSpec {
        name: "restart_attempts",
        default: "10",
        doc: "Restarts before a job is given up: in a row, or within restart_window for failure_rate.",
    },
    SettingSpec { name: "restart_delay", default: "1s", doc: "Time before a restart; before the first of several." },
    SettingSpec { name: "restart_delay_max", default: "1min", doc: "Time to which exponential_delay grows." },
    SettingSpec {
        name: "restart_window",
        default: "10min",
        doc: "Time in which failure_rate counts; after so long without a failure, exponential_delay begins anew.",
    },
    SettingSpec {
        name: "view_interval",
        default: "1s",
        doc: "Time between the epochs at which a running materialized view can be read; 0 for checkpoints alone.",
    },
    SettingSpec {
        name: "update_interval",
        default: "100ms",
        doc: "How long changes are gathered before updating operators emit them; 0 for not at all.",
    },
    SettingSpec {
        name: "state_ttl",
        default: "0",
        doc: "Event time after which state that nothing touches is dropped; 0 for never.",
    },
    SettingSpec {
        name: "state_memory",
        default: "0",
        doc: "Memory for joins, GROUP BY, windows, Top-N, OVER, upserts on a worker; the rest is on disk; 0: no limit.",
    },
    SettingSpec {
        name: "query_memory",
        default: "0",
        doc: "Memory for all state of a SELECT on a worker; with more it fails; 0: as much as the server allows.",
    },
    SettingSpec {
        name: "result_order",
        default: "canonical",
        doc: "Rows of a bounded SELECT without ORDER BY: canonical (held, the same in each run) or arrival (at once).",
    },
    SettingSpec {
        name: "result_endpoints",
        default: "coordinator",
        doc: "Where Flight SQL clients fetch a result: coordinator, or workers, each its part, in the order of arrival.",
    },
    SettingSpec { name: "channel_bytes", default: "1048576", doc: "Bytes that a queue between two tasks holds." },
    SettingSpec { name: "source_batch_rows", default: "4096", doc: "Rows in a batch that a source emits." },
    SettingSpec {
        name: "dead_letter_path",
        default: "",
        doc: "A file for rows that could not be used, as JSON lines.",
    },
    SettingSpec {
        name: "watermark_max_drift",
        default: "0ms",
        doc: "Event time by which a source may be ahead of its watermark_group; 0 for none.",
    },
    SettingSpec {
        name: "seed",
        default: "0",
        doc: "Seed of what is random in learning; logistic_reg has nothing random.",
    },
];

/// A choice that settings call by a name.
trait Named: Copy + PartialEq + 'static {
    const NAMES: &'static [(&'static str, Self)];

    fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, choice)| *choice)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, choice)| *choice == self).map_or("", |(name, _)| *name)
    }
}

/// How a job comes back after a failure; the names are Flink's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum RestartStrategy {
    /// Not at all.
    None,
    /// After the same time each time, so often in all.
    FixedDelay,
    /// After a time that doubles with each failure, so often in a row.
    ExponentialDelay,
    /// After the same time each time, so often within a window of time.
    FailureRate,
}

impl Named for RestartStrategy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("exponential_delay", Self::ExponentialDelay),
        ("fixed_delay", Self::FixedDelay),
        ("failure_rate", Self::FailureRate),
        ("none", Self::None),
    ];
}

/// How a SELECT of tables that end runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Execution {
    /// As a whole where it can, else as a stream.
    Inferred,
    /// As a stream.
    Streaming,
    /// As a whole, or not at all.
    Batch,
}

impl Named for Execution {
    const NAMES: &'static [(&'static str, Self)] =
        &[("inferred", Self::Inferred), ("streaming", Self::Streaming), ("batch", Self::Batch)];
}

/// Who runs queries as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum BatchEngineChoice {
    /// Workers where that is worth it and possible, else the coordinator.
    Inferred,
    /// The process that was asked.
    Embedded,
    /// Workers, or nobody.
    Cluster,
}

impl Named for BatchEngineChoice {
    const NAMES: &'static [(&'static str, Self)] =
        &[("inferred", Self::Inferred), ("embedded", Self::Embedded), ("cluster", Self::Cluster)];
}

/// The order of a bounded result that was asked for without ORDER BY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum ResultOrder {
    /// By all columns, or by event time if there is one: the same in each run, and the rows are held until all are there.
    Canonical,
    /// As rows come, of which none is held.
    Arrival,
}

impl Named for ResultOrder {
    const NAMES: &'static [(&'static str, Self)] = &[("canonical", Self::Canonical), ("arrival", Self::Arrival)];
}

/// Where Flight SQL clients fetch a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum ResultEndpoints {
    /// All of it where they asked.
    Coordinator,
    /// Each part at the worker that has it, if it has parts.
    Workers,
}

impl Named for ResultEndpoints {
    const NAMES: &'static [(&'static str, Self)] = &[("coordinator", Self::Coordinator), ("workers", Self::Workers)];
}

/// The values of all settings.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Settings {
    /// How SELECTs of tables that end run.
    pub execution: Execution,
    /// Who runs those that run as a whole.
    pub batch_engine: BatchEngineChoice,
    /// Instances of each operator that can be spread.
    pub parallelism: u32,
    /// Milliseconds between checkpoint barriers; 0 for none.
    pub checkpoint_interval_ms: u64,
    /// Milliseconds after which a checkpoint's barrier overtakes rows; 0 for never.
    pub aligned_checkpoint_timeout_ms: u64,
    /// The folder or URL of the checkpoints; empty for none.
    pub checkpoint_storage: String,
    /// The folder or URL of the savepoint that jobs begin from; empty for none.
    pub from_savepoint: String,
    /// Whether a job may leave some of a savepoint's state out.
    pub allow_dropped_state: bool,
    /// How a job comes back after a failure.
    pub restart_strategy: RestartStrategy,
    /// Restarts before a job is given up.
    pub restart_attempts: u32,
    /// Milliseconds before a restart.
    pub restart_delay_ms: u64,
    /// Milliseconds to which the delay grows.
    pub restart_delay_max_ms: u64,
    /// Milliseconds in which failures are counted.
    pub restart_window_ms: u64,
    /// Milliseconds between the epochs at which materialized views can be read; 0 for checkpoints alone.
    pub view_interval_ms: u64,
    /// Milliseconds for which updating operators gather changes.
    pub update_interval_ms: u64,
    /// Milliseconds of event time after which state that nothing touches is dropped; 0 for never.
    pub state_ttl_ms: u64,
    /// Bytes of state that a job's operators that can do with less keep in memory on each worker; 0 for no limit.
    pub state_memory: u64,
    /// Bytes of state that all operators of a query keep in memory on each worker before it fails; 0 for no limit.
    pub query_memory: u64,
    /// The order of bounded results without ORDER BY.
    pub result_order: ResultOrder,
    /// Where Flight SQL clients fetch results.
    pub result_endpoints: ResultEndpoints,
    /// Bytes that a queue between two tasks holds.
    pub channel_bytes: u64,
    /// Rows in a batch that a source emits.
    pub source_batch_rows: u32,
    /// Where rows go that could not be used; nowhere but the counters if empty.
    pub dead_letter_path: String,
    /// Milliseconds of event time by which a source may be ahead of its group; 0 where each must say so.
    pub watermark_max_drift_ms: u64,
    /// Seed of everything random in learning.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            execution: Execution::Inferred,
            batch_engine: BatchEngineChoice::Inferred,
            parallelism: 2,
            checkpoint_interval_ms: 10_000,
            aligned_checkpoint_timeout_ms: 0,
            checkpoint_storage: String::new(),
            from_savepoint: String::new(),
            allow_dropped_state: false,
            restart_strategy: RestartStrategy::ExponentialDelay,
            restart_attempts: 10,
            restart_delay_ms: 1_000,
            restart_delay_max_ms: 60_000,
            restart_window_ms: 600_000,
            view_interval_ms: 1_000,
            update_interval_ms: 100,
            state_ttl_ms: 0,
            state_memory: 0,
            query_memory: 0,
            result_order: ResultOrder::Canonical,
            result_endpoints: ResultEndpoints::Coordinator,
            channel_bytes: 1 << 20,
            source_batch_rows: 4096,
            dead_letter_path: String::new(),
            watermark_max_drift_ms: 0,
            seed: 0,
        }
    }
}

impl Settings {
    /// Sets one setting from its text; the error names what would be valid.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |wanted: &str| PlanError::InvalidOption(format!("setting {name} is '{value}', but takes {wanted}"));
        match name {
            "execution" => {
                self.execution = Execution::parse(value).ok_or_else(|| wrong("inferred, streaming or batch"))?;
            }
            "batch.engine" => {
                self.batch_engine =
                    BatchEngineChoice::parse(value).ok_or_else(|| wrong("inferred, embedded or cluster"))?;
            }
            "parallelism" => {
                self.parallelism = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=crate::key_group::KEY_GROUPS).contains(n))
                    .ok_or_else(|| wrong("a whole number from 1 to 128"))?;
            }
            "checkpoint_interval" => {
                self.checkpoint_interval_ms =
                    parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 10s or 500ms, or 0"))?;
            }
            "aligned_checkpoint_timeout" => {
                self.aligned_checkpoint_timeout_ms =
                    parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 30s, or 0"))?;
            }
            "checkpoint_storage" => value.clone_into(&mut self.checkpoint_storage),
            "from_savepoint" => value.clone_into(&mut self.from_savepoint),
            "allow_dropped_state" => {
                self.allow_dropped_state = value.parse().map_err(|_| wrong("true or false"))?;
            }
            "restart_strategy" => {
                self.restart_strategy = RestartStrategy::parse(value)
                    .ok_or_else(|| wrong("exponential_delay, fixed_delay, failure_rate or none"))?;
            }
            "restart_attempts" => {
                self.restart_attempts = value.parse().map_err(|_| wrong("a whole number"))?;
            }
            "restart_delay" => {
                self.restart_delay_ms =
                    parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 1s or 500ms, or 0"))?;
            }
            "restart_delay_max" => {
                self.restart_delay_max_ms = parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 1min"))?;
            }
            "restart_window" => {
                self.restart_window_ms = parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 10min"))?;
            }
            "view_interval" => {
                self.view_interval_ms =
                    parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 1s or 500ms, or 0"))?;
            }
            "update_interval" => {
                self.update_interval_ms =
                    parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 100ms or 2s, or 0"))?;
            }
            "state_ttl" => {
                self.state_ttl_ms = parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 1h, or 0"))?;
            }
            "state_memory" => {
                self.state_memory = parse_bytes(value).ok_or_else(|| wrong("bytes such as 512MB or 2GB, or 0"))?;
            }
            "query_memory" => {
                self.query_memory = parse_bytes(value).ok_or_else(|| wrong("bytes such as 512MB or 2GB, or 0"))?;
            }
            "result_order" => {
                self.result_order = ResultOrder::parse(value).ok_or_else(|| wrong("canonical or arrival"))?;
            }
            "result_endpoints" => {
                self.result_endpoints = ResultEndpoints::parse(value).ok_or_else(|| wrong("coordinator or workers"))?;
            }
            "channel_bytes" => {
                self.channel_bytes = parse_bytes(value)
                    .filter(|n| *n >= 1024)
                    .ok_or_else(|| wrong("bytes such as 1048576 or 1MB, at least 1024"))?;
            }
            "source_batch_rows" => {
                self.source_batch_rows = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=1_000_000).contains(n))
                    .ok_or_else(|| wrong("a whole number from 1 to 1000000"))?;
            }
            "watermark_max_drift" => {
                self.watermark_max_drift_ms =
                    parse_duration_ms(value).ok_or_else(|| wrong("a duration such as 10s or 5min, or 0"))?;
            }
            "dead_letter_path" => value.clone_into(&mut self.dead_letter_path),
            "seed" => self.seed = value.parse().map_err(|_| wrong("a whole number"))?,
            _ => {
                let valid: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
                return Err(PlanError::InvalidOption(format!(
                    "unknown setting {name}; valid are: {}",
                    valid.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// For how long a checkpoint's barrier waits before it overtakes rows; nothing for ever.
    #[must_use]
    pub fn barriers_overtake_after(&self) -> Option<Duration> {
        Some(self.aligned_checkpoint_timeout_ms).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// The name of a setting that differs here and in `other`, among those that hold for a whole job:
    /// all but what is fixed in its operators.
    #[must_use]
    pub fn other_job_setting(&self, other: &Self) -> Option<&'static str> {
        let of_operators = ["execution", "batch.engine", "parallelism", "seed", "state_ttl"];
        let mut names = SETTINGS.iter().map(|setting| setting.name).filter(|name| !of_operators.contains(name));
        names.find(|name| self.get(name) != other.get(name))
    }

    /// The value of a setting as text, as SHOW prints it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        Some(match name {
            "execution" => self.execution.name().to_owned(),
            "batch.engine" => self.batch_engine.name().to_owned(),
            "parallelism" => self.parallelism.to_string(),
            "checkpoint_interval" => format!("{}ms", self.checkpoint_interval_ms),
            "aligned_checkpoint_timeout" => format!("{}ms", self.aligned_checkpoint_timeout_ms),
            "checkpoint_storage" => self.checkpoint_storage.clone(),
            "from_savepoint" => self.from_savepoint.clone(),
            "allow_dropped_state" => self.allow_dropped_state.to_string(),
            "restart_strategy" => self.restart_strategy.name().to_owned(),
            "restart_attempts" => self.restart_attempts.to_string(),
            "restart_delay" => format!("{}ms", self.restart_delay_ms),
            "restart_delay_max" => format!("{}ms", self.restart_delay_max_ms),
            "restart_window" => format!("{}ms", self.restart_window_ms),
            "view_interval" => format!("{}ms", self.view_interval_ms),
            "update_interval" => format!("{}ms", self.update_interval_ms),
            "state_ttl" => format!("{}ms", self.state_ttl_ms),
            "state_memory" => self.state_memory.to_string(),
            "query_memory" => self.query_memory.to_string(),
            "result_order" => self.result_order.name().to_owned(),
            "result_endpoints" => self.result_endpoints.name().to_owned(),
            "channel_bytes" => self.channel_bytes.to_string(),
            "source_batch_rows" => self.source_batch_rows.to_string(),
            "watermark_max_drift" => format!("{}ms", self.watermark_max_drift_ms),
            "dead_letter_path" => self.dead_letter_path.clone(),
            "seed" => self.seed.to_string(),
            _ => return None,
        })
    }
}

/// Reads `10s`, `500ms`, `5min`, `1h`, `1d`, `0` as milliseconds.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let unit = match text[split..].trim() {
        "" if number == 0 => 1,
        "ms" => 1,
        "s" | "sec" => 1_000,
        "min" | "m" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Reads `1024`, `512kB`, `64MB`, `2GB` as bytes; a kilobyte is 1024 of them, as in PostgreSQL's settings.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    let shift = match text[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "tb" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_setting_can_be_read_and_set_to_its_default() {
        let mut settings = Settings::default();
        for spec in SETTINGS {
            settings.set(spec.name, spec.default).unwrap();
            assert!(settings.get(spec.name).is_some(), "{}", spec.name);
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn bytes_have_units() {
        for (text, bytes) in [("0", 0), ("1024", 1024), ("512kB", 512 << 10), ("64 MB", 64 << 20), ("2gb", 2 << 30)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MB", "1.5GB", "-1", "1 gallon", "99999999999TB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn wrong_values_say_what_is_valid() {
        let mut settings = Settings::default();
        assert!(settings.set("parallelism", "0").unwrap_err().to_string().contains("1 to 128"));
        assert!(settings.set("paralelism", "1").unwrap_err().to_string().contains("valid are: parallelism"));
    }
}

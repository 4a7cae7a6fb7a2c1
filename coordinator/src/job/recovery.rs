//! Whether and when a job that has failed is tried again.
//!
//! Plain state that is told what time it is. What is wrong with the query or its data fails again in the same
//! way, so it is not tried again; everything else is, as the settings say.

use std::collections::VecDeque;
use std::time::Duration;

use tidemill_plans::ErrorDomain;
use tidemill_plans::settings::{RestartStrategy, Settings};

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    strategy: RestartStrategy,
    attempts_max: u32,
    delay: Duration,
    delay_max: Duration,
    window: Duration,
    /// When the job failed: those failures that count.
    failures: VecDeque<Duration>,
}

impl Recovery {
    /// As a job's settings say.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            strategy: settings.restart_strategy,
            attempts_max: settings.restart_attempts,
            delay: Duration::from_millis(settings.restart_delay_ms),
            delay_max: Duration::from_millis(settings.restart_delay_max_ms),
            window: Duration::from_millis(settings.restart_window_ms),
            failures: VecDeque::new(),
        }
    }

    /// The job has failed at `now`: how long to wait before it is tried again, if it is to be.
    pub fn delay_after(&mut self, domain: ErrorDomain, now: Duration) -> Option<Duration> {
        if domain == ErrorDomain::User || self.strategy == RestartStrategy::None {
            return None;
        }
        self.forget(now);
        self.failures.push_back(now);
        let failures = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if failures > self.attempts_max {
            return None;
        }
        Some(match self.strategy {
            RestartStrategy::ExponentialDelay => {
                let factor = 2u32.saturating_pow(failures - 1);
                self.delay.saturating_mul(factor).min(self.delay_max.max(self.delay))
            }
            _ => self.delay,
        })
    }

    /// Forgets the failures that do not count any more.
    fn forget(&mut self, now: Duration) {
        match self.strategy {
            RestartStrategy::FixedDelay | RestartStrategy::None => {}
            RestartStrategy::FailureRate => self.failures.retain(|failure| now.saturating_sub(*failure) < self.window),
            RestartStrategy::ExponentialDelay => {
                if self.failures.back().is_some_and(|last| now.saturating_sub(*last) >= self.window) {
                    self.failures.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delays, in milliseconds, after failures at these seconds.
    fn delays(settings: &[(&str, &str)], failures: &[u64]) -> Vec<Option<u128>> {
        let mut all = Settings::default();
        for (name, value) in settings {
            all.set(name, value).unwrap();
        }
        let mut recovery = Recovery::new(&all);
        let at = |seconds: &u64| recovery.delay_after(ErrorDomain::External, Duration::from_secs(*seconds));
        failures.iter().map(at).map(|delay| delay.map(|delay| delay.as_millis())).collect()
    }

    #[test]
    fn delays_double_up_to_a_limit_until_the_job_is_given_up() {
        let settings = [("restart_delay", "500ms"), ("restart_delay_max", "3s"), ("restart_attempts", "5")];
        let expected = [Some(500), Some(1000), Some(2000), Some(3000), Some(3000), None];
        assert_eq!(delays(&settings, &[0, 1, 3, 6, 10, 15]), expected);
        // A job that has run for long enough begins anew.
        assert_eq!(delays(&settings, &[0, 1, 700]), [Some(500), Some(1000), Some(500)]);
    }

    #[test]
    fn a_rate_counts_failures_within_a_window_and_a_fixed_delay_all_of_them() {
        let rate = [("restart_strategy", "failure_rate"), ("restart_attempts", "2"), ("restart_window", "1min")];
        assert_eq!(delays(&rate, &[0, 50, 70, 100]), [Some(1000), Some(1000), Some(1000), None]);
        let fixed = [("restart_strategy", "fixed_delay"), ("restart_attempts", "2"), ("restart_delay", "0")];
        assert_eq!(delays(&fixed, &[0, 5000, 10_000]), [Some(0), Some(0), None]);
        assert_eq!(delays(&[("restart_strategy", "none")], &[0]), [None]);
    }

    #[test]
    fn what_would_fail_again_in_the_same_way_is_not_tried_again() {
        let mut recovery = Recovery::new(&Settings::default());
        assert_eq!(recovery.delay_after(ErrorDomain::User, Duration::ZERO), None);
        assert!(recovery.delay_after(ErrorDomain::Internal, Duration::ZERO).is_some());
    }
}

//! Estimates of policies: NumPy's numbers, a case by hand, and rows that have none.

use crate::actions::testing::{bits, noise};
use crate::goldens::expected;
use crate::metrics::{OffPolicyRow, OffPolicySums};

use super::assert_close;

/// As `logged` in `goldens/decisions.py`.
fn logged(row: usize) -> OffPolicyRow {
    let shares = [0, 1, 2].map(|column| 1.0 + (bits(row, column) % 5) as f64);
    let action = bits(row, 3) % 3;
    let propensity = shares[action] / shares.iter().sum::<f64>();
    let reward = noise(row, 4) + action as f64;
    OffPolicyRow::of_action(reward, propensity, action == bits(row, 5) % 3, 0.5 + 0.1 * noise(row, 6))
}

/// The same decisions, of a policy that takes each action with a probability.
fn shared(row: usize) -> OffPolicyRow {
    let agreement = (1.0 + (bits(row, 7) % 4) as f64) / 6.0;
    OffPolicyRow { agreement, predicted_of_policy: noise(row, 8), ..logged(row) }
}

fn sums(rows: &[OffPolicyRow]) -> OffPolicySums {
    rows.iter().collect()
}

#[test]
fn estimates_equal_numpy() {
    let rows: Vec<_> = (0..200).map(logged).collect();
    let whole = sums(&rows);
    let mut merged = sums(&rows[..71]);
    merged.merge(&OffPolicySums::default());
    merged.merge(&sums(&rows[71..]));
    for sums in [whole, merged] {
        for (name, found) in [
            ("ips", sums.ips()),
            ("snips", sums.snips()),
            ("doubly_robust", sums.doubly_robust()),
            ("ips_error", sums.ips_error()),
            ("doubly_robust_error", sums.doubly_robust_error()),
            ("effective_rows", sums.effective_rows()),
        ] {
            assert_close(found, expected("off_policy", name)[0], 1e-12);
        }
    }
    let of_shares = sums(&(0..200).map(shared).collect::<Vec<_>>());
    assert_close(of_shares.ips(), expected("off_policy_shares", "ips")[0], 1e-12);
    assert_close(of_shares.snips(), expected("off_policy_shares", "snips")[0], 1e-12);
    assert_close(of_shares.doubly_robust(), expected("off_policy_shares", "doubly_robust")[0], 1e-12);
}

#[test]
fn two_rows_by_hand() {
    // Weights 1 / 0.5 = 2 and 0: 2 * 3 / 2, 6 / 2, and (1 + 2 (3 - 1) + 4) / 2.
    let sums = sums(&[OffPolicyRow::of_action(3.0, 0.5, true, 1.0), OffPolicyRow::of_action(9.0, 0.1, false, 4.0)]);
    assert_eq!((sums.ips(), sums.snips(), sums.doubly_robust()), (Some(3.0), Some(3.0), Some(4.5)));
    assert_eq!(sums.effective_rows(), Some(1.0));
    // Terms 6 and 0: deviation √18, error √(18 / 2).
    assert_close(sums.ips_error(), 3.0, 1e-12);
}

#[test]
fn estimates_without_a_value_are_none() {
    let empty = OffPolicySums::default();
    assert_eq!((empty.ips(), empty.snips(), empty.doubly_robust(), empty.effective_rows()), (None, None, None, None));
    let good = OffPolicyRow::of_action(1.0, 0.5, false, 0.5);
    let alone = sums(&[good]);
    // No action agrees: the estimate is 0, and nothing says what the mean of the others is.
    assert_eq!(
        (alone.ips(), alone.snips(), alone.effective_rows(), alone.ips_error()),
        (Some(0.0), None, Some(0.0), None)
    );
    for bad in [
        OffPolicyRow { propensity: 0.0, ..good },
        OffPolicyRow { propensity: 1.5, ..good },
        OffPolicyRow { propensity: f64::NAN, ..good },
        OffPolicyRow { agreement: -0.1, ..good },
        OffPolicyRow { reward: f64::INFINITY, ..good },
        OffPolicyRow { predicted_of_policy: f64::NAN, ..good },
    ] {
        let mut sums = sums(&[good]);
        sums.merge(&[good, bad].iter().collect());
        assert_eq!((sums.count, sums.undefined, sums.ips(), sums.doubly_robust()), (3, 1, None, None), "{bad:?}");
    }
}

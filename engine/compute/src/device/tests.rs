//! Which device is chosen, and what does not depend on it. What a device does: `gpu/tests.rs`.

use std::num::NonZeroUsize;

use super::{Compute, DEVICE_MEMORY_MAX, Preference, chosen, reports, set_chosen};
use crate::error::ComputeError;
use crate::kernel::histogram::Binned;
use crate::kernel::logistic_loss::Hessian;
use crate::matrix::Matrix;

const ONE: NonZeroUsize = NonZeroUsize::MIN;

#[test]
fn a_device_has_a_name() {
    assert_eq!("auto".parse(), Ok(Preference::Auto));
    assert_eq!("cpu".parse(), Ok(Preference::Cpu));
    assert_eq!("wgpu".parse(), Ok(Preference::Wgpu));
    let error = "cuda".parse::<Preference>().unwrap_err();
    assert_eq!(error, ComputeError::UnknownDevice("cuda".into()));
    assert_eq!(error.to_string(), "'cuda' is no device to compute with: it is one of auto, cpu, wgpu");
}

#[test]
fn the_cpu_is_chosen_by_name_and_says_so() {
    let compute = Compute::choose(Preference::Cpu, DEVICE_MEMORY_MAX, ONE).unwrap();
    let report = compute.report();
    assert_eq!((report.name.as_str(), report.reason.as_str()), ("cpu", "--compute-device cpu"));
}

#[test]
fn auto_is_never_an_error() {
    let compute = Compute::choose(Preference::Auto, DEVICE_MEMORY_MAX, ONE).unwrap();
    let identity = Matrix::new(&[1.0, 0.0, 0.0, 1.0], 2, 2).unwrap();
    let placed = compute.place(identity);
    assert_eq!(compute.product(&placed, &placed).unwrap(), identity.values());
    assert!(!compute.report().reason.is_empty());
}

#[cfg(not(feature = "wgpu"))]
#[test]
fn wgpu_that_is_not_built_in_is_an_error_for_who_asks_for_it() {
    let error = Compute::choose(Preference::Wgpu, DEVICE_MEMORY_MAX, ONE).unwrap_err();
    assert_eq!(error, ComputeError::NotBuilt);
    let reason = Compute::choose(Preference::Auto, DEVICE_MEMORY_MAX, ONE).unwrap().report().reason;
    assert_eq!(reason, error.to_string());
}

#[test]
fn shapes_that_do_not_fit_are_the_callers_to_mend() {
    let compute = Compute::cpu("a test");
    let (two, three) = ([1.0, 2.0], [1.0, 2.0, 3.0]);
    let (two, three) = (Matrix::new(&two, 1, 2).unwrap(), Matrix::new(&three, 1, 3).unwrap());
    let (two, three) = (compute.place(two), compute.place(three));
    let shapes = |operation| ComputeError::Shapes { operation, left: (1, 2), right: (1, 3) };
    assert_eq!(compute.product(&two, &three).unwrap_err(), shapes("product"));
    assert_eq!(compute.nearest(&two, &three, 1).unwrap_err(), shapes("distances"));
    assert_eq!(compute.assign(&three, &two).unwrap_err(), shapes("distances"));
    assert_eq!(compute.softmax_of_product(&two, &three).unwrap_err(), shapes("product"));
    let error = compute.times_vector(&two, &[1.0]).unwrap_err();
    assert_eq!(error.to_string(), "product with a vector of (1, 2) and (1, 1) (rows, columns)");
    assert!(compute.gram(&two, Some(&[])).is_err());
    assert!(compute.logistic_sums(&two, &[true, false], &[0.0; 2], Hessian::None).is_err());
    assert!(compute.group_sums(&two, &[], 3).is_err());
    let bins = compute.place_bins(Binned::new(&[0, 1], 2, 1).unwrap());
    assert!(compute.histogram(&bins, &[[0; 2]], &[0]).is_err());
    assert!(Binned::new(&[0, 1], 2, 2).is_err());
}

/// The only test that touches what all of the process share.
#[test]
fn the_process_has_one_choice_and_the_cpu_until_it_is_made() {
    assert_eq!(chosen().report().name, "cpu");
    assert_eq!(reports()[0].reason, "nobody has chosen a device in this process");
    assert!(set_chosen(Compute::cpu("the first")));
    assert!(!set_chosen(Compute::cpu("the second")), "who comes later changes nothing");
    assert_eq!((chosen().report().reason.as_str(), reports().len()), ("the first", 1));
    assert!(!chosen().may_round());
}

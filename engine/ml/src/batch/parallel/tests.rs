use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

#[test]
fn parts_that_are_written_to_come_in_their_order() {
    let mut numbers: Vec<u32> = (0..10).collect();
    let sums = owned_in_parallel(stretches_mut(&mut numbers, 4), |part| {
        part.iter_mut().for_each(|number| *number *= 2);
        part.iter().sum::<u32>()
    });
    assert_eq!(numbers, (0..10).map(|number| number * 2).collect::<Vec<_>>());
    assert_eq!(sums, [6, 24, 42, 18]);
    assert!(owned_in_parallel(stretches_mut(&mut [0; 0], 4), |part: &mut [u32]| part.len()).is_empty());
}

#[test]
fn work_inside_of_work_ends() {
    let all = in_parallel(&[1_u64, 2, 3, 4, 5, 6, 7], |outer| {
        let inner = in_parallel(&[10, 20, 30], |inner| {
            in_parallel(&[100, 200], |innermost| outer + inner + innermost).iter().sum::<u64>()
        });
        inner.iter().sum::<u64>()
    });
    assert_eq!(all, (1..=7).map(|outer| 6 * outer + 1020).collect::<Vec<_>>());
}

#[test]
fn callers_do_not_wait_for_each_other() {
    let (first, second) = (channel(), channel());
    // The one holds all threads of the crew until the other is through.
    let held = std::thread::spawn(move || {
        let (started, go_on) = (Mutex::new(first.0), Mutex::new(second.1));
        in_parallel(&[(); 64], |()| {
            started.lock().unwrap().send(()).unwrap();
            let _: Result<(), _> = go_on.lock().unwrap().recv_timeout(Duration::from_secs(60));
        });
    });
    first.1.recv().unwrap();
    assert_eq!(in_parallel(&[1, 2, 3], |part| part * 2), [2, 4, 6]);
    drop(second.0);
    held.join().unwrap();
}

#[test]
fn a_panic_comes_back_and_the_crew_goes_on() {
    for bad in 0..4 {
        let work = |part: &i32| if *part == bad { panic!("part {bad}") } else { *part };
        let panic = catch_unwind(AssertUnwindSafe(|| in_parallel(&[0, 1, 2, 3], work))).unwrap_err();
        assert_eq!(*panic.downcast::<String>().unwrap(), format!("part {bad}"));
    }
    assert_eq!(in_parallel(&[1, 2], |part| part + 1), [2, 3]);
}

#[test]
fn small_work_is_worth_one_thread() {
    assert_eq!([0, 90_000, 110_000, 10_000_000].map(|nanoseconds| worthwhile(4, nanoseconds)), [1, 1, 2, 4]);
}

/// To be run by hand: what a second thread costs where it was busy just before, and where it sleeps.
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
fn thread_latency() {
    let spin = |micros: u64| {
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_micros(micros) {}
    };
    for pause in [0, 20, 100, 1000] {
        let mut took = Vec::new();
        for _ in 0..500 {
            spin(pause);
            let start = std::time::Instant::now();
            in_parallel(&[(), ()], |()| spin(100));
            took.push(start.elapsed().as_micros());
        }
        took.sort_unstable();
        eprintln!("2 times 100 us after {pause} us: median {} us, of a tenth more than {}", took[250], took[450]);
    }
}

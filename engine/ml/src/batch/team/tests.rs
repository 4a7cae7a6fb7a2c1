//! Models that several members fit are those of one, to the last bit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
};
use arrow::datatypes::DataType;

use super::{Team, gathered};
use crate::batch::{FitControl, FitReport, create_batch, feature_schema};
use crate::error::{MlError, Result};
use crate::model::FeatureSchema;

const ROWS: usize = 5000;

/// One of a team of threads.
#[derive(Debug)]
struct Member {
    rank: usize,
    parts: Arc<Vec<Mutex<Vec<u8>>>>,
    barrier: Arc<Barrier>,
    gathers: AtomicUsize,
}

impl Team for Member {
    fn size(&self) -> usize {
        self.parts.len()
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn gather(&self, part: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.gathers.fetch_add(1, Ordering::Relaxed);
        *self.parts[self.rank].lock().unwrap() = part;
        self.barrier.wait();
        let all = self.parts.iter().map(|part| part.lock().unwrap().clone()).collect();
        self.barrier.wait();
        Ok(all)
    }

    fn entries_min(&self) -> usize {
        0
    }
}

/// What each of so many members makes of its work. Where one panics while others wait, they wait for ever.
fn in_team<T: Send>(size: usize, work: impl Fn(Arc<Member>) -> T + Sync) -> Vec<T> {
    let parts: Arc<Vec<_>> = Arc::new((0..size).map(|_| Mutex::default()).collect());
    let barrier = Arc::new(Barrier::new(size));
    let member = |rank| {
        let (parts, barrier) = (Arc::clone(&parts), Arc::clone(&barrier));
        Arc::new(Member { rank, parts, barrier, gathers: AtomicUsize::new(0) })
    };
    std::thread::scope(|scope| {
        let (member, work) = (&member, &work);
        let members: Vec<_> = (0..size).map(|rank| scope.spawn(move || work(member(rank)))).collect();
        members.into_iter().map(|member| member.join().unwrap()).collect()
    })
}

fn of_team(team: &Arc<Member>, control: FitControl) -> FitControl {
    let team: Arc<dyn Team> = Arc::<Member>::clone(team);
    FitControl { team: Some(team), ..control }
}

/// Numbers of no order.
fn number(row: usize, column: usize) -> f64 {
    let bits = ((row * 31 + column * 7 + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / f64::from(1 << 24)
}

fn column(of: impl Fn(usize) -> f64) -> ArrayRef {
    Arc::new((0..ROWS).map(|row| Some(of(row)).filter(|_| row % 97 != 5)).collect::<Float64Array>())
}

fn features(model_type: &str) -> RecordBatch {
    let places = |count: i64| (0..ROWS as i64).map(move |row| Some(row % count));
    match model_type {
        "arima" | "exponential_smoothing" => {
            let days: ArrayRef = Arc::new(Date32Array::from_iter((0..ROWS as i32).map(|row| Some(row / 50))));
            let (ids, values): (ArrayRef, _) = (Arc::new(places(50).collect::<Int64Array>()), column(target));
            RecordBatch::try_from_iter([("id", ids), ("timestamp", days), ("value", values)]).unwrap()
        }
        "matrix_factorization" => {
            let texts = |count| {
                Arc::new(places(count).map(|place| place.map(|place| place.to_string())).collect::<StringArray>())
            };
            let [users, items] = [71, 61].map(|count| texts(count) as ArrayRef);
            RecordBatch::try_from_iter([("user", users), ("item", items)]).unwrap()
        }
        "boosted_tree_ranker" => of_kinds(&["x", "y", "c", "g"]),
        "one_class_svm" | "robust_zscore" | "gaussian_mixture" | "dbscan" => of_kinds(&["x", "y"]),
        _ => of_kinds(&["x", "y", "c"]),
    }
}

/// Some of two numbers, a category and a group.
fn of_kinds(wanted: &[&str]) -> RecordBatch {
    let names = (0..ROWS).map(|row| Some(["a", "b", "c", "d"][(number(row, 3) * 4.0) as usize]));
    let (x, y) = (column(|row| number(row, 0)), column(|row| number(row, 1) * 10.0 + number(row, 0)));
    let groups: Int64Array = (0..ROWS as i64).map(|row| Some(row / 7)).collect();
    let texts: ArrayRef = Arc::new(names.collect::<StringArray>());
    let all = [("x", x), ("y", y), ("c", texts), ("g", Arc::new(groups) as ArrayRef)];
    RecordBatch::try_from_iter(all.into_iter().filter(|(name, _)| wanted.contains(name))).unwrap()
}

/// What a row's label follows, mostly.
fn target(row: usize) -> f64 {
    number(row, 0) + f64::from(u8::from(number(row, 3) < 0.25)) + 0.3 * number(row, 9)
}

#[derive(Debug, Clone, Copy)]
enum Label {
    No,
    Two,
    Three,
    Number,
}

fn labels(label: Label) -> ArrayRef {
    let rows = 0..ROWS;
    match label {
        Label::No => Arc::new(NullArray::new(ROWS)),
        Label::Two => Arc::new(rows.map(|row| Some(target(row) > 0.8)).collect::<BooleanArray>()),
        Label::Three => Arc::new(rows.map(|row| Some((target(row) * 1.2) as i64)).collect::<Int64Array>()),
        Label::Number => Arc::new(Float64Array::from_iter_values(rows.map(target))),
    }
}

fn fit(model_type: &str, options: &str, label: Label, control: FitControl) -> Result<FitReport> {
    let features = features(model_type);
    let pair = |option: &str| option.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = options.split_whitespace().filter_map(pair).collect();
    let labels = labels(label);
    let label_type = match label {
        Label::No => DataType::Null,
        _ => labels.data_type().clone(),
    };
    let schema = feature_schema(model_type, &features.schema()).unwrap();
    let mut model = create_batch(model_type, &options, &schema, &label_type)?;
    model.add(&features, &labels)?;
    model.set_control(control);
    model.fit()
}

/// Fits alone and in teams; how often the members of a team of two waited for each other.
fn check(model_type: &str, options: &str, label: Label) -> usize {
    let expected = fit(model_type, options, label, FitControl::default()).unwrap();
    let mut gathers = 0;
    for size in [2, 3, 4] {
        let fits = in_team(size, |team| {
            let control = of_team(&team, FitControl::default());
            (fit(model_type, options, label, control).unwrap(), team.gathers.load(Ordering::Relaxed))
        });
        for (report, own) in &fits {
            assert!(*report == expected, "{model_type} {options}: {size} members came to something else");
            assert_eq!(*own, fits[0].1, "{model_type}: members wait for each other");
        }
        if size == 2 {
            gathers = fits[0].1;
        }
    }
    gathers
}

#[test]
fn members_of_a_team_come_to_the_model_of_one() {
    use Label::{No, Number, Three, Two};
    let divided = [
        ("logistic_reg", "", Two),
        ("logistic_reg", "l1_reg=0.5", Two),
        ("logistic_reg", "", Three),
        ("linear_reg", "", Number),
        ("linear_reg", "l1_reg=0.01", Number),
        ("linear_svm", "", Two),
        ("linear_svr", "", Number),
        ("naive_bayes", "", Three),
        ("kmeans", "num_clusters=3 seed=7", No),
        ("gaussian_mixture", "num_clusters=2 seed=7", No),
        ("truncated_svd", "num_components=2", No),
        ("isolation_forest", "", No),
        ("random_forest_regressor", "num_parallel_tree=5 subsample=0.6 seed=2", Number),
        ("random_forest_classifier", "num_parallel_tree=3 seed=2", Two),
        ("arima", "non_seasonal_order=1,0,1 time_series_id_col=id", No),
        ("exponential_smoothing", "time_series_id_col=id", No),
        ("matrix_factorization", "user_col=user item_col=item num_factors=3 max_iterations=4", Number),
        ("robust_zscore", "", No),
        ("one_class_svm", "", No),
    ];
    for (model_type, options, label) in divided {
        assert!(check(model_type, options, label) > 0, "{model_type} {options}: nothing is divided");
    }
}

#[test]
fn members_of_a_team_grow_the_trees_of_one() {
    use Label::{Number, Three, Two};
    let cases = [
        ("boosted_tree_classifier", "max_iterations=8", Two),
        ("boosted_tree_classifier", "max_iterations=5 subsample=0.5 colsample_bytree=0.7 seed=3", Three),
        ("boosted_tree_classifier", "max_iterations=30 data_split_method=random seed=1 early_stop=true", Two),
        ("boosted_tree_regressor", "max_iterations=8 min_rows_in_leaf=3", Number),
        ("boosted_tree_ranker", "max_iterations=4 group_column=g", Three),
    ];
    for (model_type, options, label) in cases {
        // Of each split how many rows go to the left, and of most a histogram.
        assert!(check(model_type, options, label) > 4 * 31, "{model_type} {options}: trees are not grown together");
    }
}

#[test]
fn members_of_a_team_find_what_one_does() {
    let searches = [
        // Each fit is divided, or each member has some of them.
        "num_trials=5 l2_reg=hparam_range(0.1,2) seed=4",
        "num_trials=5 l2_reg=hparam_range(0.1,2) seed=4 max_parallel_trials=3",
        "num_trials=6 learn_rate=hparam_range(0.1,2) seed=4 max_parallel_trials=4 cv_folds=2",
    ];
    for options in searches {
        let label = if options.contains("learn_rate") { "boosted_tree_classifier" } else { "logistic_reg" };
        assert!(check(label, options, Label::Two) > 0, "{options}");
    }
    let halved = "num_trials=4 max_iterations=3 num_leaves=hparam_range(2,9) seed=4 max_parallel_trials=2 \
                  hparam_tuning_algorithm=successive_halving";
    assert!(check("boosted_tree_classifier", halved, Label::Two) > 0);
    // One of two trials comes to nothing, whoever runs it.
    let grid = "num_trials=2 num_neighbors=hparam_candidates([9000,3]) max_parallel_trials=2 \
                hparam_tuning_algorithm=grid_search";
    assert!(check("knn_classifier", grid, Label::Two) > 0);
}

#[test]
fn what_is_not_divided_is_the_same_everywhere() {
    use Label::{No, Two};
    let whole = [
        ("decision_tree_classifier", "", Two),
        ("knn_classifier", "", Two),
        ("pca", "num_principal_components=2", No),
        ("dbscan", "eps=0.2", No),
    ];
    for (model_type, options, label) in whole {
        check(model_type, options, label);
    }
}

#[test]
fn one_who_is_stopped_tells_nobody_half_of_a_sum() {
    let stopped = FitControl::default();
    stopped.stop.store(true, Ordering::Relaxed);
    let team = in_team(1, |team| team).remove(0);
    let control = of_team(&team, stopped);
    assert!(matches!(fit("logistic_reg", "", Label::Two, control), Err(MlError::Stopped)));
    assert_eq!(team.gathers.load(Ordering::Relaxed), 0);
}

#[test]
fn members_that_do_something_else_are_told() {
    let errors = in_team(2, |team| match team.rank() {
        0 => gathered(&*team, &[1.0, 2.0]).unwrap_err().to_string(),
        _ => gathered(&*team, &[7_u64]).unwrap_err().to_string(),
    });
    assert!(errors.iter().all(|error| error.contains("another member is elsewhere in its fit")), "{errors:?}");
}

/// Seconds of a fit on one thread alone, and of the same by two members on a thread each:
/// `cargo test --release -p tidemill-ml team_throughput -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, to be run by hand in release"]
#[expect(clippy::print_stderr, reason = "a measurement reports to the person who runs it")]
#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
fn team_throughput() {
    let (features, numbers) = crate::batch::throughput::numbers(1_000_000);
    let labels: BooleanArray = numbers.iter().map(|label| Some(*label > 0.0)).collect();
    let schema = FeatureSchema::from_arrow(&features.schema()).unwrap();
    for (model_type, options) in [
        ("boosted_tree_classifier", vec![("max_iterations", "100")]),
        ("logistic_reg", vec![]),
        ("random_forest_classifier", vec![("num_parallel_tree", "8"), ("max_tree_depth", "12")]),
        ("kmeans", vec![("num_clusters", "20"), ("max_iterations", "20")]),
    ] {
        let options = options.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let is_labelled = model_type != "kmeans";
        let fit = |team: Option<Arc<dyn Team>>| {
            let label_type = if is_labelled { DataType::Boolean } else { DataType::Null };
            let mut model = create_batch(model_type, &options, &schema, &label_type).unwrap();
            let labels: ArrayRef = match is_labelled {
                true => Arc::new(labels.clone()),
                false => Arc::new(NullArray::new(labels.len())),
            };
            model.add(&features, &labels).unwrap();
            model.set_control(FitControl { team, ..FitControl::default() });
            let start = std::time::Instant::now();
            model.fit().unwrap();
            start.elapsed().as_secs_f64()
        };
        let alone = fit(None);
        let together = in_team(2, |team| fit(Some(team))).into_iter().fold(0.0, f64::max);
        eprintln!("{model_type}: alone {alone:.2} s, two members {together:.2} s, {:.2} times", alone / together);
    }
}

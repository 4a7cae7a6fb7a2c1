//! Files that no library wrote, or of models that have no trees here.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::{MlError, Result};

#[track_caller]
fn check_error(result: Result<Imported>, expected: Expect) {
    expected.assert_eq(&result.err().map_or("no error".to_owned(), |error| error.to_string()));
}

/// A file in which the first of something is something else.
#[track_caller]
fn changed(case: &str, format: ImportFormat, from: &str, to: &str) -> Result<Imported> {
    let text = file(case, format);
    assert!(text.contains(from), "{case} has no {from}");
    import(&text.replacen(from, to, 1), format, None)
}

#[test]
fn names_that_do_not_fit_are_an_error() {
    let text = file("lightgbm_classes", LightgbmText);
    let with = |data_type, names: &[&str]| import(&text, LightgbmText, Some(&named(data_type, names)));
    check_error(
        with(DataType::Utf8, &["a", "b"]),
        expect!["the model in lightgbm_text cannot be imported: the names of the classes: there are 2 for 3 classes"],
    );
    check_error(
        with(DataType::Utf8, &["a", "b", "a"]),
        expect!["the model in lightgbm_text cannot be imported: the names of the classes: 'a' is there twice"],
    );
    check_error(
        with(DataType::Int64, &["1", "2", "03"]),
        expect!["the model in lightgbm_text cannot be imported: the names of the classes: '03' is no Int64"],
    );
    check_error(
        with(DataType::Float64, &["1", "2", "3"]),
        expect![
            "label column 'label' has the unsupported type Float64; a class is a BOOLEAN, a VARCHAR or a whole number; cast it to one of these"
        ],
    );
    let text = file("lightgbm_mixed", LightgbmText);
    check_error(
        import(&text, LightgbmText, Some(&named(DataType::Utf8, &["a", "b"]))),
        expect![
            "the model in lightgbm_text cannot be imported: the names of the classes: the model predicts a number, and no class"
        ],
    );
}

#[test]
fn a_wrong_lightgbm_text_is_an_error_that_names_the_line() {
    let wrong = |from, to| changed("lightgbm_mixed", LightgbmText, from, to);
    check_error(
        wrong("tree\n", "forest\n"),
        expect!["the model in lightgbm_text cannot be imported: line 1: a model begins with the line 'tree'"],
    );
    check_error(
        wrong("version=v4", "version=v2"),
        expect!["the model in lightgbm_text cannot be imported: the version: 'v2' is none of v3, v4"],
    );
    check_error(
        wrong("objective=regression", "objective=poisson"),
        expect!["the model in lightgbm_text cannot be imported: the objective: 'poisson' has no model here"],
    );
    check_error(
        wrong("objective=regression", "objective=regression sqrt"),
        expect!["the model in lightgbm_text cannot be imported: the objective: 'regression sqrt' has no model here"],
    );
    check_error(
        wrong("objective=regression\n", "objective=regression\naverage_output\n"),
        expect![
            "the model in lightgbm_text cannot be imported: average_output: trees of a random forest cannot be imported"
        ],
    );
    check_error(
        wrong("num_tree_per_iteration=1", "num_tree_per_iteration=4000000000"),
        expect![
            "the model in lightgbm_text cannot be imported: the trees: 5 with 4000000000 an iteration do not fit 'regression'"
        ],
    );
    check_error(
        wrong("max_feature_idx=3", "max_feature_idx=2"),
        expect![
            "the model in lightgbm_text cannot be imported: feature_names: there are 4 names, and 2 is the last feature"
        ],
    );
    check_error(
        wrong("num_leaves=7", "num_leaves=8"),
        expect![
            "the model in lightgbm_text cannot be imported: line 21, leaf_value: there are 7 numbers, and should be 8"
        ],
    );
    check_error(
        wrong("num_leaves=7", "num_leaves=many"),
        expect!["the model in lightgbm_text cannot be imported: line 13, num_leaves: 'many' is no such number"],
    );
    check_error(
        wrong("Tree=1", "Tree=2"),
        expect!["the model in lightgbm_text cannot be imported: line 33: tree 1 should be here"],
    );
    check_error(
        wrong("is_linear=0", "is_linear=1"),
        expect![
            "the model in lightgbm_text cannot be imported: line 29, is_linear: trees with linear models cannot be imported"
        ],
    );
    check_error(
        wrong("end of trees", ""),
        expect![
            "the model in lightgbm_text cannot be imported: its end: the line 'end of trees' is missing: the file is cut off"
        ],
    );
    check_error(
        wrong("left_child=1", "left_child=0"),
        expect!["the model in lightgbm_text cannot be imported: tree 0, node 0: two ways lead to it"],
    );
    check_error(
        wrong("left_child=1", "left_child=99"),
        expect![
            "the model in lightgbm_text cannot be imported: tree 0, node 99: it is not there, but a split leads to it"
        ],
    );
    check_error(
        wrong("split_feature=", "split_feature=7 "),
        expect![
            "the model in lightgbm_text cannot be imported: line 15, split_feature: there are 7 numbers, and should be 6"
        ],
    );
    check_error(
        wrong("[\"c0\", \"c1\"", "[[\"c0\"], \"c1\""),
        expect![[r#"the model in lightgbm_text cannot be imported: pandas_categorical: '["c0"]' is no category"#]],
    );
    check_error(
        wrong("pandas_categorical:[[", "pandas_categorical:[[],["),
        expect![
            "the model in lightgbm_text cannot be imported: pandas_categorical: it has the categories of 2 columns, but there are 1 of them"
        ],
    );
    check_error(
        wrong("\"c1\"", "\"c0\""),
        expect!["the model in lightgbm_text cannot be imported: feature 'city': category 'c0' is there twice"],
    );
    check_error(
        wrong("feature_names=a b", "feature_names=b b"),
        expect![
            "the model in lightgbm_text cannot be imported: the features: feature column 'b' appears twice; give each feature its own alias"
        ],
    );
    let zeros = file("lightgbm_mixed", LightgbmText).replace("decision_type=2", "decision_type=6");
    check_error(
        import(&zeros, LightgbmText, None),
        expect![
            "the model in lightgbm_text cannot be imported: tree 0, node 0: it takes 0 for a missing number (zero_as_missing), which trees here cannot"
        ],
    );
}

#[test]
fn a_wrong_lightgbm_json_is_an_error_that_names_the_node() {
    let wrong = |from, to| changed("lightgbm_mixed", LightgbmJson, from, to);
    check_error(
        wrong("{", "["),
        expect!["the model in lightgbm_json cannot be imported: its JSON: expected `,` or `]` at line 1 column 8"],
    );
    check_error(
        wrong("\"v4\"", "\"v1\""),
        expect!["the model in lightgbm_json cannot be imported: the version: 'v1' is none of v3, v4"],
    );
    check_error(
        wrong("\"missing_type\": \"None\"", "\"missing_type\": \"Zero\""),
        expect![
            "the model in lightgbm_json cannot be imported: tree 0, node 0: it takes 0 for a missing number (zero_as_missing), which trees here cannot"
        ],
    );
    check_error(
        wrong("\"left_child\"", "\"no_child\""),
        expect!["the model in lightgbm_json cannot be imported: tree 0, node 0: it has not two branches"],
    );
    check_error(
        wrong("\"decision_type\": \"<=\"", "\"decision_type\": \"==\""),
        expect![
            "the model in lightgbm_json cannot be imported: tree 0, node 0: its threshold does not fit its decision_type"
        ],
    );
    check_error(
        wrong("\"split_feature\": ", "\"split_feature\": 9"),
        expect!["the model in lightgbm_json cannot be imported: tree 0, node 0: it splits feature 90, and there are 4"],
    );
    check_error(
        wrong("\"leaf_value\": ", "\"leaf_value\": 1e300, \"other\": "),
        expect![
            "the model in lightgbm_json cannot be imported: tree 0, node 3: its value 1e300 is no number or too large"
        ],
    );
    check_error(
        wrong("\"leaf_value\": ", "\"leaf_coeff\": [1.0], \"leaf_value\": "),
        expect![
            "the model in lightgbm_json cannot be imported: tree 0, node 3: trees with linear models cannot be imported"
        ],
    );
    let text = file("lightgbm_mixed", LightgbmJson);
    let deep = text.replacen("\"left_child\": ", &"\"left_child\": {\"left_child\": ".repeat(200), 1);
    assert!(matches!(import(&deep, LightgbmJson, None), Err(MlError::Import { .. })));
}

#[test]
fn a_wrong_xgboost_json_is_an_error_that_names_the_node() {
    let wrong = |from, to| changed("xgboost_mixed", XgboostJson, from, to);
    check_error(
        wrong("\"gbtree\"", "\"dart\""),
        expect![
            "the model in xgboost_json cannot be imported: gradient_booster: 'dart' cannot be imported; 'gbtree' can"
        ],
    );
    check_error(
        wrong("\"reg:squarederror\"", "\"count:poisson\""),
        expect!["the model in xgboost_json cannot be imported: the objective: 'count:poisson' has no model here"],
    );
    check_error(
        wrong("\"num_target\":\"1\"", "\"num_target\":\"2\""),
        expect![
            "the model in xgboost_json cannot be imported: num_target: models of several labels cannot be imported"
        ],
    );
    check_error(
        wrong("\"objective\":{", "\"objectives\":{"),
        expect![
            "the model in xgboost_json cannot be imported: its JSON: missing field `objective` at line 1 column 6384"
        ],
    );
    check_error(
        wrong("\"tree_info\":[0,", "\"tree_info\":[1,"),
        expect!["the model in xgboost_json cannot be imported: tree 0: it is of class 1, and there are 1"],
    );
    check_error(
        wrong("\"tree_info\":[0,", "\"tree_info\":["),
        expect!["the model in xgboost_json cannot be imported: tree_info: there are 4 for 5 trees"],
    );
    check_error(
        wrong("\"left_children\":[1,", "\"left_children\":[0,"),
        expect!["the model in xgboost_json cannot be imported: tree 0, node 0: two ways lead to it"],
    );
    check_error(
        wrong("\"left_children\":[1,", "\"left_children\":[-1,"),
        expect!["the model in xgboost_json cannot be imported: tree 0, node 0: it has one branch"],
    );
    check_error(
        wrong("\"left_children\":[1,", "\"left_children\":[1,1,"),
        expect!["the model in xgboost_json cannot be imported: tree 0: its lists differ in length"],
    );
    check_error(
        wrong("\"split_indices\":[", "\"split_indices\":[1"),
        expect!["the model in xgboost_json cannot be imported: tree 0, node 0: it splits feature 10, and there are 4"],
    );
    check_error(
        wrong("\"size_leaf_vector\":\"1\"", "\"size_leaf_vector\":\"2\""),
        expect!["the model in xgboost_json cannot be imported: tree 0: trees of several labels cannot be imported"],
    );
    let features = file("xgboost_mixed", XgboostJson);
    let features = features.replace("\"num_feature\":\"4\"", "\"num_feature\":\"4000000000\"");
    check_error(
        import(&features, XgboostJson, None),
        expect!["the model in xgboost_json cannot be imported: num_feature: there may be 100000"],
    );
    let binary = file("xgboost_leaves", XgboostJson).replace("3E-1", "1E0");
    check_error(
        import(&binary, XgboostJson, None),
        expect![
            "the model in xgboost_json cannot be imported: base_score: '[1E0]' is not what 1 scores can begin with"
        ],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_file_says_is_an_error_or_a_working_model(
        which in 0..6_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<prop::sample::Index>()), 1..5),
    ) {
        let (case, format) = [
            ("lightgbm_mixed", LightgbmText),
            ("lightgbm_mixed", LightgbmJson),
            ("xgboost_mixed", XgboostJson),
            ("lightgbm_two_scores", LightgbmText),
            ("xgboost_classes", XgboostJson),
            ("xgboost_binary", XgboostJson),
        ][which];
        let mut bytes = file(case, format).into_bytes();
        let words: [&[u8]; 9] = [b"-1", b"9", b"4294967296", b"1e400", b"nan", b" ", b"[", b"\n", b"|"];
        for (place, how, what) in changes {
            let place = place.index(bytes.len());
            match how {
                0 => drop(bytes.splice(place..=place, what.get(&words).iter().copied())),
                1 => bytes.truncate(place.max(1)),
                _ => drop(bytes.remove(place)),
            }
        }
        if let Ok(found) = import(&String::from_utf8_lossy(&bytes), format, None) {
            let model = restore_supervised(&found.model).unwrap();
            for rows in [asked(), iris("f"), iris("Column_")] {
                let _ = model.predictions(&rows);
            }
        }
    }
}

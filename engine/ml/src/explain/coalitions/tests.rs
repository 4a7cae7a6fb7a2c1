//! The definition's values, errors about as large as they say, features that are missing, and too many.

use super::*;
use crate::explain::tests::shapley;
use crate::goldens::assert_all_close;

/// What a game says of the players that are known, as bits.
fn explained(is_there: &[bool], game: impl Fn(u32) -> f64) -> Shares {
    let bits = |known: &[bool]| known.iter().enumerate().map(|(player, known)| u32::from(*known) << player).sum();
    let answer =
        |asked: ChunksExact<'_, bool>, answers: &mut Vec<f64>| answers.extend(asked.map(|known| game(bits(known))));
    Coalitions::new(is_there.len()).unwrap().explain(is_there, answer)
}

/// Products of some players, and a part of each.
fn game(known: u32) -> f64 {
    let has = |player: u32| f64::from(known >> player & 1);
    let alone: f64 = (0..20).map(|player| f64::from(player * 7 % 5) * has(player)).sum();
    3.0 + alone + 4.0 * has(0) * has(2) - 5.0 * has(1) * has(3) * has(4) + 2.0 * has(3) * (1.0 - has(2))
}

#[test]
fn few_features_have_the_values_of_the_definition() {
    for players in 1..=11 {
        let shares = explained(&vec![true; players], game);
        assert_all_close(&shares.attributions, &shapley(players, game), 1e-12);
        assert_eq!((shares.baseline, shares.error), (game(0), 0.0));
    }
}

#[test]
fn the_sum_is_exact_and_the_error_is_about_what_it_says() {
    for players in [12, 15, 16] {
        let shares = explained(&vec![true; players], game);
        let wanted = shapley(players, game);
        let off = shares.attributions.iter().zip(&wanted).map(|(own, wanted)| (own - wanted).abs());
        let off = off.fold(0.0, f64::max);
        assert!(off > 0.0 && off < 0.2 && off < 4.0 * shares.error, "{players}: {off}, not {}", shares.error);
        let sum = shares.baseline + shares.attributions.iter().sum::<f64>();
        assert!((sum - shares.value).abs() < 1e-12 && shares.value == game((1 << players) - 1));
    }
}

#[test]
fn what_is_a_sum_is_explained_exactly_by_drawn_coalitions() {
    let sum = |known: u32| (0..25).map(|player| f64::from(known >> player & 1) * f64::from(player)).sum();
    let shares = explained(&[true; 25], sum);
    assert_all_close(&shares.attributions, &(0..25).map(f64::from).collect::<Vec<_>>(), 1e-10);
    assert!(shares.error < 1e-10, "{}", shares.error);
}

#[test]
fn features_that_are_missing_move_nothing() {
    let is_there = [true, false, true, true, false];
    let shares = explained(&is_there, game);
    let seen = |known: u32| game(known & 1 | (known & 2) << 1 | (known & 4) << 1);
    let wanted = shapley(3, seen);
    assert_all_close(&shares.attributions, &[wanted[0], 0.0, wanted[1], wanted[2], 0.0], 1e-12);
    let none = explained(&[false; 3], game);
    assert_eq!(none, Shares { baseline: 3.0, value: 3.0, attributions: vec![0.0; 3], error: 0.0 });
}

#[test]
fn too_many_features_are_refused() {
    assert_eq!(
        Coalitions::new(1001).unwrap_err().to_string(),
        "predictions of a model of this type can be explained by at most 1000 features, not 1001; \
         fit it to those that matter"
    );
    assert!(Coalitions::new(1000).is_ok());
}

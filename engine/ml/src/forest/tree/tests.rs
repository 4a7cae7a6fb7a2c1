//! Rows find their leaves, snapshots have the same trees, and trees that lead nowhere are refused.

use super::*;

fn features() -> Vec<FeatureBins> {
    let values = vec![0.0, 1.0, 2.0];
    vec![
        FeatureBins::Numeric { lows: values.clone(), highs: values },
        FeatureBins::Categorical { categories: vec![0, 1] },
    ]
}

/// A number at most 0.5 or missing; then category 2 or not; then a number above 1.5.
fn tree() -> Tree {
    let features = features();
    let leaves = Leaves::Classes { ends: vec![1, 2, 4, 5], classes: vec![0, 1, 0, 2, 1], rows: vec![3, 9, 1, 3, 2] };
    let mut tree = Tree::new(leaves);
    let number = |bins| Cut::Number { bins, missing: 3, missing_left: true };
    let split = |feature, cut| Split { feature, cut, gain: 2.0 };
    assert_eq!(std::mem::size_of::<Node>(), 32);
    tree.push(&split(0, number([0, 1])), &features[0], 8.0);
    tree.push(&split(1, Cut::Categories([1 << 2, 0, 0, 0])), &features[1], 8.0);
    tree.push(&split(0, number([1, 2])), &features[0], 8.0);
    let children = [(0, true, Child::node(1)), (1, true, Child::leaf(0)), (1, false, Child::leaf(1))];
    children.into_iter().for_each(|(node, is_left, child)| tree.put(Some((node, is_left)), child));
    let children = [(0, false, Child::node(2)), (2, true, Child::leaf(2)), (2, false, Child::leaf(3))];
    children.into_iter().for_each(|(node, is_left, child)| tree.put(Some((node, is_left)), child));
    tree
}

#[test]
fn rows_find_their_leaves() {
    let tree = tree();
    let rows: [(&[f64], &[u8]); 5] =
        [(&[0.0], &[2]), (&[0.5], &[0]), (&[f64::NAN], &[1]), (&[1.5], &[2]), (&[1e9], &[2])];
    assert_eq!(tree.leaves_of(rows), [0, 1, 1, 2, 3]);
    assert_eq!(rows.map(|row| tree.leaves_of([row])), [[0], [1], [1], [2], [3]]);
    let mut sums = [0.0; 3];
    tree.leaves.add(2, &mut sums);
    tree.leaves.add(0, &mut sums);
    assert_eq!(sums, [1.25, 0.0, 0.75]);
    assert_eq!(tree.nodes[0].gain, 0.25);
}

#[test]
fn a_snapshot_has_the_same_tree() {
    let tree = tree();
    assert_eq!(tree.state().into_tree(&features(), Some(3)).unwrap(), tree);
    let alone = Tree::new(Leaves::Numbers { values: vec![7.0], rows: vec![4] });
    assert_eq!(alone.state().into_tree(&features(), None).unwrap(), alone);
    let bytes = bincode::encode_to_vec(tree.state(), bincode::config::standard()).unwrap().len();
    assert!((tree.bytes_min()..tree.bytes_min() + 50).contains(&bytes), "{bytes}");
}

#[test]
fn trees_that_lead_nowhere_are_refused() {
    let refused = |change: fn(&mut TreeState)| {
        let mut state = tree().state();
        change(&mut state);
        matches!(state.into_tree(&features(), Some(3)), Err(MlError::CorruptState { .. }))
    };
    assert!(!refused(|_| {}));
    assert!(refused(|state| state.nodes[0].flags ^= LEFT_IS_LEAF));
    assert!(refused(|state| state.nodes[2].flags ^= RIGHT_IS_LEAF));
    assert!(refused(|state| state.nodes[1].flags ^= IS_SET));
    assert!(refused(|state| state.nodes[0].bins[1] = 3));
    assert!(refused(|state| state.nodes[0].feature = 2));
    assert!(refused(|state| state.nodes[0].gain = f32::NAN));
    assert!(refused(|state| state.nodes.truncate(2)));
    assert!(refused(|state| state.sets.clear()));
    assert!(refused(|state| state.leaves = LeavesState::Numbers(vec![0.0; 4], vec![1; 4])));
    let leaves = |counts: [u32; 4], class, rows| {
        let mut state = tree().state();
        state.leaves = LeavesState::Classes(counts.to_vec(), vec![0, 1, 0, 2, class], vec![3, 9, 1, 3, rows]);
        state.into_tree(&features(), Some(3)).is_ok()
    };
    assert!(leaves([1, 1, 2, 1], 1, 2));
    assert!(!leaves([1, 1, 2, 1], 3, 2) && !leaves([1, 1, 2, 1], 1, 0));
    assert!(!leaves([1, 1, 1, 1], 1, 2) && !leaves([0, 2, 2, 1], 1, 2) && !leaves([u32::MAX, 1, 2, 1], 1, 2));
}

#!/usr/bin/env python3
"""Writes what River makes of streams that trees learn, row by row, and where ADWIN finds changes.

Run by hand, with River 0.26.1, as online.py. A line of online_trees.txt is a case, a name, and numbers. Accuracy and error
are prequential: of each row, what the model says before it learns it. The rows of `surfaces`, `drifting` and `numbers` are
those of the functions of these names in src/hoeffding_tree and src/drift, by the same arithmetic.
"""

import itertools
import math
from pathlib import Path

from river import datasets, forest, tree
from river._river_rust.drift import AdaptiveWindowing

from online import noise, waves

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(value) for value in values)}")


def surfaces(rows):
    """Three numbers, the first sometimes missing, and a category that decides which plane the label lies on."""
    for row in range(rows):
        x = [noise(row, column) for column in range(3)]
        c = int((noise(row, 3) + 1) / 2 * 4)
        if c < 2:
            label = 3 * x[0] + x[1] if x[2] > 0.1 else -2 * x[1]
        elif c == 2:
            label = 5 + 2 * x[2]
        else:
            label = -4 if x[1] > -0.2 else 4 + x[0]
        features = {f"x{place}": value for place, value in enumerate(x) if place > 0 or row % 17 != 5}
        yield features | {"c": f"v{c}"}, 10 + label + 0.5 * noise(row, 4)


def drifting(rows):
    """The rows of `waves`, whose labels change places every 6000 rows."""
    for row, (features, label) in enumerate(waves(rows)):
        yield features, "abc"[("abc".index(label) + row // 6000) % 3]


def numbers(case, rows):
    """Streams for ADWIN: errors that become more or less frequent, a mean that jumps, one that creeps, and one that stays."""
    for row in range(rows):
        u = (noise(row, 7) + 1) / 2
        if case == "errors":
            yield float(u < [0.1, 0.3, 0.2, 0.6][row // 1500 % 4])
        elif case == "jumps":
            yield noise(row, 8) + [0.0, 0.5, 3.0][row // 1000 % 3]
        elif case == "creeps":
            yield noise(row, 9) + max(0, row - 1000) / 1000
        else:
            yield u


def root_mean_square(case, model, rows):
    errors = []
    for features, label in rows:
        errors.append((model.predict_one(features) - label) ** 2)
        # Categories are the tree's to split on; River's linear model cannot read them.
        model.learn_one(features, label)
    put(case, "rmse", [math.sqrt(sum(errors) / len(errors))])


def accuracy(case, model, rows):
    rows = list(rows)
    right = 0
    for features, label in rows:
        right += model.predict_one(features) == label
        model.learn_one(features, label)
    put(case, "accuracy", [right / len(rows)])


def main():
    polls = [
        ({name: float(value) for name, value in features.items()}, label)
        for features, label in itertools.islice(datasets.TrumpApproval(), 500)
    ]
    planes = list(surfaces(12_000))
    only_numbers = [({name: value for name, value in x.items() if name != "c"}, label) for x, label in planes]
    root_mean_square("surfaces_tree_mean", tree.HoeffdingTreeRegressor(leaf_prediction="mean"), planes)
    for name, rows in {"surface_numbers": only_numbers, "approval": polls}.items():
        for leaf in ["mean", "model", "adaptive"]:
            root_mean_square(f"{name}_tree_{leaf}", tree.HoeffdingTreeRegressor(leaf_prediction=leaf), rows)
    for case in ["errors", "jumps", "creeps", "stays"]:
        window, found = AdaptiveWindowing(0.002, 32, 5, 5, 10), []
        for row, value in enumerate(numbers(case, 6000)):
            if window.update(value):
                found.append(row)
        put(f"adwin_{case}", "detections", [len(found), *found])
        put(f"adwin_{case}", "window", [window.get_width(), window.get_total(), window.get_variance()])
    rows = list(drifting(24_000))
    for leaf in ["mc", "nba"]:
        accuracy(f"drifting_tree_{leaf}", tree.HoeffdingTreeClassifier(leaf_prediction=leaf), rows)
        for seed in range(3):
            model = tree.HoeffdingAdaptiveTreeClassifier(leaf_prediction=leaf, seed=seed)
            accuracy(f"drifting_adaptive_{leaf}_{seed}", model, rows)
    for seed in range(2):
        accuracy(f"drifting_forest_{seed}", forest.ARFClassifier(seed=seed), rows[:12_000])
    (HERE / "online_trees.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

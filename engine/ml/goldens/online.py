#!/usr/bin/env python3
"""Writes what River and scikit-learn make of streams, row by row, and the first rows of data sets of River.

The data sets, with who made them and their terms:

- bananas.csv: two numbers in two clusters shaped like bananas, made up (https://www.openml.org/d/1460, public).
- image_segments.csv: https://archive.ics.uci.edu/dataset/147/statlog+image+segmentation, UCI's terms: CC BY 4.0.
- phishing.csv: https://archive.ics.uci.edu/dataset/379/website+phishing (N. Abdelhamid), UCI's terms: CC BY 4.0.
- trump_approval.csv: polls and FiveThirtyEight's average of them, https://github.com/fivethirtyeight/data, CC BY 4.0.

Only the rows named below are kept, their numbers to six digits, the columns without their names.

Run by hand, with River 0.26.1 and scikit-learn 1.9.1, as make.py. A line of online.txt is a case, a name, and numbers.
Accuracy and error are prequential: of each row, what the model says before it learns it. The rows of `waves` are those
of `waves` in src/hoeffding_tree/tests.rs, by the same arithmetic; `mixed` are those of make.py.
"""

import itertools
import math
from pathlib import Path

import numpy as np
from river import compose, datasets, linear_model, optim, preprocessing, tree
from sklearn import datasets as small
from sklearn.linear_model import SGDRegressor

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def bundled(name, stream, count):
    """The first rows of a data set of River's, written as a CSV file with the label, numbered by first sight, last."""
    rows, names = [], []
    for features, label in itertools.islice(stream, count):
        if isinstance(label, str) and label not in names:
            names.append(label)
        # Six digits are enough, and spare bytes.
        rows.append(({f"x{place}": float(f"{value:.6g}") for place, value in enumerate(features.values())}, label))
    with open(HERE / f"{name}.csv", "w", encoding="utf-8") as file:
        for features, label in rows:
            number = names.index(label) if names else label
            cells = [repr(value).removesuffix(".0") for value in [*features.values(), float(number)]]
            file.write(",".join(cells) + "\n")
    return rows


def noise(row, column):
    """SplitMix64 of the row and the column, as a number in [-1, 1)."""
    mask = (1 << 64) - 1
    bits = (row * 100 + column) * 0x9E3779B97F4A7C15 & mask
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & mask
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & mask
    return ((bits ^ bits >> 31) >> 33) / (1 << 30) - 1


def waves(rows):
    """Four numbers, the first sometimes missing, and two categories, which decide what the numbers mean."""
    for row in range(rows):
        x = [noise(row, column) for column in range(4)]
        c = [int((noise(row, 4 + column) + 1) / 2 * count) for column, count in enumerate([5, 12])]
        if c[0] < 2:
            label = "a" if x[0] > 0.2 else "b"
        elif c[0] == 2:
            label = "c" if x[1] > -0.3 else "a"
        else:
            label = "b" if x[2] + x[3] > 0 else "c"
        if noise(row, 6) > 0.8:
            label = "abc"[row % 3]
        features = {f"x{place}": value for place, value in enumerate(x) if place > 0 or row % 17 != 5}
        yield features | {f"c{place}": f"v{value}" for place, value in enumerate(c)}, label


def mixed(rows):
    for i in range(rows):
        a = (i * 37 % 101) / 10 - 5
        features = {"a": a, "city": f"c{i * i % 7}" if i % 13 != 5 else "none", "flag": str(i % 3 == 0)}
        if i % 11 != 3:
            features["b"] = float((i * 53 + 7) % 97)
        yield features, a * 0.8 + (2.0 if i * i % 7 == 2 else 0.0) + (i * 29 % 17) / 8 > 1.5


def accuracy(case, model, rows):
    rows = list(rows)
    right = 0
    for features, label in rows:
        right += model.predict_one(features) == label
        model.learn_one(features, label)
    put(case, "accuracy", right / len(rows))


def absolute_error(case, model, rows):
    errors = []
    for features, label in rows:
        errors.append(abs(model.predict_one(features) - label))
        model.learn_one(features, label)
    put(case, "mean_absolute_error", np.mean(errors))


def encoded(model):
    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    categories = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (numbers + categories) | model


def adam(case, rows, derivative, rate, beta1, beta2, eps):
    """Kingma and Ba's algorithm with a dictionary of weights; each counts the rows that touch it."""
    weights, means, squares, steps = {}, {}, {}, {}
    for features, label in rows:
        features = {"intercept": 1.0} | features
        error = derivative(sum(weights.get(name, 0.0) * value for name, value in features.items()), label)
        for name, value in features.items():
            if value == 0.0:
                continue
            gradient, t = error * value, steps.get(name, 0) + 1
            steps[name] = t
            means[name] = beta1 * means.get(name, 0.0) + (1 - beta1) * gradient
            squares[name] = beta2 * squares.get(name, 0.0) + (1 - beta2) * gradient**2
            mean, square = means[name] / (1 - beta1**t), squares[name] / (1 - beta2**t)
            weights[name] = weights.get(name, 0.0) - rate * mean / (math.sqrt(square) + eps)
    put(case, "weights", [weights[name] for name in sorted(weights)])


def main():
    bananas = bundled("bananas", datasets.Bananas(), 2000)
    phishing = bundled("phishing", datasets.Phishing(), 1250)
    segments = bundled("image_segments", datasets.ImageSegments(), 1000)
    approval = bundled("trump_approval", datasets.TrumpApproval(), 500)
    for name, rows in [("bananas", bananas), ("phishing", phishing), ("mixed", list(mixed(5000)))]:
        for rule, optimizer in [("adagrad", optim.AdaGrad(0.1)), ("adam", optim.Adam(0.1)), ("sgd", optim.SGD(0.1))]:
            accuracy(f"{name}_{rule}", encoded(linear_model.LogisticRegression(optimizer)), rows)
    for rule, optimizer in [("adagrad", optim.AdaGrad(0.1)), ("adam", optim.Adam(0.1)), ("sgd", optim.SGD(0.01))]:
        absolute_error(f"approval_{rule}", encoded(linear_model.LinearRegression(optimizer)), approval)
    streams = {"bananas": bananas, "phishing": phishing, "segments": segments, "waves": list(waves(20_000))}
    for name, rows in streams.items():
        for leaf in ["mc", "nb", "nba"]:
            accuracy(f"{name}_tree_{leaf}", tree.HoeffdingTreeClassifier(leaf_prediction=leaf), rows)

    features, labels = small.load_diabetes(return_X_y=True, scaled=False)
    features = features / 1000  # so that gradient descent does not overshoot
    options = {"learning_rate": "constant", "eta0": 0.05, "alpha": 0.01, "shuffle": False, "max_iter": 1, "tol": None}
    for loss, settings in [("squared_error", {}), ("huber", {"epsilon": 20.0})]:
        model = SGDRegressor(loss=loss, **options, **settings).fit(features, labels)
        put(f"diabetes_sgd_{loss}", "weights", [*model.coef_, *model.intercept_])
    rows = [({f"x{place}": value for place, value in enumerate(row)}, label) for row, label in zip(features, labels)]
    adam("diabetes_adam", rows, lambda score, label: score - label, 0.5, 0.8, 0.99, 1e-8)
    (HERE / "online.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Does with scikit-learn, LightGBM, shap and numpy what the throughput tests of anomalies, vector machines, factorisations and
explanations do, on the same rows: OMP_NUM_THREADS=1 for one thread. Names of measurements are arguments; none are all."""

import sys
import time
import warnings

import lightgbm
import numpy as np
import shap
from sklearn.ensemble import IsolationForest
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR, OneClassSVM

warnings.simplefilter("ignore")


def noise(rows, column):
    bits = (np.arange(rows, dtype=np.uint64) * np.uint64(100) + np.uint64(column)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return (bits >> np.uint64(33)).astype(float) / (1 << 30) - 1


def numbers(rows):
    raw = np.stack([noise(rows, column) for column in range(30)], axis=1)
    return raw, raw @ np.array([column % 5 * 0.3 for column in range(30)]) + noise(rows, 97) * 2


def fastest(work, times=3):
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return result, best


def measure(name, model, features, labels, predict, rows=None):
    _, fitted = fastest(lambda: model.fit(features, labels))
    rows = features if rows is None else rows
    _, predicted = fastest(lambda: getattr(model, predict)(rows))
    print(f"{name}: fit {fitted:.3f} s, {predict} {len(rows) / predicted / 1e6:.3f} Mrows/s", flush=True)


def anomalies():
    raw, _ = numbers(200_000)
    measure("isolation forest", IsolationForest(n_estimators=100, random_state=0), raw, None, "score_samples")
    some = StandardScaler().fit_transform(raw[:10_000])
    measure("10,000 rows within a border", OneClassSVM(nu=0.1), some, None, "decision_function")


def machines():
    raw, labels = numbers(200_000)
    rows = StandardScaler().fit_transform(raw)
    measure("linear SVM", LinearSVC(C=1.0, dual=False), rows, labels > 0, "predict")
    measure("linear SVM to 1e-7", LinearSVC(C=1.0, dual=False, tol=1e-7), rows, labels > 0, "predict")
    measure("linear SVR", LinearSVR(C=1.0, epsilon=0.1), rows, labels, "predict")
    squares = LinearSVR(C=1.0, epsilon=0.1, loss="squared_epsilon_insensitive", dual=False)
    measure("linear SVR of squares", squares, rows, labels, "predict")


def bayes():
    raw, labels = numbers(200_000)
    measure("naive Bayes", GaussianNB(), raw, labels > 0, "predict_proba")


def alternating(sides, values, counts, factors, steps, implicit):
    """Least squares of one side after the other, a solution of equations for each user and item: by numpy."""
    order = [np.argsort(side, kind="stable") for side in sides]
    starts = [np.searchsorted(side[by], np.arange(count + 1)) for side, by, count in zip(sides, order, counts)]
    own = [np.random.default_rng(0).standard_normal((count, factors)) / 4 for count in counts]
    ridge = 0.1 * np.eye(factors)
    for _ in range(steps):
        for side in (0, 1):
            others, by = own[1 - side], order[side]
            of_all = others.T @ others
            for place in range(counts[side]):
                rated = by[starts[side][place] : starts[side][place + 1]]
                seen, given = others[sides[1 - side][rated]], values[rated]
                if implicit:
                    left = of_all + seen.T @ (seen * (40 * given)[:, None]) + ridge
                    own[side][place] = np.linalg.solve(left, seen.T @ (1 + 40 * given))
                else:
                    left = seen.T @ seen + len(rated) * ridge
                    own[side][place] = np.linalg.solve(left, seen.T @ (given - 3.5))


def factors():
    rows = 1_000_000
    counts = (20_000, 2_000)
    sides = [((noise(rows, side) + 1) / 2 * count).astype(int) for side, count in enumerate(counts)]
    values = np.floor(noise(rows, 2) * 2 + 6.5) / 2
    for name, implicit in [("16 factors", False), ("16 factors of what was seen", True)]:
        _, took = fastest(lambda: alternating(sides, values, counts, 16, 5, implicit), 1)
        print(f"{name}: fit {took:.3f} s", flush=True)


def adults(rows):
    columns = [np.round(noise(rows, column) * 40) for column in range(6)]
    kind = lambda column, count: ((noise(rows, column) + 1) / 2 * count).astype(int)
    columns += [kind(column, count) for column, count in zip(range(6, 14), [9, 16, 7, 15, 6, 5, 2, 42])]
    number, other = noise(rows, 0), noise(rows, 1)
    kinds = kind(7, 16) % 5 + kind(9, 15) % 3 + kind(12, 2)
    return np.column_stack(columns), number * other + number + kinds * 0.3 + noise(rows, 97) > 1.3


def explanations():
    features, labels = adults(32_561)
    options = {"verbosity": -1, "num_threads": 1, "objective": "binary", "num_leaves": 31, "learning_rate": 0.1}
    model = lightgbm.train(options, lightgbm.Dataset(features, labels, categorical_feature=list(range(6, 14))), 100)
    rows = features[:5_000]
    _, took = fastest(lambda: model.predict(rows, pred_contrib=True, num_threads=1))
    print(f"100 trees of 31 leaves: LightGBM {len(rows) / took:.0f} rows/s explained", flush=True)
    raw, labels = numbers(20_000)
    options = {"verbosity": -1, "num_threads": 1, "objective": "regression", "max_depth": 6, "num_leaves": 64}
    model = lightgbm.train(options, lightgbm.Dataset(raw, labels), 100)
    rows = raw[:5_000]
    _, took = fastest(lambda: model.predict(rows, pred_contrib=True, num_threads=1))
    print(f"trees of numbers: LightGBM {len(rows) / took:.0f} rows/s explained", flush=True)
    scaled, targets = StandardScaler().fit_transform(raw[:1_000]), labels[:1_000]
    neighbours = KNeighborsRegressor(5, algorithm="brute").fit(scaled, targets)
    explainer = shap.KernelExplainer(neighbours.predict, np.zeros((1, 30)))
    _, took = fastest(lambda: explainer.shap_values(scaled[:20], silent=True, l1_reg=False), 1)
    print(f"neighbours, asked: shap {20 / took:.1f} rows/s explained", flush=True)


for measurement in [anomalies, machines, bayes, factors, explanations]:
    if len(sys.argv) == 1 or measurement.__name__ in sys.argv[1:]:
        measurement()

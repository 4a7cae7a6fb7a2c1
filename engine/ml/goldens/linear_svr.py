#!/usr/bin/env python3
"""Writes what scikit-learn's LinearSVR makes of the small data sets.

Run by hand, with scikit-learn 1.9.1, as make.py. A line of linear_svr.txt is a case, a name, and numbers. LIBLINEAR
penalises the intercept. With the squared loss it is scaled by a million, so that next to nothing is left of the penalty.
With the other loss, LIBLINEAR stops short of the minimum, and the numbers are those of LIBSVM, which does not penalise the
intercept: LinearSVR's loss must be near theirs, and not below.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets, metrics
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVR

HERE = Path(__file__).parent
LINES = []


def put(case, name, *values):
    numbers = " ".join(repr(float(value)) for value in np.concatenate([np.ravel(value) for value in values]))
    LINES.append(f"{case} {name} {numbers}")


def standardized(features):
    return StandardScaler().fit_transform(features)


def loss(features, labels, weights, intercept, C, epsilon, squared):
    over = np.maximum(np.abs(labels - features @ weights - intercept) - epsilon, 0)
    return C * np.sum(over**2 if squared else over) + weights @ weights / 2


def machine(case, features, labels, C=1.0, epsilon=0.0, squared=False):
    name = ("squared_" if squared else "") + "epsilon_insensitive"
    model = LinearSVR(C=C, epsilon=epsilon, loss=name, dual=not squared, tol=1e-14 if squared else 1e-8,
                      max_iter=1_000_000, intercept_scaling=1e6 if squared else 10).fit(features, labels)
    weights, intercept = model.coef_, model.intercept_[0]
    goal = lambda weights, intercept: loss(features, labels, weights, intercept, C, epsilon, squared)
    if not squared:
        exact = SVR(kernel="linear", C=C, epsilon=epsilon, tol=1e-9).fit(features, labels)
        theirs = goal(weights, intercept)
        weights, intercept = exact.coef_[0], exact.intercept_[0]
        assert -1e-9 < theirs / goal(weights, intercept) - 1 < 1e-3, (case, theirs, goal(weights, intercept))
    put(case, "coefficients", [intercept], weights)
    said = features @ weights + intercept
    put(case, "loss", [goal(weights, intercept) / C / len(labels)])
    put(case, "measures", [metrics.r2_score(labels, said), metrics.mean_squared_error(labels, said),
                           metrics.mean_absolute_error(labels, said)])


def mixed(rows):
    """As in linear_svm.py; the label is a number."""
    a = [(i * 37 % 101) / 10 - 5 for i in range(rows)]
    b = [((i * 53 + 7) % 97) if i % 11 != 3 else np.nan for i in range(rows)]
    city = [f"c{i * i % 7}" if i % 13 != 5 else None for i in range(rows)]
    flag = [i % 3 == 0 for i in range(rows)]
    labels = [a[i] * 0.8 + (2 if i * i % 7 == 2 else 0) + (i * 29 % 17) / 8 for i in range(rows)]
    cities = [None] + list(dict.fromkeys(c for c in city if c is not None))
    numbers = np.nan_to_num(standardized(np.array([a, b]).T))
    one_hot = [[c == name for name in cities] + [f == name for name in dict.fromkeys(flag)] for c, f in zip(city, flag)]
    return np.hstack([numbers, np.array(one_hot, dtype=float)]), np.array(labels)


if __name__ == "__main__":
    features, labels = datasets.load_diabetes(return_X_y=True, scaled=False)
    scaled = standardized(features)
    machine("diabetes_svr", scaled, labels)
    machine("diabetes_svr_tube", scaled, labels, C=0.2, epsilon=20.0)
    machine("diabetes_svr_strong", scaled, labels, C=20.0, epsilon=5.0)
    machine("diabetes_svr_squared", scaled, labels, squared=True)
    machine("diabetes_svr_squared_tube", scaled, labels, C=0.1, epsilon=30.0, squared=True)
    machine("diabetes_svr_raw", features, labels, C=0.1, epsilon=10.0, squared=True)
    features, labels = mixed(400)
    machine("mixed_svr", features, labels, epsilon=0.1)
    machine("mixed_svr_squared", features, labels, C=0.5, epsilon=0.5, squared=True)
    (HERE / "linear_svr.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

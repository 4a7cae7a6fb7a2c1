#!/usr/bin/env python3
"""Writes what scikit-learn's LinearSVC and its sigmoid calibration make of the small data sets.

Run by hand, with scikit-learn 1.9.1, as make.py. A line of linear_svm.txt is a case, a name, and numbers. LIBLINEAR
penalises the intercept; scaled by 1000, its penalty is a millionth of the square, but a thousandth of the magnitude:
with an L1 penalty the minimum is SciPy's, which scikit-learn's must be near.
"""

from pathlib import Path

import numpy as np
from scipy import optimize, special
from sklearn import datasets, metrics
from sklearn.calibration import _SigmoidCalibration
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

HERE = Path(__file__).parent
LINES = []


def put(case, name, *values):
    numbers = " ".join(repr(float(value)) for value in np.concatenate([np.ravel(value) for value in values]))
    LINES.append(f"{case} {name} {numbers}")


def standardized(features):
    return StandardScaler().fit_transform(features)


def sigmoid(decisions, positive):
    """Platt's slope and intercept, to more digits than scikit-learn's, which must agree."""
    count = positive.sum()
    target = np.where(positive, (count + 1) / (count + 2), 1 / (len(positive) - count + 2))

    def loss(at):
        z = at[0] * decisions + at[1]
        return np.sum(np.logaddexp(0, z) - target * z)

    def slope(at):
        error = special.expit(at[0] * decisions + at[1]) - target
        return np.array([error @ decisions, error.sum()])

    def curvature(at):
        p = special.expit(at[0] * decisions + at[1])
        rows = np.column_stack([decisions, np.ones_like(decisions)])
        return rows.T * (p * (1 - p)) @ rows

    options = {"jac": slope, "hess": curvature, "method": "trust-exact", "options": {"gtol": 1e-10}}
    found = optimize.minimize(loss, [1.0, 0.0], **options).x
    theirs = _SigmoidCalibration().fit(decisions, positive)
    assert np.allclose(found, [-theirs.a_, -theirs.b_], rtol=1e-3, atol=1e-3), (found, theirs.a_, theirs.b_)
    return found


def lasso(model, features, labels):
    """The minimum with an L1 penalty on the weights alone: each is the difference of two that are not negative."""
    side, (rows, width) = np.where(labels == model.classes_[1], 1.0, -1.0), features.shape

    def loss(at):
        weights = at[:width] - at[width:-1]
        short = np.maximum(0, 1 - side * (features @ weights + at[-1]))
        slope = -2 * model.C * (short * side) @ features
        return (model.C * short @ short + at[:-1].sum(),
                np.concatenate([slope + 1, 1 - slope, [-2 * model.C * (short * side).sum()]]))

    start = np.concatenate([np.maximum(model.coef_[0], 0), np.maximum(-model.coef_[0], 0), model.intercept_])
    bounds = [(0, None)] * (2 * width) + [(None, None)]
    options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 100_000, "maxfun": 1_000_000, "maxcor": 50}
    found = optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options).x
    weights = found[:width] - found[width:-1]
    # LIBLINEAR stops short of it.
    assert loss(found)[0] <= loss(start)[0] and np.allclose(weights, model.coef_[0], atol=0.03)
    return found[-1:], weights[None, :]


def machine(case, features, labels, weights=None, **options):
    options = {"dual": False, "tol": 1e-12, "max_iter": 1_000_000, "intercept_scaling": 1000} | options
    model = LinearSVC(**options).fit(features, labels, weights)
    if options.get("penalty") == "l1":
        model.intercept_, model.coef_ = lasso(model, features, labels)
    put(case, "coefficients", model.intercept_, model.coef_)
    put(case, "accuracy", model.score(features, labels))
    decisions = model.decision_function(features)
    if decisions.ndim == 1:
        put(case, "roc_auc", metrics.roc_auc_score(labels, decisions))
        decisions, classes = decisions[:, None], model.classes_[1:]
    else:
        classes = model.classes_
    calibrations = [sigmoid(decisions[:, place], labels == name) for place, name in enumerate(classes)]
    put(case, "calibrations", calibrations)
    probabilities = special.expit(np.array([a * decisions[:, i] + b for i, (a, b) in enumerate(calibrations)]).T)
    if len(calibrations) == 1:
        probabilities = np.column_stack([1 - probabilities, probabilities])
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    put(case, "log_loss", metrics.log_loss(labels, probabilities))
    put(case, "probabilities", probabilities[::23])


def mixed(rows):
    """As in make.py."""
    a = [(i * 37 % 101) / 10 - 5 for i in range(rows)]
    b = [((i * 53 + 7) % 97) if i % 11 != 3 else np.nan for i in range(rows)]
    city = [f"c{i * i % 7}" if i % 13 != 5 else None for i in range(rows)]
    flag = [i % 3 == 0 for i in range(rows)]
    labels = [a[i] * 0.8 + (2 if i * i % 7 == 2 else 0) + (i * 29 % 17) / 8 > 1.5 for i in range(rows)]
    cities = [None] + list(dict.fromkeys(c for c in city if c is not None))
    numbers = np.nan_to_num(standardized(np.array([a, b]).T))
    one_hot = [[c == name for name in cities] + [f == name for name in dict.fromkeys(flag)] for c, f in zip(city, flag)]
    return np.hstack([numbers, np.array(one_hot, dtype=float)]), np.array(labels)


features, labels = datasets.load_breast_cancer(return_X_y=True)
scaled = standardized(features)
machine("cancer_svm", scaled, labels)
machine("cancer_svm_weak", scaled, labels, C=20.0)
machine("cancer_svm_weighted", scaled, labels, class_weight={0: 5.0})
machine("cancer_svm_l1", scaled, labels, C=0.2, penalty="l1", tol=1e-6, max_iter=100_000, intercept_scaling=100)
features, labels = datasets.load_iris(return_X_y=True)
machine("iris_svm", standardized(features), labels)
machine("iris_svm_raw", features, labels, C=0.1)
features, labels = datasets.load_wine(return_X_y=True)
machine("wine_svm", standardized(features), labels)
machine("wine_svm_balanced", standardized(features), labels, len(labels) / (3 * np.bincount(labels)[labels]), C=0.1)
machine("mixed_svm", *mixed(400))
(HERE / "linear_svm.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

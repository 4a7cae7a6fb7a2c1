#!/usr/bin/env python3
"""Writes what the package shap attributes predictions of scikit-learn's models to, as explain.txt.

Run by hand, with scikit-learn 1.9.1 and shap 0.51, after forest.py. A line is a case, a name, and numbers. The models are some of
forest.py's trees, which there is one way to grow, and a ridge regression; every fifth row is held out, and of those some are
explained. `values` has a row's baseline, its prediction, and an attribution for each feature: of the predicted class.

Nearest neighbours and naive Bayes are explained by KernelExplainer with as many samples as there are coalitions. Its background
is one row: the mean of the neighbours' standardised numbers, or of naive Bayes a row of NaN, of which scikit-learn's statistics
make nothing; there the predicted class's log-odds against the next likeliest are explained.
"""

from pathlib import Path

import numpy as np
import shap
from sklearn import datasets
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

HERE = Path(__file__).parent
LINES = []


def put(case, *values):
    numbers = " ".join(repr(float(value)) for value in np.concatenate([np.ravel(value) for value in values]))
    LINES.append(f"{case} values {numbers}")


def halves(features, labels):
    held = np.arange(len(labels)) % 5 == 0
    return features[~held], labels[~held], features[held]


def tree(case, model, features, labels, step):
    features, labels, others = halves(features, labels)
    model.fit(features, labels)
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    rows = others[::step]
    values, baselines = explainer.shap_values(rows), np.atleast_1d(explainer.expected_value)
    is_classifier = hasattr(model, "predict_proba")
    said = model.predict_proba(rows) if is_classifier else model.predict(rows)[:, None]
    values = values if is_classifier else values[:, :, None]
    classes = said.argmax(axis=1)
    of_rows = [
        np.concatenate([[baselines[c], said[row, c]], values[row, :, c]]) for row, c in enumerate(classes)
    ]
    put(case, *of_rows)


def linear(case, features, labels, step):
    features, labels, others = halves(features, labels)
    scaler = StandardScaler().fit(features)
    model = Ridge(alpha=1.0).fit(scaler.transform(features), labels)
    rows = scaler.transform(others[::step])
    masker = shap.maskers.Independent(scaler.transform(features), max_samples=len(features))
    explainer = shap.LinearExplainer(model, masker)
    said = model.predict(rows)
    put(case, *[
        np.concatenate([[explainer.expected_value, said[row]], values]) for row, values in enumerate(explainer.shap_values(rows))
    ])


def kernel(say, background, row):
    explainer = shap.KernelExplainer(say, background[None, :])
    values = explainer.shap_values(row[None, :], nsamples=2 ** len(row), silent=True, l1_reg=False)[0]
    return np.concatenate([[explainer.expected_value, say(row[None, :])[0]], values])


def neighbors(case, model, features, labels, step):
    features, labels, others = halves(features, labels)
    scaler = StandardScaler().fit(features)
    model.set_params(algorithm="brute").fit(scaler.transform(features), labels)
    is_classifier = hasattr(model, "predict_proba")
    rows = scaler.transform(others[::step])
    classes = model.predict_proba(rows).argmax(axis=1) if is_classifier else np.zeros(len(rows), int)
    say = lambda c: (lambda asked: model.predict_proba(asked)[:, c]) if is_classifier else model.predict
    put(case, *[kernel(say(c), np.zeros(rows.shape[1]), row) for row, c in zip(rows, classes)])


def naive_bayes(case, features, labels, step):
    features, labels, others = halves(features, labels)
    model = GaussianNB().fit(features, labels)

    def joint(asked):
        ln = -0.5 * (np.log(2 * np.pi * model.var_) + (asked[:, None, :] - model.theta_) ** 2 / model.var_)
        return np.log(model.class_prior_) + np.nansum(ln, axis=2)

    assert np.allclose(joint(others), model.predict_joint_log_proba(others))
    missing = np.full(features.shape[1], np.nan)
    of_rows = []
    for row in others[::step]:
        following, best = np.argsort(joint(row[None, :])[0])[-2:]
        of_rows.append(kernel(lambda asked: joint(asked)[:, best] - joint(asked)[:, following], missing, row))
    put(case, *of_rows)


diabetes = datasets.load_diabetes(scaled=False)
floored = (np.floor(diabetes.data), diabetes.target)
tree("shap_diabetes", DecisionTreeRegressor(random_state=0, min_samples_leaf=10), *floored, step=9)
tree("shap_diabetes_deep", DecisionTreeRegressor(random_state=0, min_samples_leaf=7, max_depth=5), *floored, step=9)
digits = datasets.load_digits()
tree("shap_digits", DecisionTreeClassifier(random_state=0, max_depth=3), digits.data[::3], digits.target[::3], step=30)
linear("shap_ridge", diabetes.data, diabetes.target, step=9)
classes = np.digitize(diabetes.target, [100.0, 200.0])
neighbors("shap_knn_numbers", KNeighborsRegressor(n_neighbors=7), diabetes.data, diabetes.target, step=18)
neighbors("shap_knn_classes", KNeighborsClassifier(n_neighbors=9, weights="distance"), diabetes.data, classes, step=18)
naive_bayes("shap_naive_bayes_iris", *datasets.load_iris(return_X_y=True), step=6)
naive_bayes("shap_naive_bayes_wine", *datasets.load_wine(return_X_y=True), step=9)

(HERE / "explain.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

#!/usr/bin/env python3
"""Writes what the package shap attributes predictions of scikit-learn's models to, as explain.txt.

Run by hand, with scikit-learn 1.9.1 and shap 0.51, after forest.py. A line is a case, a name, and numbers. The models are some of
forest.py's trees, which there is one way to grow, and a ridge regression; every fifth row is held out, and of those some are
explained. `values` has a row's baseline, its prediction, and an attribution for each feature: of the predicted class.
"""

from pathlib import Path

import numpy as np
import shap
from sklearn import datasets
from sklearn.linear_model import Ridge
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


diabetes = datasets.load_diabetes(scaled=False)
floored = (np.floor(diabetes.data), diabetes.target)
tree("shap_diabetes", DecisionTreeRegressor(random_state=0, min_samples_leaf=10), *floored, step=9)
tree("shap_diabetes_deep", DecisionTreeRegressor(random_state=0, min_samples_leaf=7, max_depth=5), *floored, step=9)
digits = datasets.load_digits()
tree("shap_digits", DecisionTreeClassifier(random_state=0, max_depth=3), digits.data[::3], digits.target[::3], step=30)
linear("shap_ridge", diabetes.data, diabetes.target, step=9)

(HERE / "explain.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

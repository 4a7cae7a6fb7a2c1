#!/usr/bin/env python3
"""Writes what scikit-learn's trees and forests make of the small data sets: third_of_digits.csv, and forest.txt as make.py does expected.txt.

Run by hand, after make.py: python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1 && venv/bin/python forest.py
Every fifth row is held out. Where two splits are equally good scikit-learn takes either, by its seed: what is compared digit by
digit is the same for thirty seeds, and of the rest the mean over seeds is written, and the standard deviation.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets, metrics
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

HERE = Path(__file__).parent
LINES = []


def put(case, name, *values):
    numbers = " ".join(repr(float(value)) for value in np.concatenate([np.ravel(value) for value in values]))
    LINES.append(f"{case} {name} {numbers}")


def halves(features, labels):
    held = np.arange(len(labels)) % 5 == 0
    return features[~held], labels[~held], features[held], labels[held]


def floored():
    """Few enough values for a bin each, and no fraction that 32 bits would round."""
    bunch = datasets.load_diabetes(scaled=False)
    return np.floor(bunch.data), bunch.target


def with_holes():
    features, labels = floored()
    features[np.arange(len(labels)) % 7 == 2, 2] = np.nan
    features[labels > 250, 8] = np.nan
    return features, labels


def digits():
    bunch = datasets.load_digits()
    with open(HERE / "third_of_digits.csv", "w", encoding="utf-8") as file:
        for features, label in zip(bunch.data[::3], bunch.target[::3]):
            file.write(",".join(str(int(value)) for value in features) + f",{label}\n")
    return bunch.data[::3], bunch.target[::3]


def said(model, features):
    return model.predict_proba(features) if hasattr(model, "predict_proba") else model.predict(features)


def exact(case, kind, features, labels, importances=True, **options):
    """A tree that the seed does not change."""
    features, labels, others, _ = halves(features, labels)
    models = [kind(random_state=seed, **options).fit(features, labels) for seed in range(30)]
    first = models[0]
    for model in models[1:]:
        np.testing.assert_allclose(said(model, others), said(first, others), rtol=1e-12, err_msg=case)
        if importances:
            np.testing.assert_allclose(model.feature_importances_, first.feature_importances_, atol=1e-9, err_msg=case)
    put(case, "said", said(first, others))
    put(case, "leaves", first.get_n_leaves())
    if importances:
        put(case, "importances", first.feature_importances_)


def measures(model, features, labels):
    if not hasattr(model, "predict_proba"):
        return {"rmse": metrics.root_mean_squared_error(labels, model.predict(features))}
    probabilities = model.predict_proba(features)
    found = {"accuracy": model.score(features, labels)}
    if len(model.classes_) == 2:
        found["roc_auc"] = metrics.roc_auc_score(labels, probabilities[:, 1])
    if hasattr(model, "estimators_"):
        found["log_loss"] = metrics.log_loss(labels, probabilities)
    return found


def mean(case, kind, features, labels, seeds=20, **options):
    features, labels, others, wanted = halves(features, labels)
    found = {}
    for seed in range(seeds):
        model = kind(random_state=seed, **options).fit(features, labels)
        for name, value in measures(model, others, wanted).items():
            found.setdefault(name, []).append(value)
        if options.get("oob_score"):
            found.setdefault("oob", []).append(model.oob_score_)
    for name, values in found.items():
        put(case, name, np.mean(values), np.std(values))


sets = {name: getattr(datasets, f"load_{name}")(return_X_y=True) for name in ["breast_cancer", "wine", "iris"]}
sets["third_of_digits"] = digits()
exact("tree_diabetes", DecisionTreeRegressor, *floored(), min_samples_leaf=10)
exact("tree_diabetes_deep", DecisionTreeRegressor, *floored(), min_samples_leaf=7, max_depth=5)
exact("tree_diabetes_holes", DecisionTreeRegressor, *with_holes(), min_samples_leaf=10)
exact("tree_digits", DecisionTreeClassifier, *sets["third_of_digits"], max_depth=3)
exact("tree_digits_entropy", DecisionTreeClassifier, *sets["third_of_digits"], max_depth=3, criterion="entropy")
exact("tree_digits_decrease", DecisionTreeClassifier, *sets["third_of_digits"], min_impurity_decrease=0.03)
exact("tree_iris", DecisionTreeClassifier, *sets["iris"], importances=False)
exact("tree_iris_entropy", DecisionTreeClassifier, *sets["iris"], importances=False, criterion="entropy")
for name, rows in sets.items():
    mean(f"tree_{name}_full", DecisionTreeClassifier, *rows, seeds=50)
    mean(f"forest_{name}", RandomForestClassifier, *rows, oob_score=True)
mean("forest_breast_cancer_entropy", RandomForestClassifier, *sets["breast_cancer"], criterion="entropy", max_depth=4)
diabetes = datasets.load_diabetes(return_X_y=True, scaled=False)
mean("forest_diabetes", RandomForestRegressor, *diabetes, oob_score=True)
mean("forest_diabetes_part", RandomForestRegressor, *diabetes, max_features="sqrt", min_samples_leaf=3, max_samples=0.5)
(HERE / "forest.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

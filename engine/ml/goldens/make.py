#!/usr/bin/env python3
"""Writes the small data sets and the numbers that scikit-learn gives for them.

Run by hand, with scikit-learn 1.9.1, where a data set or a case is added:
    python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1 && venv/bin/python make.py
The tests read what it wrote and need no Python. A line of expected.txt is a case, a name, and numbers.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets, metrics
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
LINES = []


def put(case, name, *values):
    numbers = " ".join(repr(float(value)) for value in np.concatenate([np.ravel(value) for value in values]))
    LINES.append(f"{case} {name} {numbers}")


def data_set(name, **options):
    """The features and labels of a set, written as a CSV file with the label last."""
    bunch = getattr(datasets, f"load_{name}")(**options)
    with open(HERE / f"{name}.csv", "w", encoding="utf-8") as file:
        for features, label in zip(bunch.data, bunch.target):
            file.write(",".join(str(int(value)) if value == int(value) else repr(float(value)) for value in features))
            file.write(f",{int(label)}\n")
    return bunch.data, bunch.target


def standardized(features):
    return StandardScaler().fit_transform(features)


def logistic(case, features, labels, **options):
    options = {"C": 1.0, "solver": "lbfgs", "tol": 1e-12, "max_iter": 1_000_000, "random_state": 0} | options
    model = LogisticRegression(**options).fit(features, labels)
    put(case, "coefficients", model.intercept_, model.coef_)
    if len(model.classes_) == 2:
        scores = model.predict_proba(features)[:, 1]
        put(case, "roc_auc", metrics.roc_auc_score(labels, scores))
        put(case, "log_loss", metrics.log_loss(labels, scores))
    else:
        put(case, "log_loss", metrics.log_loss(labels, model.predict_proba(features)))
    put(case, "accuracy", model.score(features, labels))


def mixed(rows):
    """Two numbers, one sometimes missing, a text, sometimes missing, and a boolean: one-hot by first sight.

    The same arithmetic as `reference_rows` in the tests of the online model.
    """
    a = [(i * 37 % 101) / 10 - 5 for i in range(rows)]
    b = [((i * 53 + 7) % 97) if i % 11 != 3 else np.nan for i in range(rows)]
    city = [f"c{i * i % 7}" if i % 13 != 5 else None for i in range(rows)]
    flag = [i % 3 == 0 for i in range(rows)]
    labels = [a[i] * 0.8 + (2 if i * i % 7 == 2 else 0) + (i * 29 % 17) / 8 > 1.5 for i in range(rows)]
    # Missing numbers count as the mean; NULL is the first category of a text that has it.
    cities = [None] + list(dict.fromkeys(c for c in city if c is not None))
    numbers = np.nan_to_num(standardized(np.array([a, b]).T))
    one_hot = [[c == name for name in cities] + [f == name for name in dict.fromkeys(flag)] for c, f in zip(city, flag)]
    return np.hstack([numbers, np.array(one_hot, dtype=float)]), np.array(labels)


def logistic_cases():
    features, labels = data_set("breast_cancer")
    scaled = standardized(features)
    logistic("cancer", scaled, labels)
    logistic("cancer_weak", scaled, labels, C=100.0)
    logistic("cancer_balanced", scaled, labels, class_weight="balanced")
    logistic("cancer_weighted", scaled, labels, class_weight={0: 5.0})
    logistic("cancer_l1", scaled, labels, C=0.2, l1_ratio=1, solver="saga")
    logistic("cancer_elastic", scaled, labels, C=0.5, l1_ratio=0.6, solver="saga")
    fold = np.arange(len(labels)) % 5 == 0
    scaler = StandardScaler().fit(features[~fold])
    model = LogisticRegression(tol=1e-12, max_iter=10_000).fit(scaler.transform(features[~fold]), labels[~fold])
    scores = model.predict_proba(scaler.transform(features[fold]))[:, 1]
    put("cancer_fold", "coefficients", model.intercept_, model.coef_)
    put("cancer_fold", "roc_auc", metrics.roc_auc_score(labels[fold], scores))
    put("cancer_fold", "log_loss", metrics.log_loss(labels[fold], scores))
    features, labels = data_set("iris")
    logistic("iris_versicolor_raw", features, labels == 1)
    logistic("mixed", *mixed(400))


def linear(case, model, features, labels):
    model.fit(features, labels)
    predicted = model.predict(features)
    put(case, "coefficients", model.intercept_, model.coef_)
    put(case, "r2_score", metrics.r2_score(labels, predicted))
    put(case, "mean_squared_error", metrics.mean_squared_error(labels, predicted))
    put(case, "mean_absolute_error", metrics.mean_absolute_error(labels, predicted))


def linear_cases():
    features, labels = data_set("diabetes", scaled=False)
    scaled = standardized(features)
    linear("diabetes", LinearRegression(), scaled, labels)
    linear("diabetes_raw", LinearRegression(), features, labels)
    linear("diabetes_ridge", Ridge(alpha=20.0, solver="svd"), scaled, labels)
    linear("diabetes_lasso", Lasso(alpha=2.0, tol=1e-12, max_iter=100_000), scaled, labels)
    linear("diabetes_elastic", ElasticNet(alpha=1.0, l1_ratio=0.7, tol=1e-12, max_iter=100_000), scaled, labels)
    one_hot, _ = mixed(400)
    labels = one_hot @ np.arange(1, one_hot.shape[1] + 1) + np.arange(400) % 7
    labels = np.round(labels, 3)
    put("mixed_linear", "labels", labels)
    linear("mixed_linear", LinearRegression(), one_hot, labels)
    linear("mixed_linear_ridge", Ridge(alpha=5.0, solver="svd"), one_hot, labels)


def class_cases():
    for name in ["iris", "wine"]:
        features, labels = data_set(name)
        scaled = standardized(features)
        logistic(f"{name}_classes", scaled, labels)
        logistic(f"{name}_classes_balanced", scaled, labels, C=0.1, class_weight="balanced")
        logistic(f"{name}_classes_elastic", scaled, labels, C=0.5, l1_ratio=0.4, solver="saga")
        bayes = GaussianNB().fit(features, labels)
        put(f"{name}_bayes", "probabilities", bayes.predict_proba(features)[::7])
        put(f"{name}_bayes", "accuracy", bayes.score(features, labels))
        put(f"{name}_bayes", "log_loss", metrics.log_loss(labels, bayes.predict_proba(features)))


logistic_cases()
linear_cases()
class_cases()
(HERE / "expected.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

#!/usr/bin/env python3
"""Writes what scikit-learn's brute force nearest neighbours make of the small data sets.

Run by hand, with scikit-learn 1.9.1, as make.py. Every fifth row is held out and predicted from the others. A line of
nearest_neighbors.txt is a case, a name, and numbers: the labels of all rows held out, and the probabilities of every
seventh of them, row by row.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    numbers = [int(value) if value == int(value) else round(float(value), 15) for value in np.ravel(values)]
    LINES.append(f"{case} {name} {' '.join(map(str, numbers))}")


def halves(features, labels):
    held = np.arange(len(labels)) % 5 == 0
    return features[~held], labels[~held], features[held]


def scaled(features, labels):
    features, labels, asked = halves(features, labels)
    scaler = StandardScaler().fit(features)
    return scaler.transform(features), labels, scaler.transform(asked)


def neighbors(case, model, features, labels, asked):
    model.set_params(algorithm="brute", n_jobs=1).fit(features, labels)
    put(case, "labels", model.predict(asked))
    if isinstance(model, KNeighborsClassifier):
        put(case, "probabilities", model.predict_proba(asked)[::7])


def mixed(rows):
    """As in make.py, one-hot: numbers, one sometimes missing, a text, sometimes missing, and a boolean."""
    a = [(i * 37 % 101) / 10 - 5 for i in range(rows)]
    b = [((i * 53 + 7) % 97) if i % 11 != 3 else np.nan for i in range(rows)]
    city = [f"c{i * i % 7}" if i % 13 != 5 else None for i in range(rows)]
    flag = [i % 3 == 0 for i in range(rows)]
    labels = [a[i] * 0.8 + (2 if i * i % 7 == 2 else 0) + (i * 29 % 17) / 8 > 1.5 for i in range(rows)]
    numbers = StandardScaler().fit(np.array([a, b]).T[:rows // 2]).transform(np.array([a, b]).T)
    names = np.array([[str(c), str(f)] for c, f in zip(city, flag)])
    one_hot = OneHotEncoder(sparse_output=False).fit_transform(names)
    features, labels = np.hstack([np.nan_to_num(numbers), one_hot]), np.array(labels)
    return features[:rows // 2], labels[:rows // 2], features[rows // 2:]


one, many = KNeighborsClassifier, KNeighborsRegressor
for name in ["iris", "wine", "digits", "breast_cancer"]:
    rows = getattr(datasets, f"load_{name}")(return_X_y=True)
    neighbors(f"{name}_knn", one(), *halves(*rows))
    neighbors(f"{name}_knn_scaled", one(), *scaled(*rows))
    neighbors(f"{name}_knn_weighted", one(7, weights="distance"), *scaled(*rows))
    neighbors(f"{name}_knn_manhattan", one(3, metric="manhattan"), *scaled(*rows))
    neighbors(f"{name}_knn_cosine", one(5, metric="cosine", weights="distance"), *halves(*rows))
rows = datasets.load_diabetes(return_X_y=True, scaled=False)
neighbors("diabetes_knn", many(), *halves(*rows))
neighbors("diabetes_knn_scaled", many(10, weights="distance"), *scaled(*rows))
neighbors("diabetes_knn_manhattan", many(4, metric="manhattan"), *scaled(*rows))
neighbors("diabetes_knn_cosine", many(5, metric="cosine"), *scaled(*rows))
neighbors("mixed_knn", one(5, weights="distance"), *mixed(400))
neighbors("mixed_knn_manhattan", one(5, metric="manhattan", weights="distance"), *mixed(400))
neighbors("mixed_knn_cosine", one(5, metric="cosine", weights="distance"), *mixed(400))
(HERE / "nearest_neighbors.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

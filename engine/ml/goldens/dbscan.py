#!/usr/bin/env python3
"""Writes what scikit-learn's DBSCAN makes of the small data sets, and moons.csv, one of them.

Run by hand, with scikit-learn 1.9.1, as make.py, which writes the other data sets. A line of dbscan.txt is a case, a
name, and numbers: `labels` are scikit-learn's, -1 for noise; `nearest` are the labels of the nearest core within eps,
which differ where a row is near cores of several clusters; `asked` are those of rows between the rows of the set.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.cluster import DBSCAN
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(str(int(value)) for value in values)}")


def nearest(features, model, asked):
    """The label of the nearest core within eps, and of equals of the first; numpy's sums of differences."""
    cores, labels = features[model.core_sample_indices_], model.labels_[model.core_sample_indices_]
    squares = ((asked[:, None, :] - cores[None, :, :]) ** 2).sum(axis=2)
    found = squares.argmin(axis=1)
    return np.where(squares[np.arange(len(asked)), found] <= model.eps**2, labels[found], -1)


def midpoints(features):
    """Each row and the one after it, in the middle."""
    return (features[:-1] + features[1:]) / 2


def clusters(case, features, eps, min_samples, asked=None):
    model = DBSCAN(eps=eps, min_samples=min_samples, algorithm="kd_tree").fit(features)
    put(case, "labels", model.labels_)
    put(case, "nearest", nearest(features, model, features))
    put(case, "asked", nearest(features, model, midpoints(features) if asked is None else asked))
    differ = (nearest(features, model, features) != model.labels_).sum()
    print(case, model.labels_.max() + 1, "clusters", (model.labels_ == -1).sum(), "noise", differ, "of several")


def moons():
    features, labels = datasets.make_moons(300, noise=0.09, random_state=0)
    features = features.round(4)
    with open(HERE / "moons.csv", "w", encoding="utf-8") as file:
        for row, label in zip(features, labels):
            file.write(",".join(repr(float(value)) for value in row) + f",{int(label)}\n")
    return features


def mixed(rows):
    """As in make.py, one-hot: numbers, one sometimes missing, a text, sometimes missing, and a boolean."""
    a = [(i * 37 % 101) / 10 - 5 for i in range(rows)]
    b = [((i * 53 + 7) % 97) if i % 11 != 3 else np.nan for i in range(rows)]
    city = [f"c{i * i % 7}" if i % 13 != 5 else None for i in range(rows)]
    flag = [i % 3 == 0 for i in range(rows)]
    numbers = StandardScaler().fit_transform(np.array([a, b]).T)
    names = np.array([[str(c), str(f)] for c, f in zip(city, flag)])
    return np.hstack([np.nan_to_num(numbers), OneHotEncoder(sparse_output=False).fit_transform(names)])


iris, digits = datasets.load_iris().data, datasets.load_digits().data
clusters("iris_dbscan", iris, 0.5, 5)
clusters("iris_dbscan_standardized", StandardScaler().fit_transform(iris), 0.6, 4)
clusters("digits_dbscan", digits, 20, 5)
clusters("moons_dbscan", moons(), 0.15, 5)
clusters("moons_dbscan_sparse", moons(), 0.11, 6)
clusters("mixed_dbscan", mixed(400), 0.35, 4, mixed(400))
(HERE / "dbscan.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

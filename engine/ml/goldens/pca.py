#!/usr/bin/env python3
"""Writes digits.csv, and the principal components that scikit-learn finds in the small data sets.

Run by hand, with scikit-learn 1.9.1, as make.py, which writes the other data sets. A line of pca.txt is a case, a
name, and numbers: components and transformed rows one after another, of every so manieth row.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def components(case, features, count, step):
    model = PCA(n_components=count, svd_solver="full").fit(features)
    # Where two entries are the largest, as for the two categories of a boolean, it is chance which one is positive.
    largest = np.abs(model.components_).max(axis=1, keepdims=True)
    first = np.argmax(np.abs(model.components_) >= largest * (1 - 1e-9), axis=1)
    model.components_ *= np.sign(model.components_[np.arange(count), first])[:, None]
    put(case, "components", model.components_)
    put(case, "variances", model.explained_variance_)
    put(case, "ratios", model.explained_variance_ratio_)
    put(case, "transformed", model.transform(features)[::step])


def truncated(case, features, count, step):
    model = TruncatedSVD(n_components=count, algorithm="arpack", tol=1e-14).fit(features)
    largest = np.abs(model.components_).max(axis=1, keepdims=True)
    first = np.argmax(np.abs(model.components_) >= largest * (1 - 1e-9), axis=1)
    model.components_ *= np.sign(model.components_[np.arange(count), first])[:, None]
    put(case, "components", model.components_)
    put(case, "variances", model.explained_variance_)
    put(case, "ratios", model.explained_variance_ratio_)
    put(case, "transformed", model.transform(features)[::step])


def standardized(features):
    return StandardScaler().fit_transform(features)


def mixed(rows):
    """Two numbers, one sometimes missing, a text, sometimes missing, and a boolean: `mixed` in make.py."""
    a = [(i * 37 % 101) / 10 - 5 for i in range(rows)]
    b = [((i * 53 + 7) % 97) if i % 11 != 3 else np.nan for i in range(rows)]
    city = [f"c{i * i % 7}" if i % 13 != 5 else None for i in range(rows)]
    flag = [i % 3 == 0 for i in range(rows)]
    cities = [None] + list(dict.fromkeys(c for c in city if c is not None))
    one_hot = [[c == name for name in cities] + [f == name for name in dict.fromkeys(flag)] for c, f in zip(city, flag)]
    return np.array([a, b]).T, np.array(one_hot, dtype=float)


digits, digit = datasets.load_digits(return_X_y=True)
with open(HERE / "digits.csv", "w", encoding="utf-8") as file:
    for pixels, label in zip(digits, digit):
        file.write(",".join(str(int(value)) for value in (*pixels, label)) + "\n")

iris, wine = datasets.load_iris().data, datasets.load_wine().data
components("iris_pca", iris, 4, 7)
components("iris_pca_two", iris, 2, 7)
components("wine_pca_scaled", standardized(wine), 13, 7)
components("digits_pca", digits, 10, 71)
numbers, one_hot = mixed(400)
components("mixed_pca_scaled", np.hstack([np.nan_to_num(standardized(numbers)), one_hot]), 4, 7)
centred = np.nan_to_num(numbers - np.nanmean(numbers, axis=0))
components("mixed_pca", np.hstack([centred, one_hot]), 4, 7)
truncated("iris_svd", iris, 3, 7)
truncated("wine_svd", wine, 2, 7)
truncated("digits_svd", digits, 10, 71)
truncated("mixed_svd", np.hstack([np.nan_to_num(numbers), one_hot]), 5, 7)
(HERE / "pca.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

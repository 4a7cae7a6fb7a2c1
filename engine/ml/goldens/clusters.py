#!/usr/bin/env python3
"""Prints what scikit-learn makes of the small data sets, for the tests of src/kmeans and src/gaussian_mixture.

Run by hand: python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1 && venv/bin/python clusters.py
It writes digits.csv, too, as make.py does with the other sets.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets, metrics
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler, normalize

HERE = Path(__file__).parent


def write_digits():
    bunch = datasets.load_digits()
    with open(HERE / "digits.csv", "w", encoding="utf-8") as file:
        for features, label in zip(bunch.data, bunch.target):
            file.write(",".join(str(int(value)) for value in features) + f",{int(label)}\n")


def blobs(rows=600):
    """Three numbers about one of four corners: `blobs` in the tests."""
    i = np.arange(rows)
    corner = i * 7 % 4
    noise = [(i * 37 % 101) / 100 - 0.5, (i * 53 % 97) / 90 - 0.5, (i * 29 % 89) / 80 - 0.5]
    return np.column_stack([corner // 2 * 10 + noise[0], corner % 2 * 12 + noise[1], corner * 3 + 100 + noise[2]])


def clusters(name, features, k, **options):
    model = KMeans(k, n_init=10, random_state=0, tol=0, **options).fit(features)
    index = metrics.davies_bouldin_score(features, model.labels_)
    print(name, "inertia", repr(model.inertia_), "davies_bouldin_index", repr(index))
    return model


def directions(name, features, k):
    """The smallest sum of one minus the cosine of 50 starts: scikit-learn has no k-means of directions."""
    points, random, best = normalize(features), np.random.default_rng(0), np.inf
    for _ in range(50):
        centres = points[random.choice(len(points), k, replace=False)]
        for _ in range(300):
            labels = (points @ centres.T).argmax(axis=1)
            centres = normalize([points[labels == cluster].sum(axis=0) for cluster in range(k)])
        best = min(best, (1 - (points @ centres.T).max(axis=1)).sum())
    print(name, "sum of one minus the cosine", repr(float(best)))


def mixture(name, features, k, **options):
    model = GaussianMixture(k, tol=1e-10, max_iter=10_000, n_init=3, random_state=0, **options).fit(features)
    print(name, options, "log_likelihood", repr(model.score(features)), "aic", repr(model.aic(features)), "bic",
          repr(model.bic(features)), "weights", sorted(model.weights_.tolist(), reverse=True))
    return model


write_digits()
iris, wine = datasets.load_iris().data, datasets.load_wine().data
digits = datasets.load_digits().data
clusters("iris", iris, 3)
clusters("wine", wine, 3)
clusters("digits", digits, 10)
clusters("iris_standardized", StandardScaler().fit_transform(iris), 3)
clusters("wine_standardized", StandardScaler().fit_transform(wine), 3)
directions("iris", iris, 3)
model = clusters("blobs", blobs(), 4)
print(model.cluster_centers_[np.lexsort(model.cluster_centers_.T[::-1])].tolist(), np.bincount(model.labels_))
for covariance in ["full", "diag"]:
    mixture("iris", iris, 3, covariance_type=covariance)
    mixture("wine_standardized", StandardScaler().fit_transform(wine), 3, covariance_type=covariance)
    model = mixture("blobs", blobs(), 4, covariance_type=covariance)
    asked = np.array([[0.1, 0.2, 100.3], [10.4, 12.1, 109.2], [5.0, 6.0, 104.5]])
    print(model.score_samples(asked).tolist())
print([KMeans(10, random_state=seed).fit(digits).inertia_ for seed in range(8)])

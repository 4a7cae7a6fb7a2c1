#!/usr/bin/env python3
"""Fits scikit-learn's and LightGBM's models to the rows of src/batch/throughput.rs; OMP_NUM_THREADS says on how many threads."""

import time

import lightgbm
import numpy as np
from scipy import sparse
from sklearn.cluster import DBSCAN, KMeans, MiniBatchKMeans
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

ROWS, COLUMNS = 200_000, 30


def noise(column):
    bits = (np.arange(ROWS, dtype=np.uint64) * np.uint64(100) + np.uint64(column)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return (bits >> np.uint64(33)).astype(float) / (1 << 30) - 1


def measure(name, model, features, labels):
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        model.fit(features, labels)
        best = min(best, time.perf_counter() - start)
    said = ""
    if labels is None and hasattr(model, "predict"):
        start = time.perf_counter()
        model.predict(features)
        said = f", predict {len(features) / (time.perf_counter() - start) / 1e6:.2f} Mrows/s"
    print(f"{name}: fit {best:.3f} s in {getattr(model, 'n_iter_', 1)} steps{said}")


raw = np.stack([noise(column) for column in range(COLUMNS)], axis=1)
labels = raw @ np.array([column % 5 * 0.3 for column in range(COLUMNS)]) + noise(97) * 2
start = time.perf_counter()
features = StandardScaler().fit_transform(raw)
print(f"standardise: {time.perf_counter() - start:.3f} s")
positive, classes = labels > 0, np.fmod((labels * 1.5).astype(int), 2)
measure("logistic", LogisticRegression(tol=1e-7, max_iter=300), features, positive)
measure("logistic to 1e-4", LogisticRegression(tol=1e-4), features, positive)
measure("logistic by Newton", LogisticRegression(tol=1e-7, solver="newton-cholesky"), features, positive)
names = [((noise(c) + 1) / 2 * n).astype(int) for c, n in enumerate([12, 7, 16, 3, 105])]
start = time.perf_counter()
encoded = OneHotEncoder().fit_transform(np.array([[f"category {v}" for v in row] for row in np.stack(names, axis=1)]))
mixed = sparse.hstack([encoded, StandardScaler().fit_transform(np.stack([noise(c) for c in range(5, 8)], axis=1))]).tocsr()
print(f"encode: {time.perf_counter() - start:.3f} s")
measure("logistic of categories", LogisticRegression(tol=1e-7, max_iter=300), mixed, positive)
measure("three classes", LogisticRegression(tol=1e-7, max_iter=300), features, classes)
measure("linear", LinearRegression(), features, labels)
measure("lasso", Lasso(alpha=0.1, tol=1e-9), features, labels)
clusters = {"n_init": 1, "max_iter": 20, "tol": 0, "random_state": 0}
measure("10 clusters", KMeans(10, **clusters), features, None)
measure("100 clusters", KMeans(100, **clusters), features, None)
measure("100 clusters by mini-batches", MiniBatchKMeans(100, n_init=1, random_state=0), features, None)
for eps in [0.04, 0.2]:
    measure(f"DBSCAN of 3 numbers within {eps}", DBSCAN(eps=eps), raw[:, :3], None)
measure("10 normal distributions", GaussianMixture(10, max_iter=5, tol=0, random_state=0), features, None)


def trees(name, features, labels, categorical=(), **options):
    options = {"verbosity": -1, "num_threads": THREADS, "objective": "binary"} | options
    best = predicted = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        data = lightgbm.Dataset(features, labels, categorical_feature=list(categorical), params=options).construct()
        constructed = time.perf_counter() - start
        model = lightgbm.train(options, data, 100)
        best = min(best, time.perf_counter() - start)
        start = time.perf_counter()
        model.predict(features, num_threads=1)
        predicted = min(predicted, time.perf_counter() - start)
    print(f"{name}, {THREADS} threads: fit {best:.3f} s, of that bins {constructed:.3f} s; predict on one thread "
          f"{len(labels) / predicted / 1e6:.2f} Mrows/s")


ROWS = 1_000_000
raw = np.stack([noise(column) for column in range(COLUMNS)], axis=1)
labels = raw @ np.array([column % 5 * 0.3 for column in range(COLUMNS)]) + noise(97) * 2
for THREADS in [1, 2]:
    trees("100 trees", raw, labels > 0)
    trees("100 trees of numbers", raw, labels, objective="regression")
    trees("100 trees of categories", np.column_stack([np.stack(names, axis=1), raw[:200_000, 5:8]]), labels[:200_000] > 0,
          categorical=range(5))


def forest(name, model, labels):
    features = raw[:100_000]
    start = time.perf_counter()
    model.fit(features, labels[:100_000])
    fitted, predicted = time.perf_counter() - start, float("inf")
    predict = getattr(model, "predict_proba", model.predict)
    for _ in range(3):
        start = time.perf_counter()
        predict(features)
        predicted = min(predicted, time.perf_counter() - start)
    print(f"{name}, 1 thread: fit {fitted:.3f} s, predict {len(features) / predicted / 1e6:.2f} Mrows/s")


forest("forest of 20 trees", RandomForestClassifier(20, random_state=0), labels > 0)
forest("forest of 20 trees of numbers", RandomForestRegressor(20, max_features="sqrt", min_samples_leaf=5, random_state=0), labels)
forest("tree", DecisionTreeClassifier(random_state=0), labels > 0)

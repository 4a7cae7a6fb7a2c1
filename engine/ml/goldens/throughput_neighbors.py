#!/usr/bin/env python3
"""Asks scikit-learn for the neighbours of src/nearest_neighbors/throughput.rs: OMP_NUM_THREADS=1 for one thread."""

import time

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

STORED, ASKED, COLUMNS = 10_000, 2_000, 30


def noise(column):
    rows = np.arange(STORED + ASKED, dtype=np.uint64)
    bits = (rows * np.uint64(100) + np.uint64(column)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return (bits >> np.uint64(33)).astype(float) / (1 << 30) - 1


rows = np.stack([noise(column) for column in range(COLUMNS)], axis=1)
labels = rows[:, 0] + rows[:, 1] > 0
for distance in ["euclidean", "manhattan", "cosine"]:
    model = KNeighborsClassifier(metric=distance, algorithm="brute", n_jobs=1).fit(rows[:STORED], labels[:STORED])
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        probabilities = model.predict_proba(rows[STORED:])
        best = min(best, time.perf_counter() - start)
    total = probabilities[:, 1].sum()
    print(f"{distance}: {ASKED} rows of {STORED} in {best * 1e3:.1f} ms, sum of probabilities {total:.1f}")

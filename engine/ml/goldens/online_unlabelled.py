#!/usr/bin/env python3
"""Writes what River's half-space trees find along streams, and what others make of centroids that rows move one by one.

Run by hand, with River 0.26.1, scikit-learn 1.9.1 and pandas, as online.py. A line of online_unlabelled.txt is a case, a
name, and numbers. Trees are random, so what is compared are means over seeds. Areas under the curve are prequential: of each
row the score before the model learns it. The rows of `scattered` are those of the function in src/goldens.rs.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from river import anomaly, preprocessing
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def scattered(rows):
    """As in anomalies.py."""
    i = np.arange(rows)
    group = np.where(i % 3 == 0, 6.0, 0.0)
    bell = lambda a, b, c: (i * a % 101 + i * b % 97 + i * c % 89) / 60
    features = np.column_stack([bell(37, 53, 71) + group, bell(41, 29, 61) - group, bell(67, 43, 31)])
    anywhere = np.column_stack([i * 7919 % 1009 / 1009 * 24 - 9, i * 6007 % 1013 / 1013 * 24 - 12, i * 8009 % 1019 / 1019 * 16 - 6])
    is_anomaly = i % 50 == 7
    return np.where(is_anomaly[:, None], anywhere, features), is_anomaly


def trees(case, seeds, features, is_anomaly, scaled=True, **options):
    aucs, means = [], []
    rows = [{place: value for place, value in enumerate(row) if not np.isnan(value)} for row in features.tolist()]
    for seed in range(seeds):
        model = anomaly.HalfSpaceTrees(seed=seed, **options)
        if scaled:
            model = preprocessing.MinMaxScaler() | model
        scores = []
        for row in rows:
            scores.append(model.score_one(row))
            model.learn_one(row)
        scores = np.array(scores)
        aucs.append(roc_auc_score(is_anomaly, scores))
        means.append([scores[is_anomaly].mean(), scores[~is_anomaly].mean()])
    put(case, "roc_auc", [np.mean(aucs), np.std(aucs)])
    put(case, "mean_scores", [np.mean(means, axis=0), np.std(means, axis=0)])
    put(case, "seeds", [seeds])


def moved(case, features, clusters):
    """Centroids that begin as the first rows, each of which is the mean of its rows: MacQueen's."""
    model = MiniBatchKMeans(clusters, init=features[:clusters], n_init=1, reassignment_ratio=0)
    model.partial_fit(features[:clusters])
    for row in features[clusters:]:
        model.partial_fit(row[None, :])
    put(case, "centroids", model.cluster_centers_[np.lexsort(model.cluster_centers_.T[::-1])])


def main():
    features, is_anomaly = scattered(5000)
    trees("scattered_trees", 40, features, is_anomaly)
    trees("scattered_small_trees", 40, features, is_anomaly, n_trees=25, height=5, window_size=100)
    limits = {place: (-12.0, 15.0) for place in range(3)}
    trees("scattered_limited_trees", 120, features, is_anomaly, scaled=False, limits=limits)
    missing = features.copy()
    missing[np.arange(5000) % 11 == 3, 0] = np.nan
    missing[np.arange(5000) % 13 == 5, 2] = np.nan
    trees("missing_trees", 40, missing, is_anomaly)
    cancer = np.loadtxt(HERE / "breast_cancer.csv", delimiter=",")
    is_malignant = cancer[:, -1] == 0
    kept = ~is_malignant | (np.cumsum(is_malignant) % 6 == 3)
    trees("cancer_trees", 100, cancer[kept, :-1], is_malignant[kept], n_trees=25, window_size=50)

    flowers = np.loadtxt(HERE / "iris.csv", delimiter=",")[:, :-1]
    moved("flowers", flowers[np.arange(150) * 7 % 150], 3)
    segments = np.loadtxt(HERE / "image_segments.csv", delimiter=",")[:, :-1]
    moved("segments", segments, 5)
    put("moving_mean", "mean", [pd.Series(segments[:, 3]).ewm(halflife=20).mean().iloc[-1]])
    (HERE / "online_unlabelled.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

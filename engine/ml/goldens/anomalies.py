#!/usr/bin/env python3
"""Writes what scikit-learn's isolation forest and numpy's medians find to be anomalies.

Run by hand, with scikit-learn 1.9.1, as make.py, which writes the data sets. A line of anomalies.txt is a case, a name,
and numbers. Forests are random, so what is compared are means over seeds.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def forest(case, seeds, features, is_anomaly, **options):
    aucs, rates, means = [], [], []
    for seed in range(seeds):
        model = IsolationForest(random_state=seed, **options).fit(features)
        scores = -model.score_samples(features)
        aucs.append(roc_auc_score(is_anomaly, scores))
        rates.append(np.mean(model.predict(features) == -1))
        means.append([scores[is_anomaly].mean(), scores[~is_anomaly].mean()])
    put(case, "roc_auc", [np.mean(aucs), np.std(aucs)])
    put(case, "anomaly_rate", np.mean(rates))
    put(case, "mean_scores", np.mean(means, axis=0))


def scattered(rows):
    """Two dense groups, and every fiftieth row anywhere: `scattered` in the tests."""
    i = np.arange(rows)
    group = np.where(i % 3 == 0, 6.0, 0.0)
    bell = lambda a, b, c: (i * a % 101 + i * b % 97 + i * c % 89) / 60
    features = np.column_stack([bell(37, 53, 71) + group, bell(41, 29, 61) - group, bell(67, 43, 31)])
    anywhere = np.column_stack([i * 7919 % 1009 / 1009 * 24 - 9, i * 6007 % 1013 / 1013 * 24 - 12, i * 8009 % 1019 / 1019 * 16 - 6])
    is_anomaly = i % 50 == 7
    return np.where(is_anomaly[:, None], anywhere, features), is_anomaly


def robust(case, features):
    medians = np.median(features, axis=0)
    deviations = np.abs(features - medians)
    scores = 0.6745 * deviations / np.median(deviations, axis=0)
    put(case, "scores", scores.max(axis=1))
    put(case, "features", scores.argmax(axis=1))
    put(case, "anomaly_rate", np.mean(scores.max(axis=1) > 3.5))


features, is_anomaly = scattered(3000)
forest("scattered_forest", 20, features, is_anomaly)
forest("scattered_forest_small", 20, features, is_anomaly, n_estimators=40, max_samples=64, max_features=0.7, contamination=0.05)
cancer = datasets.load_breast_cancer()
forest("cancer_forest", 100, cancer.data, cancer.target == 0)
forest("cancer_forest_tenth", 100, cancer.data, cancer.target == 0, contamination=0.1)
robust("cancer_robust", cancer.data)
robust("wine_robust", datasets.load_wine().data)
(HERE / "anomalies.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

#!/usr/bin/env python3
"""Learns the rows of the online throughput tests, one by one, with River: predict, then learn. Run by hand."""

import time

from river import forest, linear_model, optim, preprocessing, tree

from online import noise, waves
from online_trees import drifting

ROWS, COLUMNS = 5_000, 30


def measure(name, model, rows):
    start = time.perf_counter()
    for features, label in rows:
        model.predict_one(features)
        model.learn_one(features, label)
    print(f"{name}: predict and learn {len(rows) / (time.perf_counter() - start) / 1e6:.6f} Mrows/s")


features = [{f"x{column}": noise(row, column) for column in range(COLUMNS)} for row in range(ROWS)]
labels = [
    sum(row[f"x{column}"] * (column % 5) * 0.3 for column in range(COLUMNS)) + noise(place, 97) * 2
    for place, row in enumerate(features)
]
booleans = [label > 0 for label in labels]
scaled = preprocessing.StandardScaler
rules = {"adagrad": optim.AdaGrad, "ftrl": optim.FTRLProximal, "sgd": optim.SGD, "adam": optim.Adam}
for rule, optimizer in rules.items():
    measure(f"logistic, {rule}", scaled() | linear_model.LogisticRegression(optimizer()), list(zip(features, booleans)))
    measure(f"linear, {rule}", scaled() | linear_model.LinearRegression(optimizer()), list(zip(features, labels)))
measure("tree of thirty numbers", tree.HoeffdingTreeClassifier(), list(zip(features, booleans)))
measure("tree of waves", tree.HoeffdingTreeClassifier(), list(waves(4 * ROWS)))
model = tree.HoeffdingAdaptiveTreeClassifier(seed=0)
measure("adaptive tree of waves that change", model, list(drifting(4 * ROWS)))
measure("forest of waves that change", forest.ARFClassifier(seed=0), list(drifting(ROWS)))
measure("regression tree of thirty numbers", tree.HoeffdingTreeRegressor(), list(zip(features, labels)))

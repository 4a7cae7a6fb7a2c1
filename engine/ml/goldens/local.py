#!/usr/bin/env python3
"""Writes what the package lime says of a logistic regression's predictions, as local.txt.

Run by hand, with scikit-learn 1.9.1 and lime 0.2. A line is a case, a name, and numbers. Every fifth row of breast_cancer.csv is
held out, and of those every seventh is explained. `top` has the five features of each row that LimeTabularExplainer's defaults
find, largest first, by one seed; `weights` those of all features, the mean of twenty seeds; `spread` their standard deviation
from seed to seed, the mean of all.
"""

from pathlib import Path

import numpy as np
from lime.lime_tabular import LimeTabularExplainer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
table = np.loadtxt(HERE / "breast_cancer.csv", delimiter=",")
features, labels = table[:, :-1], table[:, -1]
held = np.arange(len(labels)) % 5 == 0
model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=1000)).fit(features[~held], labels[~held])
rows = features[held][::7]
classes = model.predict_proba(rows).argmax(axis=1)
top, weights, spread, overlap = [], [], [], []
explainers = [LimeTabularExplainer(features[~held], random_state=seed) for seed in range(20)]
for row, label in zip(rows, classes):
    of_seeds = []
    for explainer in explainers:
        said = explainer.explain_instance(row, model.predict_proba, labels=(label,), num_features=30)
        of_seed = np.zeros(30)
        for feature, weight in said.as_map()[label]:
            of_seed[feature] = weight
        of_seeds.append(of_seed)
    by_default = LimeTabularExplainer(features[~held], random_state=99).explain_instance(
        row, model.predict_proba, labels=(label,))
    top.append([feature for feature, _ in by_default.as_map()[label][:5]])
    weights.append(np.mean(of_seeds, axis=0))
    spread.append(np.std(of_seeds, axis=0).mean())
    overlap += [len(set(np.argsort(-abs(of_seed))[:5]) & set(top[-1])) / 5 for of_seed in of_seeds]
print(f"of the five features by default, those of another seed share {np.mean(overlap):.3f}")
lines = [("top", top), ("weights", weights), ("spread", [np.mean(spread)])]
with open(HERE / "local.txt", "w") as file:
    for name, values in lines:
        print("lime_breast_cancer", name, *(repr(float(value)) for value in np.ravel(values)), file=file)

#!/usr/bin/env python3
"""Writes what scikit-learn's grid searches come to on the small data sets, to tuning.txt.

Run by hand, with scikit-learn 1.9.1, after make.py, which writes the data sets. A line is a case, a measure, and its mean
over five folds for each point of the grid, in the grid's order: the row with the number i is held out in fold i % 5.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
LINES = []
MEASURES = {"log_loss": ("neg_log_loss", -1), "mse": ("neg_mean_squared_error", -1), "r2": ("r2", 1)}


def grid(case, data, model, points, measures):
    features, labels = data
    folds = PredefinedSplit(np.arange(len(labels)) % 5)
    for measure in measures:
        scoring, sign = MEASURES.get(measure, (measure, 1))
        search = GridSearchCV(make_pipeline(StandardScaler(), model), points, scoring=scoring, cv=folds)
        scores = sign * search.fit(features, labels).cv_results_["mean_test_score"]
        LINES.append(f"{case} {measure} {' '.join(repr(float(score)) for score in scores)}")


PENALTIES = [0.01, 0.1, 1.0, 10.0, 100.0]
logistic = LogisticRegression(tol=1e-10, max_iter=100_000)
points = {"logisticregression__C": [1 / penalty for penalty in PENALTIES]}
grid("tuning_breast_cancer", datasets.load_breast_cancer(return_X_y=True), logistic, points, ["log_loss", "roc_auc", "f1"])
points = {"kneighborsclassifier__n_neighbors": [1, 3, 7, 15], "kneighborsclassifier__weights": ["uniform", "distance"]}
wine = datasets.load_wine(return_X_y=True)
grid("tuning_wine", wine, KNeighborsClassifier(), points, ["accuracy", "f1_macro", "precision_macro"])
points = {"ridge__alpha": PENALTIES}
grid("tuning_diabetes", datasets.load_diabetes(return_X_y=True), Ridge(), points, ["r2", "mse"])
(HERE / "tuning.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

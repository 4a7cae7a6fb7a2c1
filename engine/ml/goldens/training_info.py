#!/usr/bin/env python3
"""Writes the losses after each step of fits, as the libraries tell them, to training_info.txt.

Run by hand: venv/bin/pip install scikit-learn==1.9.1 lightgbm==4.7.0 && venv/bin/python training_info.py
A line is a case, a name, and numbers. LightGBM's features have few values, so that each has a bin of its own and the trees
are the same. What of scikit-learn is known only in the end is that of fits that are cut off after each step.
"""

import warnings
from pathlib import Path

import lightgbm
import numpy as np
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.linear_model import ElasticNet, Lasso
from sklearn.mixture import GaussianMixture

HERE = Path(__file__).parent
LINES = []
warnings.filterwarnings("ignore")


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in values)}")


def few_values(rows):
    """Three numbers of few values each, and a noisy sum: `few_values` in the tests."""
    i = np.arange(rows)
    x = np.stack([i * 37 % 23, i * 53 % 19, i * i % 29]).astype(float)
    return x.T, x[0] * 0.5 - x[1] * 0.25 + x[2] * x[0] * 0.0625 + (i * i * 7 % 31) / 4


def boosted(case, labels, features, rounds, **options):
    """The last fifth of the rows is held out."""
    last = len(labels) - len(labels) // 5
    data = lightgbm.Dataset(features[:last], labels[:last], params={"min_data_in_bin": 1})
    held = lightgbm.Dataset(features[last:], labels[last:], reference=data)
    told = {}
    settings = {"verbosity": -1, "num_threads": 1, "num_leaves": 8, "boost_from_average": True, "deterministic": True}
    lightgbm.train(settings | options, data, rounds, valid_sets=[data, held], valid_names=["learnt", "held"],
                   callbacks=[lightgbm.record_evaluation(told)])
    for name in ["learnt", "held"]:
        (values,) = told[name].values()
        put(case, name, values)


features, labels = few_values(2000)
boosted("boosted_numbers", labels, features, 10, objective="regression", metric="l2")
boosted("boosted_binary", (labels > np.median(labels)).astype(int), features, 10, objective="binary",
        metric="binary_logloss")
boosted("boosted_classes", np.digitize(labels, [5, 10]), features, 10, objective="multiclass", num_class=3,
        metric="multi_logloss")

iris = datasets.load_iris().data
put("kmeans_passes", "losses", [KMeans(3, init=iris[[3, 60, 62]], n_init=1, max_iter=passes, tol=0).fit(iris).inertia_
                                for passes in range(1, 9)])

wine = datasets.load_wine().data[:, :4]
for covariance in ["full", "diag"]:
    model = GaussianMixture(3, covariance_type=covariance, tol=0, max_iter=25, random_state=0).fit(iris)
    put("mixture_steps", covariance, -np.array(model.lower_bounds_))


def penalised(model, features, labels, alpha, ratio):
    errors = labels - model.predict(features)
    weights = model.coef_
    return (errors @ errors / 2 / len(labels) + alpha * ratio * np.abs(weights).sum()
            + alpha * (1 - ratio) / 2 * weights @ weights)


diabetes, disease = datasets.load_diabetes(return_X_y=True, scaled=False)
diabetes = (diabetes - diabetes.mean(axis=0)) / diabetes.std(axis=0)
put("lasso_sweeps", "losses", [penalised(Lasso(2.0, tol=0, max_iter=sweeps).fit(diabetes, disease), diabetes, disease, 2.0, 1.0)
                               for sweeps in range(1, 11)])
put("elastic_net_sweeps", "losses",
    [penalised(ElasticNet(1.0, l1_ratio=0.25, tol=0, max_iter=sweeps).fit(diabetes, disease), diabetes, disease, 1.0, 0.25)
     for sweeps in range(1, 11)])

(HERE / "training_info.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

#!/usr/bin/env python3
"""Prints what LightGBM makes of the small data sets, with the settings of the tests in src/boosted_trees/tests.rs, and
with monotone constraints what scikit-learn does: LightGBM looks no more for splits by a feature below a leaf that it
could not split by it, though with constraints others below could.

Run by hand: python3 -m venv venv && venv/bin/pip install scikit-learn==1.9.1 lightgbm && venv/bin/python boosted_trees.py
Every fifth row is held out.
"""

import lightgbm
import numpy as np
from sklearn import datasets, metrics
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.utils.class_weight import compute_sample_weight

SETTINGS = {"verbosity": -1, "num_threads": 1, "seed": 1, "boost_from_average": True}


def halves(features, labels):
    held = np.arange(len(labels)) % 5 == 0
    return features[~held], labels[~held], features[held], labels[held]


def fitted(features, labels, rounds=100, categorical=(), balanced=False, **options):
    weight = compute_sample_weight("balanced", labels) if balanced else None
    data = lightgbm.Dataset(features, labels, weight=weight, categorical_feature=list(categorical), free_raw_data=False)
    return lightgbm.train(SETTINGS | options, data, rounds)


def two_classes(name, features, labels, **options):
    features, labels, others, wanted = halves(features, labels)
    model = fitted(features, labels, objective="binary", **options)
    own, scores = model.predict(features), model.predict(others)
    print(name, "training log_loss", metrics.log_loss(labels, own), "held out roc_auc",
          metrics.roc_auc_score(wanted, scores), "log_loss", metrics.log_loss(wanted, scores))


def numbers(name, features, labels, **options):
    features, labels, others, wanted = halves(features, labels)
    model = fitted(features, labels, objective="regression", **options)
    print(name, "training rmse", metrics.root_mean_squared_error(labels, model.predict(features)),
          "held out rmse", metrics.root_mean_squared_error(wanted, model.predict(others)))


def many_classes(name, features, labels, **options):
    features, labels, others, wanted = halves(features, labels)
    model = fitted(features, labels, objective="multiclass", num_class=3, **options)
    print(name, "training log_loss", metrics.log_loss(labels, model.predict(features)), "held out accuracy",
          metrics.accuracy_score(wanted, model.predict(others).argmax(axis=1)), "log_loss",
          metrics.log_loss(wanted, model.predict(others)))


def mixed(rows):
    """Two numbers, one sometimes missing, and 40 categories: `mixed` in the tests."""
    i = np.arange(rows)
    x = (i * 37 % 101) / 10 - 5
    y = np.where(i % 11 == 3, np.nan, (i * 53 + 7) % 97)
    category = i * i % 1009 % 40
    effect = np.where(category % 3 == 0, 2.0, np.where(category % 3 == 1, -1.0, 0.0))
    label = x * 0.8 + effect + np.where(np.isnan(y), 1.5, (y > 50) * -1.0) + (i * 29 % 17) / 8 > 1.5
    return np.column_stack([x, y, category]), label.astype(int)


cancer = datasets.load_breast_cancer(return_X_y=True)
two_classes("breast_cancer", *cancer)
two_classes("breast_cancer_l2", *cancer, lambda_l2=5.0, lambda_l1=0.5, num_leaves=7, max_depth=3, learning_rate=0.3, rounds=20)
numbers("diabetes", *datasets.load_diabetes(return_X_y=True, scaled=False))
many_classes("wine", *datasets.load_wine(return_X_y=True))
many_classes("iris", *datasets.load_iris(return_X_y=True))
two_classes("mixed", *mixed(6000), categorical=[2])


def rare(rows):
    """Four numbers and a label that few rows have, noisily: `rare` in the tests."""
    i = np.arange(rows)
    x = np.stack([(i * 37 % 101) / 50 - 1, (i * 53 % 97) / 48 - 1, (i * 29 % 89) / 44 - 1, (i * i % 1009) / 504 - 1])
    noise = (i * i * 7 % 2003) / 1001 - 1
    return x.T, (x[0] * 2 + x[1] * x[2] * 2 + noise * 1.5 > 2.6).astype(int)


two_classes("rare", *rare(20_000))
two_classes("rare_balanced", *rare(20_000), balanced=True)
many_classes("wine_balanced", *datasets.load_wine(return_X_y=True), balanced=True, rounds=20)


def stopped(name, features, labels, rounds=1000, **options):
    """Stops early by the last fifth of all rows."""
    last = len(labels) - round(len(labels) * 0.2)
    data = lightgbm.Dataset(features[:last], labels[:last])
    held = lightgbm.Dataset(features[last:], labels[last:], reference=data)
    model = lightgbm.train(SETTINGS | options, data, rounds, valid_sets=[held],
                           callbacks=[lightgbm.early_stopping(10, verbose=False)])
    said, wanted = model.predict(features[last:]), labels[last:]
    print(name, "best of", model.current_iteration(), "rounds:", model.best_iteration, "held out", *(
        ["rmse", metrics.root_mean_squared_error(wanted, said)] if options["objective"] == "regression" else
        ["roc_auc", metrics.roc_auc_score(wanted, said), "log_loss", metrics.log_loss(wanted, said)]))


stopped("rare_stopped", *rare(20_000), objective="binary")
stopped("cancer_stopped", *cancer, objective="binary")
stopped("diabetes_stopped", *datasets.load_diabetes(return_X_y=True, scaled=False), objective="regression")


def sampled(name, features, labels, **options):
    """The means of ten seeds, and how far apart they are."""
    features, labels, others, wanted = halves(features, labels)
    said = [fitted(features, labels, **options, seed=seed).predict(others) for seed in range(10)]
    measures = np.array([[metrics.roc_auc_score(wanted, one), metrics.log_loss(wanted, one)] for one in said])
    print(name, "held out roc_auc and log_loss", measures.mean(axis=0), "apart", measures.std(axis=0))


sampled("rare_sampled", *rare(20_000), objective="binary", bagging_fraction=0.5, bagging_freq=1, feature_fraction=0.75,
        learning_rate=0.05)


two_classes("rare_monotone", *rare(20_000), monotone_constraints=[1, -1, 0, 0])
two_classes("mixed_monotone", *mixed(6000), categorical=[2], monotone_constraints=[-1, 1, 0])
for name, data, directions, categorical in [("rare", rare(20_000), [1, -1, 0, 0], None),
                                            ("mixed", mixed(6000), [-1, 1, 0], [2])]:
    features, labels, others, wanted = halves(*data)
    model = HistGradientBoostingClassifier(early_stopping=False, monotonic_cst=directions, categorical_features=categorical)
    own, scores = (model.fit(features, labels).predict_proba(rows)[:, 1] for rows in (features, others))
    print(name, "by scikit-learn: training log_loss", metrics.log_loss(labels, own), "held out roc_auc",
          metrics.roc_auc_score(wanted, scores), "log_loss", metrics.log_loss(wanted, scores))
directions = [0, 0, 1, 1, 0, 0, -1, 0, 1, 0]
diabetes = datasets.load_diabetes(return_X_y=True, scaled=False)
numbers("diabetes_monotone", *diabetes, monotone_constraints=directions)
features, labels, others, wanted = halves(*diabetes)
model = HistGradientBoostingRegressor(early_stopping=False, monotonic_cst=directions).fit(features, labels)
print("diabetes by scikit-learn: training rmse", metrics.root_mean_squared_error(labels, model.predict(features)),
      "held out rmse", metrics.root_mean_squared_error(wanted, model.predict(others)))

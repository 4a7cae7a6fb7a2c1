#!/usr/bin/env python3
"""Writes small models of LightGBM and XGBoost, and what these libraries say of some rows.

Run by hand, with lightgbm 4.7 and xgboost 3.2, as boosted_trees.py. The folder import has the models' files; a line of
import.txt is a case, a name, and numbers: what is predicted of every seventh row, for classes the probability of each; and
what that is made of for the first three. Two files are not written here: exported_mixed.txt by the tests, and
xgboost_older.json by xgboost 1.7.6.
"""

import json
import warnings
from pathlib import Path

import lightgbm
import numpy as np
import pandas
import xgboost
from sklearn import datasets

warnings.filterwarnings("ignore")
HERE = Path(__file__).parent
FOLDER = HERE / "import"
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} " + " ".join(repr(float(value)) for value in np.ravel(values)))


def mixed(rows):
    """As in make.py: a number, one that may be missing, a text that may be missing, and a flag; `asked` in the tests."""
    i = np.arange(rows)
    a = (i * 37 % 101) / 10 - 5
    b = np.where(i % 11 == 3, np.nan, (i * 53 + 7) % 97)
    text = pandas.Categorical([f"c{n * n % 7}" if n % 13 != 5 else None for n in i])
    label = a * 0.8 + np.where(i * i % 7 == 2, 2, 0) + (i * 29 % 17) / 8 + np.where(np.isnan(b), 1.5, b / 50)
    features = pandas.DataFrame({"a": a, "b": b, "city": text, "flag": (i % 3 == 0).astype(int)})
    return features, label


def asked(features):
    """Rows that lack what the training set lacked nowhere, too."""
    features = features.copy()
    features.loc[features.index % 9 == 4, "a"] = np.nan
    return features[::7]


def light(case, features, label, rows=None, rounds=5, group=None, categorical="auto", **options):
    settings = {"verbosity": -1, "num_threads": 1, "deterministic": True, "num_leaves": 7, "max_cat_to_onehot": 1,
                "min_data_per_group": 5, "cat_smooth": 1, "min_data_in_leaf": 5} | options
    data = lightgbm.Dataset(features, label, group=group, categorical_feature=categorical)
    model = lightgbm.train(settings, data, rounds)
    (FOLDER / f"{case}.txt").write_text(model.model_to_string(), encoding="utf-8")
    (FOLDER / f"{case}.json").write_text(json.dumps(model.dump_model()), encoding="utf-8")
    rows = features[::7] if rows is None else rows
    put(case, "said", model.predict(rows))
    put(case, "contributions", model.predict(rows[:3], pred_contrib=True))


def extreme(case, features, label, rows=None, rounds=5, qid=None, **options):
    settings = {"nthread": 1, "max_depth": 3, "max_cat_to_onehot": 1, "seed": 0} | options
    data = xgboost.DMatrix(features, label, qid=qid, enable_categorical=True)
    model = xgboost.train(settings, data, rounds)
    model.save_model(FOLDER / f"{case}.json")
    rows = xgboost.DMatrix(features[::7] if rows is None else rows, enable_categorical=True)
    put(case, "said", model.predict(rows))
    put(case, "contributions", model.predict(rows, pred_contribs=True)[:3])


def older(case, rows):
    """A file of version 1.7, which this version reads, too: binary:logistic of iris, with a base_score of 0.2."""
    put(case, "said", xgboost.Booster(model_file=FOLDER / f"{case}.json").predict(xgboost.DMatrix(rows)))


def exported(case, rows):
    """A file that the tests of `export` write."""
    put(case, "said", lightgbm.Booster(model_file=FOLDER / f"{case}.txt").predict(rows))


FOLDER.mkdir(exist_ok=True)
mixed_features, mixed_label = mixed(400)
late = (mixed_label > 2).astype(int)
light("lightgbm_binary", mixed_features, late, asked(mixed_features), objective="binary")
light("lightgbm_sigmoid", mixed_features, late, asked(mixed_features), objective="binary", sigmoid=2.5, is_unbalance=True)
extreme("xgboost_binary", mixed_features, late, asked(mixed_features), objective="binary:logistic")
extreme("xgboost_mixed", mixed_features, mixed_label, asked(mixed_features), objective="reg:squarederror")
light("lightgbm_mixed", mixed_features, mixed_label, asked(mixed_features), objective="regression")
codes = np.stack([np.arange(400) * 7 % 13, mixed_features["a"]], axis=1)
coded_label = np.where(np.isin(codes[:, 0], [1, 4, 5, 11]), 3.0, 0.0) + codes[:, 1] / 4
light("lightgbm_codes", codes, coded_label, objective="regression_l1", categorical=[0])
iris, species = datasets.load_iris(return_X_y=True)
light("lightgbm_classes", iris, species, objective="multiclass", num_class=3, rounds=4)
extreme("xgboost_classes", iris, species, objective="multi:softprob", num_class=3, rounds=4)
two = (species == 2).astype(int)
light("lightgbm_two_scores", iris, two, objective="multiclass", num_class=2, rounds=4)
extreme("xgboost_two_scores", iris, two, objective="multi:softprob", num_class=2, rounds=4, num_parallel_tree=2, subsample=0.8)
extreme("xgboost_leaves", iris, two, objective="binary:logistic", rounds=2, gamma=1e6, base_score=0.3)
older("xgboost_older", iris[::7])
flags = pandas.Categorical(np.where(mixed_features["flag"] == 1, "true", "false"))
exported("exported_mixed", mixed_features.assign(flag=flags)[::7])
light("lightgbm_leaf", iris, np.full(150, 2.5), objective="regression", rounds=2)
group, relevance = np.full(15, 10), species[np.arange(150) * 7 % 150]
ranked = iris[np.arange(150) * 7 % 150]
light("lightgbm_order", ranked, relevance, objective="lambdarank", group=group, rounds=4)
extreme("xgboost_order", ranked, relevance, objective="rank:ndcg", qid=np.repeat(np.arange(15), 10), rounds=4)
(HERE / "import.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

#!/usr/bin/env python3
"""Writes what scikit-learn's preprocessing knows of the columns of small data sets, and what it makes of them.

Run by hand, with scikit-learn 1.9.1, as make.py, which writes the data sets. A line of preprocessing.txt is a case, a name,
and numbers, column by column. `odd` has a constant column, one that is constant up to rounding, and ties.
"""

from pathlib import Path

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def odd():
    n = np.arange(60)
    rounding = np.where(n % 3 == 0, np.nextafter(0.1, 1.0), 0.1)
    return np.column_stack([np.full(60, 7.25), rounding, n % 7, (n * n) % 11 - 5.5])


def wine():
    return np.loadtxt(HERE / "wine.csv", delimiter=",")[:, [0, 4, 9, 12]]


def known(case, x):
    standard = StandardScaler().fit(x)
    put(case, "mean", standard.mean_)
    put(case, "deviation", np.where(standard.scale_ == 1.0, 0.0, standard.scale_))
    put(case, "least", x.min(axis=0))
    put(case, "largest", x.max(axis=0))
    put(case, "deciles", np.percentile(x, np.arange(1, 10) * 10, axis=0).T)
    put(case, "most_frequent", SimpleImputer(strategy="most_frequent").fit(x).statistics_)
    put(case, "eleven_quantiles", QuantileTransformer(n_quantiles=11).fit(x).quantiles_.T)
    put(case, "all_quantiles", QuantileTransformer(n_quantiles=len(x)).fit(x).quantiles_.T)


def made(case, x):
    put(case, "columns", x.T)
    put(case, "standard", StandardScaler().fit_transform(x).T)
    put(case, "min_max", MinMaxScaler(clip=True).fit_transform(x).T)
    put(case, "max_abs", MaxAbsScaler().fit_transform(x).T)
    put(case, "robust", RobustScaler().fit_transform(x).T)
    put(case, "wide", RobustScaler(quantile_range=(10, 90), with_centering=False).fit_transform(x).T)
    bins = KBinsDiscretizer(n_bins=4, encode="ordinal", strategy="quantile", quantile_method="linear", subsample=None)
    put(case, "quarters", 1 + bins.fit_transform(x[:, 2:]).T)
    # Values between those of the training set, and beyond them.
    asked = np.linspace(x.min(axis=0) - 1, x.max(axis=0) + 1, 25)
    put(case, "asked", asked.T)
    for count, name in [(11, "eleven"), (len(x), "all")]:
        transformer = QuantileTransformer(n_quantiles=count).fit(x)
        put(case, f"{name}_ranks", transformer.transform(x).T)
        put(case, f"{name}_asked_ranks", transformer.transform(asked).T)


def documents(count):
    return [[f"w{(n * k + k * k) % 11:02}" for k in range(n % 7)] for n in range(count)]


def texts():
    """What scikit-learn makes of lists of words, and BigQuery's formula (its documentation of ML.TF_IDF) by numpy."""
    lists = documents(40)
    same = {"analyzer": lambda words: words}
    counts = CountVectorizer(**same).fit_transform(lists).toarray()
    put("texts", "counts", counts)
    put("texts", "documents_with", (counts > 0).sum(axis=0))
    put("texts", "scikit_learn", TfidfVectorizer(**same).fit_transform(lists).toarray())
    sizes = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    put("texts", "bigquery", counts / sizes * np.log(1 + len(lists) / (1 + (counts > 0).sum(axis=0))))


def targets():
    n = np.arange(200)
    places = (n * n + n // 7) % 5
    categories = np.array(["a", "b", None, "d", "e"], dtype=object)[places][:, None]
    labels = (n * 37 % 101) / 10 + 3 * places
    classes = (labels > 9).astype(int)
    for case, x, y in [
        ("numbers", categories, labels),
        ("classes", categories, classes),
        ("classes_but_one", categories[1:], classes[1:]),
    ]:
        for smooth, name in [("auto", "auto"), (10.0, "ten"), (0.0, "zero")]:
            kind = "continuous" if case == "numbers" else "binary"
            encoder = TargetEncoder(target_type=kind, smooth=smooth).fit(x, y)
            put(f"targets_{case}", name, [*encoder.encodings_[0], encoder.target_mean_])


for case, x in [("wine_columns", wine()), ("odd_columns", odd())]:
    known(case, x)
    made(case, x)
texts()
targets()
(HERE / "preprocessing.txt").write_text("\n".join(LINES) + "\n")

#!/usr/bin/env python3
"""Writes what scikit-learn's preprocessing knows of the columns of small data sets, and what it makes of them.

Run by hand, with scikit-learn 1.9.1, as make.py, which writes the data sets. A line of preprocessing.txt is a case, a name,
and numbers, column by column. `odd` has a constant column, one that is constant up to rounding, and ties.
"""

from pathlib import Path

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import KBinsDiscretizer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

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


def made(case, x):
    put(case, "columns", x.T)
    put(case, "standard", StandardScaler().fit_transform(x).T)
    put(case, "min_max", MinMaxScaler(clip=True).fit_transform(x).T)
    put(case, "max_abs", MaxAbsScaler().fit_transform(x).T)
    put(case, "robust", RobustScaler().fit_transform(x).T)
    put(case, "wide", RobustScaler(quantile_range=(10, 90), with_centering=False).fit_transform(x).T)
    bins = KBinsDiscretizer(n_bins=4, encode="ordinal", strategy="quantile", quantile_method="linear", subsample=None)
    put(case, "quarters", 1 + bins.fit_transform(x[:, 2:]).T)


for case, x in [("wine_columns", wine()), ("odd_columns", odd())]:
    known(case, x)
    made(case, x)
(HERE / "preprocessing.txt").write_text("\n".join(LINES) + "\n")

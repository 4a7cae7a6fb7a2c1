#!/usr/bin/env python3
"""Writes what scikit-learn's OneClassSVM makes of the small data sets.

Run by hand, with scikit-learn 1.9.1, as make.py, which writes the data sets. Every fifth row is held out. A line of
one_class_svm.txt is a case, a name, and numbers: minus the decision function of all rows held out and of every seventh other,
how many support vectors there are, and the part of the training set that is predicted to be outside.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(round(float(value), 9)) for value in np.ravel(values))}")


def svm(case, features, scale=True, **options):
    held = np.arange(len(features)) % 5 == 0
    if scale:
        features = StandardScaler().fit(features[~held]).transform(features)
    model = OneClassSVM(tol=1e-9, cache_size=1000, **options).fit(features[~held])
    asked = np.vstack([features[held], features[~held][::7]])
    put(case, "scores", -model.decision_function(asked))
    put(case, "support", len(model.support_))
    put(case, "rate", np.mean(model.decision_function(features[~held]) < -1e-6))


def mixed(rows):
    """As in make.py, standardised and one-hot: numbers, one sometimes missing, a text, sometimes missing, and a boolean."""
    a = [(i * 37 % 101) / 10 - 5 for i in range(rows)]
    b = [((i * 53 + 7) % 97) if i % 11 != 3 else np.nan for i in range(rows)]
    city = [f"c{i * i % 7}" if i % 13 != 5 else "none" for i in range(rows)]
    flag = [str(i % 3 == 0) for i in range(rows)]
    held = np.arange(rows) % 5 == 0
    numbers = np.array([a, b]).T
    numbers = np.nan_to_num(StandardScaler().fit(numbers[~held]).transform(numbers))
    return np.hstack([numbers, OneHotEncoder(sparse_output=False).fit_transform(np.array([city, flag]).T)])


cancer, wine = datasets.load_breast_cancer(), datasets.load_wine()
digits, diabetes = datasets.load_digits(), datasets.load_diabetes(scaled=False)
svm("one_class_cancer", cancer.data, nu=0.1)
svm("one_class_wine", wine.data, nu=0.5)
svm("one_class_plain", diabetes.data, scale=False, nu=0.2)
svm("one_class_digits", digits.data[::3], scale=False, nu=0.05, gamma=0.001)
svm("one_class_linear", datasets.load_iris().data, scale=False, kernel="linear", nu=0.13)
svm("one_class_mixed", mixed(400), scale=False, nu=0.15)

(HERE / "one_class_svm.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

#!/usr/bin/env python3
"""Writes digits.csv, and the probabilities that scikit-learn's discrete naive Bayes gives for the small data sets.

Run by hand, with scikit-learn 1.9.1, as make.py, which writes the other data sets. A line of naive_bayes.txt is a
case, a name, and numbers. Probabilities are those of every seventh row of wine and every 71st of digits, row by row.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets, metrics
from sklearn.naive_bayes import BernoulliNB, MultinomialNB

HERE = Path(__file__).parent
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} {' '.join(repr(float(value)) for value in np.ravel(values))}")


def bayes(case, model, features, labels, step):
    probabilities = model.fit(features, labels).predict_proba(features)
    put(case, "probabilities", probabilities[::step])
    put(case, "accuracy", model.score(features, labels))
    put(case, "log_loss", metrics.log_loss(labels, probabilities))


digits, digit = datasets.load_digits(return_X_y=True)
with open(HERE / "digits.csv", "w", encoding="utf-8") as file:
    for features, label in zip(digits, digit):
        file.write(",".join(str(int(value)) for value in features) + f",{int(label)}\n")
wine, cultivar = datasets.load_wine(return_X_y=True)
bayes("wine_multinomial", MultinomialNB(alpha=0.5), wine, cultivar, 7)
bayes("digits_multinomial", MultinomialNB(), digits, digit, 71)
bayes("digits_bernoulli", BernoulliNB(binarize=7.5), digits, digit, 71)
bayes("wine_bernoulli", BernoulliNB(alpha=2.5, binarize=2.3), wine, cultivar, 7)
(HERE / "naive_bayes.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

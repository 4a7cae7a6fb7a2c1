#!/usr/bin/env python3
"""Writes what LightGBM's lambdarank makes of generated groups of rows.

Run by hand, with lightgbm 4.7, as boosted_trees.py. A line of ranker.txt is a case, a name, and numbers: the mean NDCG of
the groups learnt and of those held out, every fifth, and the scores of some of the former's rows.

LightGBM guesses how many rows a leaf has from the second derivatives of each bin, rounded bin by bin, and these differ much
between a ranker's rows: with its limit on a leaf's rows, trees depend on how that is rounded. So scores are those of trees
whose leaves are limited by their second derivatives. With the defaults, orders of the same rows give NDCGs that differ by
0.005 and more: what can be compared is the mean over several sets of rows, and here over several orders of each. Rows that nothing pulls at, as there are with a
low truncation level, may go to either side of a split that gains the same.
"""

from pathlib import Path

import lightgbm
import numpy as np

HERE = Path(__file__).parent
ROWS = 6000
SETS = 8
ORDERS = 5
LINES = []


def put(case, name, values):
    LINES.append(f"{case} {name} " + " ".join(repr(float(value)) for value in values))


def ranked(rows, first=0):
    """Groups whose rows are not adjacent, four numbers and relevances from 0 to 4: `ranked` in the tests."""
    i = np.arange(first, first + rows)
    group = i * i * 31 % 1009 % 240
    x = np.stack([(i * 37 % 101) / 50 - 1, (i * 53 % 97) / 48 - 1, (i * 29 % 89) / 44 - 1, (i * i % 211) / 105 - 1])
    noise = (i * i * 7 % 2003) / 1001 - 1
    # What all rows of a group have in common says nothing of their order.
    value = x[0] * 2 + x[1] * x[2] * 2 + np.where(x[3] > 0.3, 1.0, 0.0) + noise * 0.8 + group % 7 * 0.2
    relevance = sum((value > at).astype(int) for at in [0.5, 1.5, 2.3, 3.1])
    return x.T, group, relevance


def ndcg(group, relevance, score):
    """The mean over groups that have a relevant row; rows of one score share their places."""
    found = []
    for one in np.unique(group):
        gains, said = 2.0 ** relevance[group == one] - 1, score[group == one]
        if gains.max() == 0:
            continue
        discounts = 1 / np.log2(np.arange(len(gains)) + 2)
        tied = {value: gains[said == value].mean() for value in np.unique(said)}
        own = np.array([tied[value] for value in np.sort(said)[::-1]])
        found.append(own @ discounts / (np.sort(gains)[::-1] @ discounts))
    return np.mean(found)


def fitted(rounds, first=0, seed=None, **options):
    """The scores of the rows learnt, and the NDCG of these and of those held out; with a seed in another order."""
    features, group, relevance = ranked(ROWS, first)
    held = group % 5 == 0
    learnt = np.flatnonzero(~held)
    if seed is not None:
        learnt = np.random.default_rng(seed).permutation(learnt)
    order = learnt[np.argsort(group[learnt], kind="stable")]
    data = lightgbm.Dataset(features[order], relevance[order], group=np.unique(group[order], return_counts=True)[1])
    settings = {"objective": "lambdarank", "verbosity": -1, "num_threads": 1, "deterministic": True} | options
    said = lightgbm.train(settings, data, rounds).predict(features)
    return said[~held], [ndcg(group[some], relevance[some], said[some]) for some in (~held, held)]


def exact(case, rounds, **options):
    said, ndcgs = fitted(rounds, min_data_in_leaf=0, min_sum_hessian_in_leaf=2.0, **options)
    put(case, "scores", said[::97])
    put(case, "ndcg", ndcgs)


def mean(case, rounds=100, **options):
    fits = [fitted(rounds, number * ROWS, seed, **options)[1] for number in range(SETS) for seed in range(ORDERS)]
    put(case, "ndcg", np.mean(fits, axis=0))


exact("ranker_one_round", 1)
exact("ranker_thirty_rounds", 30)
exact("ranker_truncated", 10, lambdarank_truncation_level=10)
mean("ranker")
mean("ranker_few_leaves", num_leaves=7, learning_rate=0.05, lambda_l2=5.0, min_data_in_leaf=50)
(HERE / "ranker.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")

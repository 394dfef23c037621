"""Scores of scikit-learn on random labels, one class never true: test/fixtures/metrics.json."""

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, recall_score

random = np.random.default_rng(7)
truth = random.integers(0, 4, 60)
predicted = np.where(random.random(60) < 0.6, truth, random.integers(0, 5, 60))
present = sorted(set(truth.tolist()))
Path(__file__).parents[2].joinpath("test/fixtures/metrics.json").write_text(
    json.dumps(
        {
            "classes": 5,
            "truth": truth.tolist(),
            "predicted": predicted.tolist(),
            "wa": float((truth == predicted).mean()),
            "ua": float(recall_score(truth, predicted, labels=present, average="macro")),
            "macroF1": float(f1_score(truth, predicted, average="macro")),
            "confusion": confusion_matrix(truth, predicted, labels=range(5)).tolist(),
        }
    )
    + "\n"
)

"""CCC, Pearson's correlation and RMSE of random values by numpy: test/fixtures/concordance.json."""

import json
from pathlib import Path

import numpy as np

random = np.random.default_rng(11)
cases = []
for count, offset, scale, noise in [(50, 0, 1, 0.1), (50, 0.3, 0.5, 0.2), (7, 1000, 1, 1), (40, 0, -1, 0.3)]:
    truth = random.random(count) + (offset if offset > 1 else 0)
    predicted = offset + scale * (truth - truth.mean()) + 0.5 + noise * random.standard_normal(count)
    variances = np.cov(truth, predicted, bias=True)
    shift = truth.mean() - predicted.mean()
    cases.append(
        {
            "truth": truth.tolist(),
            "predicted": predicted.tolist(),
            "ccc": float(2 * variances[0, 1] / (variances[0, 0] + variances[1, 1] + shift**2)),
            "pearson": float(np.corrcoef(truth, predicted)[0, 1]),
            "rmse": float(np.sqrt(np.mean((truth - predicted) ** 2))),
        }
    )
Path(__file__).parents[2].joinpath("test/fixtures/concordance.json").write_text(json.dumps(cases) + "\n")

"""Span masks of transformers' _compute_mask_indices, with numpy's draws replaced by Philox (native/philox.h).

Writes test/fixtures/masks.json. Run: python scripts/oracle/masks.py
"""
import json
import pathlib
from unittest import mock

import numpy as np
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

MASK_SITE = 0x40000003  # sites.mask in lib/random/philox.ts


def philox(seed, step, site, index):
    counter = [index & 0xFFFFFFFF, index >> 32, site, step]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (p1 >> 32) ^ counter[1] ^ key[0],
            p1 & 0xFFFFFFFF,
            (p0 >> 32) ^ counter[3] ^ key[1],
            p0 & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


class Stream:
    def __init__(self, seed, step):
        self.seed, self.step, self.position = seed, step, 0

    def bits(self):
        word = philox(self.seed, self.step, MASK_SITE, self.position // 4)[self.position % 4]
        self.position += 1
        return word

    def rand(self, count):
        return np.array([(self.bits() >> 8) / 2.0**24 for _ in range(count)])

    def choice(self, values, count, replace):
        assert not replace
        values = list(values)
        for i in range(count):
            j = i + (self.bits() * (len(values) - i) >> 32)
            values[i], values[j] = values[j], values[i]
        return np.array(values[:count])


def runs(row):
    """Masked spans as [start, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges.reshape(-1, 2).tolist()


cases = []
for seed, step, frames, probability, length, minimum in [
    (1, 0, [99], 0.8, 10, 2),
    (1, 1, [99, 250, 779], 0.8, 10, 2),
    (2**53 - 1, 19999, [49, 50, 299, 299], 0.8, 10, 2),
    (7, 3, [12, 30, 49, 299], 0.08, 10, 2),
    (7, 4, [10, 15, 299], 0.08, 10, 0),
    (9, 2, [100, 101, 779], 0.65, 5, 1),
]:
    stream = Stream(seed, step)
    u = stream.rand(1)
    masks = []
    for count in frames:  # one utterance a call: our masks never depend on their batch
        with mock.patch("numpy.random.rand", lambda _: u), mock.patch("numpy.random.choice", stream.choice):
            row = _compute_mask_indices((1, count), probability, length, min_masks=minimum)[0]
        masks.append(runs(row))
    cases.append(dict(seed=seed, step=step, frames=frames, probability=probability, length=length,
                      minimumSpans=minimum, masks=masks))
path = pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "masks.json"
path.write_text(json.dumps(cases) + "\n")

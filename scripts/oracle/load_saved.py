"""Loads a model directory written by emoframe in transformers, and fails unless every tensor found its place.

Run: python scripts/oracle/load_saved.py DIRECTORY
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor

torch.set_num_threads(1)
directory = pathlib.Path(sys.argv[1])
(architecture,) = json.loads((directory / "config.json").read_text())["architectures"]
model, info = getattr(transformers, architecture).from_pretrained(directory, output_loading_info=True)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not info[kind], f"{kind}: {sorted(info[kind])}"

saved = load_file(directory / "model.safetensors")
for name, value in model.state_dict().items():
    assert value.dtype == torch.float32, f"{name} is {value.dtype}"
    assert torch.equal(value, saved[name]), f"{name} differs"

extractor = AutoFeatureExtractor.from_pretrained(directory)
assert extractor.sampling_rate == 16000
samples = torch.randn(16000).numpy()
inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
with torch.no_grad():
    hidden = model.eval()(inputs.input_values).last_hidden_state
assert torch.isfinite(hidden).all()
head = directory / "emoframe.json"
labels = json.loads(head.read_text())["labels"] if head.exists() else None
print(f"{len(saved)} tensors, hidden {list(hidden.shape)}, do_normalize {extractor.do_normalize}, labels {labels}")

"""Checkpoints as PyTorch, transformers, safetensors and NumPy write them, with what is in them.

Writes test/fixtures/checkpoints. Run: python scripts/oracle/checkpoints.py
"""
import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import HubertConfig, HubertForCTC, HubertModel, Wav2Vec2FeatureExtractor

from tiny import TINY, fixtures

torch.set_num_threads(1)
root = fixtures / "checkpoints"
shutil.rmtree(root, ignore_errors=True)
root.mkdir(parents=True)
expected = {}

SIZES = dict(TINY, vocab_size=5)
FORMS = {
    "base": {},
    "large": dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, feat_proj_layer_norm=True),
}


def summary(tensor):
    """Shape, first values, and sums in which every place counts differently, so that no order but the right one fits."""
    values = tensor.detach().to(torch.float64).numpy().ravel()
    weights = (np.arange(values.size) % 97 + 1).astype(np.float64)
    return {"shape": list(tensor.shape), "first": values[:4].tolist(), "weighted": float(values @ weights)}


def describe(name, state):
    expected[name] = {key: summary(tensor) for key, tensor in state.items()}


def tiny(form, model_class=HubertModel):
    torch.manual_seed({"base": 1, "large": 2}[form])
    model = model_class(HubertConfig(**SIZES, **FORMS[form]))
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too: nothing is 0 or 1
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


def old_names(state):
    return {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in state.items()
    }


# As transformers saves: safetensors, with and without the file that says how to normalise.
for form, normalize in (("base", False), ("large", True)):
    model = tiny(form)
    model.save_pretrained(root / form)
    Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=form == "large").save_pretrained(root / form)
    describe(form, model.state_dict())

# A model with a head on top, saved by an old PyTorch: prefix, old weight norm names, extra tensors, no preprocessor file.
ctc = tiny("base", HubertForCTC)
(root / "old").mkdir()
ctc.config.to_json_file(root / "old" / "config.json", use_diff=False)
torch.save(old_names(ctc.state_dict()), root / "old" / "pytorch_model.bin")
describe("old", ctc.hubert.state_dict())

# Half precision, as an OrderedDict with _metadata, in the large form.
half = tiny("large").half()
(root / "half").mkdir()
half.config.to_json_file(root / "half" / "config.json")
torch.save(half.state_dict(), root / "half" / "pytorch_model.bin")
describe("half", half.state_dict())

# Every dtype, and views of storages: offsets, strides, sharing, no elements, no axes.
generator = torch.Generator().manual_seed(3)
plain = torch.randn(6, 4, generator=generator)
views = {
    "plain": plain,
    "transposed": plain.t(),
    "offset": plain[2:5],
    "columns": plain[:, 1::2],
    "expanded_once": plain[:, :1],
    "permuted": torch.randn(2, 3, 4, generator=generator).permute(2, 0, 1),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "parameter": torch.nn.Parameter(torch.randn(3, generator=generator)),
}
numbers = torch.tensor([0.0, -0.0, 1.0, -2.5, 65504.0, 6e-8, 6.1e-5, 1e-3])
dtypes = {
    "f64": numbers.double(),
    "f32": numbers,
    "f16": numbers.half(),
    "bf16": numbers.bfloat16(),
    "i64": torch.tensor([0, -1, 123456, -(2**40)]),
    "i32": torch.tensor([0, -1, 123456], dtype=torch.int32),
    "i16": torch.tensor([0, -1, 12345], dtype=torch.int16),
    "i8": torch.tensor([0, -1, 127, -128], dtype=torch.int8),
    "u8": torch.tensor([0, 1, 255], dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
}
torch.save({**views, **dtypes}, root / "views.bin")
torch.save({**views, **dtypes}, root / "views.protocol5.bin", pickle_protocol=5)
describe("views", {**views, **dtypes})
save_file(dtypes, root / "dtypes.safetensors", metadata={"made by": "safetensors"})
save_file({"f8": torch.zeros(4, dtype=torch.float8_e4m3fn)}, root / "float8.safetensors")

# What must be refused.
torch.save({"plain": plain}, root / "legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"plain": plain, "epoch": 3}, root / "extra.bin")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/emoframe-hostile-pickle",)


for protocol in (2, 4):
    with zipfile.ZipFile(root / f"hostile.protocol{protocol}.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Hostile()}, protocol=protocol))
        archive.writestr("archive/version", "3\n")

np.save(root / "float32.npy", plain.numpy())
np.save(root / "float64.npy", plain.double().numpy()[:, 0].copy())
np.save(root / "int32.npy", np.array([3, -4, 5], dtype=np.int32))
np.save(root / "fortran.npy", np.asfortranarray(plain.numpy()))
np.save(root / "int64.npy", np.array([3]))
describe("npy", {"float32": plain, "float64": plain[:, 0]})

(root / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")

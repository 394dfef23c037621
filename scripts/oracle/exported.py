"""Reads what `emoframe export` wrote, in other people's libraries, and fails unless it means there what it means to emoframe.

Run: emoframe predict AUDIO.wav --model PREDICTOR --json > expected.json
     python scripts/oracle/exported.py expected.json AUDIO.wav EXPORT...

Of an ONNX export: onnx's checker, strict shape inference, and ONNX Runtime. Of a Hugging Face directory: transformers' class
that config.json names, without a missing or unexpected weight. Of each: the Python code of its model card is run, the card's
front matter is read by huggingface_hub, and emotions and frame posteriors are compared.
"""
import json
import pathlib
import re
import sys
import wave

import numpy as np
import onnx
import transformers
from huggingface_hub import ModelCard

TOLERANCE = 1e-4

prediction_path, audio_path, *exports = sys.argv[1:]
(expected,) = json.loads(pathlib.Path(prediction_path).read_text())
with wave.open(audio_path) as audio:
    assert (audio.getframerate(), audio.getnchannels(), audio.getsampwidth()) == (16000, 1, 2), "16 kHz mono, 16 bits"
    samples = np.frombuffer(audio.readframes(audio.getnframes()), "<i2").astype(np.float32) / 32768


def check_graph(path):
    onnx.checker.check_model(path, full_check=True)
    graph = onnx.shape_inference.infer_shapes(
        onnx.load(path, load_external_data=False), strict_mode=True, data_prop=True
    ).graph
    return f"{len(graph.node)} operators"


def check_weights(directory):
    (name,) = json.loads((directory / "config.json").read_text())["architectures"]
    _, info = getattr(transformers, name).from_pretrained(directory, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], f"{kind}: {sorted(info[kind])}"
    return name


for export in exports:
    directory = pathlib.Path(export)
    graph = directory / "model.onnx"
    checked = check_graph(str(graph)) if graph.exists() else check_weights(directory)
    card = ModelCard.load(directory / "README.md")
    results = card.data.eval_results or []
    (code,) = re.findall(r"^```python\n(.*?)^```$", card.text, re.S | re.M)
    found = {"FOLDER": export, "samples": samples}
    exec(code, found)  # what the card says to do
    if "values" in expected:  # of a regression
        difference = max(abs(found["values"][name] - value) for name, value in expected["values"].items())
        if "frame_values" in found:
            values = np.asarray(found["frame_values"]).reshape(len(expected["frames"]), -1)
            difference = max(difference, np.abs(values - [frame["values"] for frame in expected["frames"]]).max())
    elif "emotions" in found:  # a pipeline's list, best first
        best = found["emotions"][0]
        assert best["label"] == expected["label"], best
        difference = abs(best["score"] - expected["probabilities"][best["label"]])
    else:
        assert found["emotion"] == expected["label"], found["emotion"]
        posteriors = np.asarray(found["frame_posteriors"]).reshape(-1, len(expected["probabilities"]))
        attention = np.asarray(found["attention"]).ravel()
        difference = max(
            np.abs(posteriors - [frame["posterior"] for frame in expected["frames"]]).max(),
            np.abs(attention - [frame["attention"] for frame in expected["frames"]]).max(),
        )
    assert difference <= TOLERANCE, f"{export} differs by {difference}"
    said = expected.get("label", expected.get("values"))
    print(f"{export}: {checked}, {len(results)} results on the card, {said}, largest difference {difference:.1e}")

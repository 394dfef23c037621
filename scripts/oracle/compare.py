"""Compares `emoframe encode` with transformers' models on real-size models and audio: every layer, and the output.

    python scripts/oracle/compare.py --make base DIR             write a real-size model with random weights (or: large,
                                                                 wavlm-base, wavlm-large)
    python scripts/oracle/compare.py DIR AUDIO.wav... [--precision bf16] [--device cuda:0]

AUDIO is 16 kHz, mono, 16-bit WAV. For every hidden state, over all files: ||ours - theirs|| / ||theirs||, theirs in float32. Needs
PyTorch, transformers and numpy, and emoframe built (`npm run compile`). With bf16, the error of PyTorch's own bf16 (autocast) stands
beside. Exit code 1 if an error is above 1e-4 (tf32: 4e-3; bf16: 2e-2, or a quarter more than PyTorch's own where that is larger).
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import wave

import numpy as np
import torch
from transformers import AutoModel, HubertConfig, HubertModel, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel
from transformers.utils import logging

logging.disable_progress_bar()
ROOT = pathlib.Path(__file__).resolve().parents[2]
LARGE = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True,
}  # fmt: skip


def make(kind, directory):
    torch.manual_seed(0)
    large = kind.endswith("large")
    model_class, config_class = (WavLMModel, WavLMConfig) if kind.startswith("wavlm") else (HubertModel, HubertConfig)
    model = model_class(config_class(**(LARGE if large else {})))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Trained models have larger weights than fresh ones: three times the initial spread makes attention choose.
            if ".layers." in name and parameter.dim() == 2 and "rel_attn_embed" not in name:
                parameter.mul_(3)
            elif "layer_norm.weight" in name:
                parameter.mul_(0.5 + torch.rand_like(parameter))
    model.save_pretrained(directory)
    Wav2Vec2FeatureExtractor(do_normalize=large, return_attention_mask=large).save_pretrained(directory)


def read(path):
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16000, 1, 2):
            sys.exit(f"{path}: expected 16 kHz, mono, 16-bit")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def theirs(directory, files, autocast=False):
    """Per file, the hidden states and the model's output, [layers + 2, T, C]."""
    model = AutoModel.from_pretrained(directory).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(directory)
    for file in files:
        inputs = extractor(read(file), sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = model(inputs, output_hidden_states=True)
        # Needs transformers 5: 4 has the final LayerNorm of pre-norm models in the last hidden state.
        yield torch.cat([*output.hidden_states, output.last_hidden_state]).float().numpy()


def relative_error(found, expected):
    """Over all files; lists of [T, C]."""
    difference = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in zip(found, expected))
    return (difference / sum(float(np.square(b, dtype=np.float64).sum()) for b in expected)) ** 0.5


def ours(directory, files, layer, options):
    with tempfile.TemporaryDirectory() as out:
        command = ["node", str(ROOT / "dist/cli/main.js"), "encode", *files, "--model", directory, "--out", out, *options]
        subprocess.run([*command, *layer], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return [np.load(pathlib.Path(out) / f"{pathlib.Path(file).stem}.npy") for file in files]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("audio", nargs="*")
    parser.add_argument("--make", choices=("base", "large", "wavlm-base", "wavlm-large"))
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.make:
        return make(arguments.make, arguments.model)
    if not arguments.audio:
        parser.error("name at least one audio file")
    expected = list(theirs(arguments.model, arguments.audio))
    bf16 = arguments.precision == "bf16"
    own = list(theirs(arguments.model, arguments.audio, autocast=True)) if bf16 else []
    options = ["--precision", arguments.precision, "--device", arguments.device]
    failed = False
    for layer in range(len(expected[0])):
        golden = [states[layer] for states in expected]
        name = "output" if layer == len(expected[0]) - 1 else f"layer {layer}"
        named = [] if name == "output" else ["--layer", str(layer)]
        found = ours(arguments.model, arguments.audio, named, options)
        for file, a, b in zip(arguments.audio, found, golden):
            if a.shape != b.shape:
                sys.exit(f"{file}, {name}: shape {a.shape} where transformers gives {b.shape}")
        error, limit, beside = relative_error(found, golden), 4e-3 if arguments.precision == "tf32" else 1e-4, ""
        if bf16:
            reference = relative_error([states[layer] for states in own], golden)
            limit, beside = max(2e-2, 1.25 * reference), f"   PyTorch's bf16 {reference:.2e}"
        failed |= not error < limit
        print(f"{name:8s}  relative error {error:.2e}{beside}")
    return failed


if __name__ == "__main__":
    sys.exit(main())

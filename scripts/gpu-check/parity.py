"""One inference batch and one training step of HuBERT-base, real size, random weights: a device of emoframe against its CPU backend
and against transformers on the same weights, in fp32 and bf16, and on a GPU in tf32; there with graphs and without, which are to give
the same bits.

    python parity.py NODE --device cuda:0 --seconds 4 --json parity.json

Compared by ‖difference‖ / ‖expected‖: hidden states, loss, all gradients together and each that is more than rounding. transformers
computes in fp32 on the CPU, utterances one at a time without padding.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity, cross_entropy

HERE = pathlib.Path(__file__).resolve().parent
LAYERS = (0, 6, 12)
# `each` is of the worst gradient of a tensor; `gradients` of all together.
transformers.utils.logging.disable_progress_bar()
# tf32 rounds an eighth as much as bf16.
TOLERANCE = {
    "fp32": {"hidden": 2e-5, "loss": 1e-5, "gradients": 1e-4, "each": 5e-4},
    "tf32": {"hidden": 4e-3, "loss": 2e-4, "gradients": 7e-3, "each": 2e-2},
    "bf16": {"hidden": 3e-2, "loss": 1e-3, "gradients": 5e-2, "each": 1e-1},
}


def reference(folder):
    data = load_file(folder / "input.safetensors")
    count = sum(name.startswith("utterance.") for name in data)
    utterances, masks, labels = (
        [data[f"{kind}.{index}"] for index in range(count)] for kind in ("utterance", "mask", "labels")
    )
    model = transformers.HubertModel.from_pretrained(folder / "model").eval()
    head = {name: value.requires_grad_() for name, value in load_file(folder / "model" / "head.safetensors").items()}
    results = {}
    with torch.no_grad():
        states = [model(samples[None], output_hidden_states=True).hidden_states for samples in utterances]
    for layer in LAYERS:
        results[f"hidden.{layer}"] = torch.cat([state[layer][0] for state in states])
    loss = 0
    masked = sum(mask.sum() for mask in masks)
    for samples, mask, label in zip(utterances, masks, labels):
        mask = mask.bool()
        features = model.feature_projection(model.feature_extractor(samples[None]).transpose(1, 2))
        features = torch.where(mask[None, :, None], model.masked_spec_embed, features)
        hidden = model.encoder(features).last_hidden_state[0][mask]
        projected = hidden @ head["final_proj.weight"].T + head["final_proj.bias"]
        logits = cosine_similarity(projected[:, None], head["label_embs_concat"][None], dim=-1) / 0.1
        loss = loss + cross_entropy(logits, label[mask].long(), reduction="sum") / masked
    loss.backward()
    results["loss"] = loss.detach()[None]
    for name, parameter in {**dict(model.named_parameters()), **head}.items():
        results[f"gradient.{name}"] = parameter.grad
    return results


def relative_error(found, expected):
    error = (found.double() - expected.double()).norm() / expected.double().norm()
    return error.item() if error.isfinite() else float("inf")


def compare(found, expected):
    if set(found) != set(expected):
        raise RuntimeError(f"One side alone has {sorted(set(found) ^ set(expected))[:5]}.")
    gradients = [name for name in expected if name.startswith("gradient.")]
    whole = torch.cat([expected[name].double().flatten() for name in gradients])
    ours = torch.cat([found[name].double().flatten() for name in gradients])
    # A key bias shifts all scores of a row alike: its gradient is rounding only.
    compared = [name for name in gradients if not name.endswith("k_proj.bias")]
    each = {name: relative_error(found[name], expected[name]) for name in compared if expected[name].norm() > 1e-4 * whole.norm()}
    return {
        "hidden": max(relative_error(found[name], expected[name]) for name in expected if name.startswith("hidden.")),
        "loss": relative_error(found["loss"], expected["loss"]),
        "gradients": relative_error(ours, whole),
        "each": max(each.values()),
        "worst": max(each, key=each.get),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("node")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", default="4", help="of the longest of three utterances (4)")
    parser.add_argument("--json")
    options = parser.parse_args()
    rows, problems = [], []

    def keep():
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps({"rows": rows, "problems": problems}, indent=2) + "\n")

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)

        def node(*words):
            command = [options.node, HERE / "parity.js", *map(str, words)]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip()[-600:] or f"exit code {done.returncode}")
            return done.stdout

        def compute(device, precision, how):
            file = folder / f"{device}-{precision}-{how}.safetensors"
            said = node("compute", folder, device, precision, how, file)
            found = load_file(file)
            file.unlink()
            return found, json.loads(said)

        node("prepare", folder, options.seconds)
        precisions = ("fp32", "bf16") if options.device == "cpu" else ("fp32", "tf32", "bf16")
        ways = ("single",) if options.device == "cpu" else ("single", "graphs")
        wanted = {("cpu", "fp32", "single"), *((options.device, precision, how) for precision in precisions for how in ways)}
        sides, replayed = {}, {}
        # All at once: each is a process, and this one's own part is the reference.
        with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
            running = {what: pool.submit(compute, *what) for what in sorted(wanted)}
            expected = reference(folder)
            for (device, precision, how), future in running.items():
                name = f"{device} {precision}{' graphs' if how == 'graphs' else ''}"
                try:
                    sides[name], replayed[name] = future.result()
                except RuntimeError as error:
                    problems.append(f"{name} failed: {error}")
        for precision in precisions:
            ours = f"{options.device} {precision}"
            for theirs, other in (("transformers fp32", expected), ("cpu fp32", sides.get("cpu fp32"))):
                if ours == theirs or ours not in sides or other is None:
                    continue
                errors = compare(sides[ours], other)
                over = [name for name, limit in TOLERANCE[precision].items() if not errors[name] <= limit]
                rows.append({"name": f"{ours} against {theirs}", **errors, "agrees": not over})
                problems += [f"{ours} against {theirs}: {name} {errors[name]:.1e}" for name in over]
                figures = ", ".join(f"{name} {errors[name]:.1e}" for name in TOLERANCE[precision])
                print(f"{ours} against {theirs}: {figures} ({errors['worst']}){' TOO LARGE' if over else ''}", flush=True)
            keep()  # if this has no time for the others
            graphs = f"{ours} graphs"
            if ours in sides and graphs in sides:
                apart = [name for name, tensor in sides[ours].items() if not torch.equal(tensor, sides[graphs][name])]
                use = replayed[graphs]
                rows.append({"name": graphs, "differ": len(apart), "graphs": use, "agrees": not apart and use["replayed"] > 0})
                print(f"{graphs}: {len(apart)} tensors differ from those without, {json.dumps(use)}", flush=True)
                if apart:
                    problems.append(f"{graphs}: {len(apart)} tensors differ, {apart[0]} among them")
                if use["replayed"] == 0:
                    problems.append(f"{graphs}: none was replayed")
    for problem in problems:
        print(problem, file=sys.stderr)
    keep()
    sys.exit(1 if problems else 0)


main()

"""Twenty training steps on both tiny models of model.py, dropout off: test/fixtures/model/curves.json and curve masks.

For each form and for masked prediction and attention pooling: the loss before each step, in float64. Step s trains on the utterances
BATCHES[s % 4] with a mask of its own (`masks.S` in curve.safetensors); AdamW as in the method, without clipping. Run after model.py.
"""

import json

import torch
from model import FIXTURES, FORMS, SECONDS, Oracle, save, spans

STEPS = 20
BATCHES = [[0, 1, 2], [2, 1], [1], [2, 0]]
SETTINGS = {
    "masked-prediction": {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01},
    "attention": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-5},
}


def run(form, objective, masks, dtype):
    oracle = Oracle(form, objective, dtype)
    optimiser = torch.optim.AdamW(oracle.parameters().values(), **SETTINGS[objective])
    clusters = oracle.data["clusters"].split([oracle.frames(index) for index in range(len(SECONDS))])
    losses = []
    for step in range(STEPS):
        chosen = BATCHES[step % len(BATCHES)]
        if objective == "masked-prediction":
            labels = torch.cat([clusters[index] for index in chosen])
        else:
            labels = oracle.data["classes"][chosen]
        loss = oracle.loss(chosen, masks[step], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


generator = torch.Generator().manual_seed(5)
frames = [(round(seconds * 16000) - 400) // 320 + 1 for seconds in SECONDS]
masks = [
    torch.cat([spans(frames[index], generator) for index in BATCHES[step % len(BATCHES)]]) for step in range(STEPS)
]
save(FIXTURES / "curve.safetensors", {f"masks.{step}": mask for step, mask in enumerate(masks)})
curves = {}
for form in FORMS:
    curves[form] = {}
    for objective in SETTINGS:
        exact = run(form, objective, masks, torch.float64)
        single = run(form, objective, masks, torch.float32)
        curves[form][objective] = exact
        error = max(abs(a - b) / b for a, b in zip(single, exact))
        print(form, objective, [round(loss, 4) for loss in exact], f"float32 is off by {error:.1e}")
(FIXTURES / "curves.json").write_text(json.dumps({"batches": BATCHES, "curves": curves}, indent=1) + "\n")

"""Five AdamW steps with clipping on both tiny models of model.py: test/fixtures/model/FORM.optimiser.safetensors.

Masked prediction on all three utterances with the mask of utterances.safetensors, dropout off, float64. Written are the gradient
norms before clipping (`norms` [5]) and every tensor after the last step. Run after model.py.
"""

import torch
from model import FIXTURES, FORMS, SECONDS, Oracle, save

SETTINGS = {"lr": 2e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
# Below the norms seen, so that clipping acts.
CLIP_NORM = 1.0


def run(form, dtype):
    oracle = Oracle(form, "masked-prediction", dtype)
    parameters = oracle.parameters()
    optimiser = torch.optim.AdamW(parameters.values(), **SETTINGS)
    norms = []
    for _ in range(5):
        optimiser.zero_grad()
        oracle.loss(range(len(SECONDS)), oracle.data["mask"], oracle.data["clusters"]).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP_NORM)))
        optimiser.step()
    return {**parameters, "norms": torch.tensor(norms, dtype=torch.float64)}


for form in FORMS:
    exact = run(form, torch.float64)
    single = run(form, torch.float32)
    save(FIXTURES / f"{form}.optimiser.safetensors", exact)
    start = Oracle(form, "masked-prediction").parameters()
    errors = []
    for name, value in start.items():
        if name.endswith("k_proj.bias"):  # moves by rounding alone
            continue
        moved = (exact[name] - value).detach()
        errors.append((float((single[name].double() - exact[name]).detach().norm() / (moved.norm() + 1e-9)), name))
    print(form, "norms", [round(norm, 4) for norm in exact["norms"].tolist()], "float32 is off by (of the movement)", max(errors))

"""Operations of a training step, as PyTorch's FlopCounterMode counts them: test/fixtures/model/flops.json.

Needs what model.py needs, whose tiny models and utterances it reads; run it after that:

    python scripts/oracle/flops.py

PyTorch counts what it does, so the model is written for it in products alone: attention without fused kernels, the positional
convolution as a product of windows (of grouped convolutions PyTorch counts all pairs of channels in the backward pass), cosines as
a product of unit vectors. Cases are {form, objective, source, stored, frozen, flops}: "stored" ones are given the feature encoder's
output, and "frozen" has beginnings of names of tensors without gradients.
"""

import json

import torch
from torch.nn.functional import cross_entropy, normalize, pad
from torch.utils.flop_counter import FlopCounterMode

from alignment import SOURCES, network_of, source_of
from model import FIXTURES, FORMS, Oracle

ENCODER, BELOW = "feature_extractor.", ["feature_extractor.", "feature_projection.", "masked_spec_embed", "encoder."]
LOWEST = [*BELOW[:3], "encoder.pos_conv", "encoder.layer_norm", "encoder.layers.0."]
MASKED = [(False, []), (False, [ENCODER]), (True, [ENCODER]), (True, LOWEST)]
UTTERANCES = [(False, []), (True, [ENCODER]), (True, BELOW)]
ALIGNMENT = [(False, BELOW), (False, [])]


class Windows(torch.nn.Module):
    """The positional convolution before its activation, as one product a group."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        kernel, groups = self.conv.kernel_size[0], self.conv.groups
        windows = pad(x[0], (kernel // 2, (kernel - 1) // 2)).unfold(1, kernel, 1)  # [C, T, K]
        windows = windows.unflatten(0, (groups, -1)).permute(0, 2, 1, 3).flatten(2)  # [G, T, C / G · K]
        weight = self.conv.weight.flatten(1).unflatten(0, (groups, -1)).transpose(1, 2)
        return torch.bmm(windows, weight).transpose(1, 2).flatten(0, 1)[None] + self.conv.bias[:, None]


def oracle_of(form, objective):
    oracle = Oracle(form, objective, torch.float32)
    oracle.model.set_attn_implementation("eager")
    positional = oracle.model.encoder.pos_conv_embed
    positional.conv, positional.padding = Windows(positional.conv), torch.nn.Identity()
    # The samples that the frames follow from, as those of a crop.
    frames = [oracle.frames(index) for index in range(len(oracle.utterances))]
    oracle.utterances = [samples[: 320 * count + 80] for samples, count in zip(oracle.utterances, frames)]
    return oracle


def loss_of(oracle, objective, stored, network, source, layer):
    masks = oracle.data["mask"].bool().split([oracle.frames(index) for index in range(len(oracle.utterances))])
    loss, masked = 0, []
    for index, samples in enumerate(oracle.utterances):
        if network is not None:
            heard = source_of(oracle, network, source, layer, samples)
            bands = torch.zeros(len(heard), network.projection.in_features - heard.shape[1])
            loss = loss + network(torch.cat([heard, bands], 1)).sum()
            continue
        features = stored[index] if stored else oracle.features(samples, 1.0)
        if objective == "masked-prediction":
            masked.append(oracle.hidden(features, masks[index])[masks[index]])
        else:
            pooled = oracle.pool(oracle.hidden(features, None))[None]
            logits = pooled @ oracle.heads["classifier.weight"].T + oracle.heads["classifier.bias"]
            loss = loss + cross_entropy(logits, torch.zeros(1, dtype=torch.long))
    if not masked:
        return loss
    projected = torch.cat(masked) @ oracle.heads["final_proj.weight"].T + oracle.heads["final_proj.bias"]
    logits = normalize(projected, dim=-1) @ normalize(oracle.heads["label_embs_concat"], dim=-1).T
    return cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def count(form, objective, source, is_stored, frozen):
    oracle = oracle_of(form, "mean" if source else objective)
    network = network_of(form, source) if source else None
    parameters = oracle.parameters()
    for name, parameter in parameters.items():
        name = name.replace("pos_conv_embed.conv.conv.", "pos_conv_embed.conv.")
        if any(name.startswith(prefix) for prefix in frozen):
            parameter.requires_grad_(False)
    with torch.no_grad():
        stored = [oracle.features(samples, 1.0) for samples in oracle.utterances] if is_stored else None
    layer = SOURCES[source] and SOURCES[source][form] if source else None
    if isinstance(layer, int):
        oracle.model.encoder.layers = oracle.model.encoder.layers[:layer]
    with FlopCounterMode(display=False) as counter:
        loss_of(oracle, objective, stored, network, source, layer).backward()
    return counter.get_total_flops()


def main():
    cases = []
    for form in FORMS:
        kinds = [("masked-prediction", None, MASKED), ("attention", None, UTTERANCES), ("stats", None, UTTERANCES[:1])]
        kinds += [("alignment", source, ALIGNMENT) for source in SOURCES]
        for objective, source, options in kinds:
            for stored, frozen in options:
                flops = count(form, objective, source, stored, frozen)
                cases.append({"form": form, "objective": objective, **({"source": source} if source else {}),
                              "stored": stored, "frozen": frozen, "flops": flops})  # fmt: skip
                print(cases[-1])
    path = FIXTURES / "flops.json"
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    path.chmod(0o644)


if __name__ == "__main__":
    main()

"""Golden values of the model, from transformers' HubertModel in float64: test/fixtures/model/.

Needs PyTorch, transformers and safetensors; run it, then optimiser.py and curve.py, after changing anything here:

    python scripts/oracle/model.py

Two tiny models with the real structure, one of each form (`base`: GroupNorm in conv 0, post-LN; `large`: LayerNorm and bias in
every conv, pre-LN), with weights large enough that every nonlinearity matters. Written are

    utterances.safetensors        utterance.B [samples]; mask [T] and clusters [T] over the three utterances laid end to end; classes [3]
    FORM/                         the model, by save_pretrained
    FORM.hidden.safetensors       hidden.B.L [T_B, C]: utterance B run alone, unpadded; hidden state L, or `output`
    FORM.heads.safetensors        final_proj.*, label_embs_concat, and POOLING/pooling.weight, POOLING/classifier.*
    FORM.NAME.safetensors         loss, and the gradient of every parameter, NAME = masked-prediction or a pooling
"""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertModel
from transformers.utils import logging

torch.set_num_threads(1)
logging.disable_progress_bar()
FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures" / "model"
CLUSTERS, DIMENSION, TEMPERATURE, CLASSES = 7, 24, 0.1, 4
FEATURE_PENALTY, FEATURE_GRADIENT_SCALE = 10.0, 0.1
POOLINGS = ("mean", "attention", "attention-linear", "stats")
SECONDS = (0.3, 1.1, 0.74)
CONV = {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
NO_DROPOUT = {
    name: 0.0
    for name in (
        "hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
    )
}
FORMS = {
    "base": HubertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, conv_dim=[16] * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, **CONV, **NO_DROPOUT,
    ),
    # Widths that differ from layer to layer, an odd positional kernel, larger heads.
    "large": HubertConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        conv_dim=[16, 16, 24, 16, 16, 24, 32], num_conv_pos_embeddings=15, num_conv_pos_embedding_groups=6,
        feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, **CONV, **NO_DROPOUT,
    ),
}  # fmt: skip


def randomize(model, generator):
    """Weights at a scale where softmax, GELU and norms are far from linear, and norms far from the identity."""
    normal = lambda tensor, scale: torch.randn(tensor.shape, generator=generator) * scale
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "masked_spec_embed":
                parameter.copy_(normal(parameter, 0.7))
            elif name.endswith("original0"):  # weight norm's magnitudes, [1, 1, kernel]
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
            elif "layer_norm.weight" in name:
                parameter.copy_(1 + normal(parameter, 0.3))
            elif name.endswith("bias"):
                parameter.copy_(normal(parameter, 0.2))
            else:
                gain = 1.4 if ("q_proj" in name or "k_proj" in name) else 1.1
                parameter.copy_(normal(parameter, gain / parameter[0].numel() ** 0.5))


def make_utterances(generator):
    """Gliding tones and noise with a changing envelope, on the 16-bit grid."""
    utterances = []
    for index, seconds in enumerate(SECONDS):
        time = torch.arange(round(seconds * 16000), dtype=torch.float64) / 16000
        tone = torch.sin(2 * torch.pi * (120 + 60 * index + 90 * time) * time)
        tone += 0.5 * torch.sin(2 * torch.pi * (900 + 400 * index) * time)
        envelope = 0.2 + torch.sin(2 * torch.pi * (2.3 + index) * time) ** 2
        noise = torch.randn(time.shape, generator=generator, dtype=torch.float64)
        samples = 0.15 * envelope * (tone + 0.4 * noise) + 0.01
        utterances.append(((samples * 32768).round() / 32768).float())
    return utterances


def make_heads(hidden, generator):
    normal = lambda *shape: torch.randn(shape, generator=generator)
    heads = {
        "final_proj.weight": normal(DIMENSION, hidden) / hidden**0.5,
        "final_proj.bias": 0.1 * normal(DIMENSION),
        "label_embs_concat": torch.rand((CLUSTERS, DIMENSION), generator=generator),
    }
    for pooling in POOLINGS:
        width = 2 * hidden if pooling == "stats" else hidden
        if pooling != "mean":
            heads[f"{pooling}/pooling.weight"] = 0.3 * normal(hidden)
        heads[f"{pooling}/classifier.weight"] = normal(CLASSES, width) / width**0.5
        heads[f"{pooling}/classifier.bias"] = 0.1 * normal(CLASSES)
    return heads


class Oracle:
    """A form's model with one kind of head, in float64, on utterances one at a time."""

    def __init__(self, form, objective, dtype=torch.float64):
        self.model = HubertModel.from_pretrained(FIXTURES / form, dtype=dtype).eval()
        # save_pretrained writes the newer weight-norm names, which are what named_parameters gives.
        self.objective = objective
        heads = load_file(FIXTURES / f"{form}.heads.safetensors")
        prefix = "" if objective == "masked-prediction" else f"{objective}/"
        self.heads = {
            name.removeprefix(prefix): torch.nn.Parameter(value.to(dtype))
            for name, value in heads.items()
            if (name.startswith(prefix) if prefix else "/" not in name)
        }
        data = load_file(FIXTURES / "utterances.safetensors")
        self.utterances = [data[f"utterance.{index}"].to(dtype) for index in range(len(SECONDS))]
        self.data = data

    def parameters(self):
        return {**dict(self.model.named_parameters()), **self.heads}

    def features(self, samples, scale):
        """Feature-encoder output [T, C]; only `scale` of the gradient reaches the encoder (HuBERT's feature_grad_mult)."""
        features = self.model.feature_extractor(samples[None]).transpose(1, 2)
        return scale * features + (1 - scale) * features.detach()

    def hidden(self, features, mask):
        hidden = self.model.feature_projection(features)
        if mask is not None:
            hidden = torch.where(mask[None, :, None], self.model.masked_spec_embed, hidden)
        return self.model.encoder(hidden).last_hidden_state[0]

    def pool(self, hidden):
        if self.objective == "mean":
            return hidden.mean(0)
        score = hidden @ self.heads["pooling.weight"]
        score = {"attention": torch.tanh, "attention-linear": lambda x: x, "stats": torch.relu}[self.objective](score)
        attention = score.softmax(0)[:, None]
        mean = (attention * hidden).sum(0)
        if self.objective != "stats":
            return mean
        deviation = ((attention * (hidden - mean) ** 2).sum(0) + 1e-5).sqrt()
        return torch.cat([mean, deviation])

    def loss(self, chosen, mask, labels):
        """Mean loss of the chosen utterances. `mask` [T] or None, `labels` [T] or a class an utterance."""
        samples = [self.utterances[index] for index in chosen]
        if self.objective != "masked-prediction":
            mask_parts = [None] * len(samples)
            features = [self.features(part, 1.0) for part in samples]
            if mask is not None:
                mask_parts = mask.bool().split([part.shape[1] for part in features])
            pooled = torch.stack([self.pool(self.hidden(part, m)) for part, m in zip(features, mask_parts)])
            logits = pooled @ self.heads["classifier.weight"].T + self.heads["classifier.bias"]
            return torch.nn.functional.cross_entropy(logits, labels.long())
        features = [self.features(part, FEATURE_GRADIENT_SCALE) for part in samples]
        lengths = [part.shape[1] for part in features]
        masks = mask.bool().split(lengths)
        hidden = torch.cat([self.hidden(part, m) for part, m in zip(features, masks)])[mask.bool()]
        projected = hidden @ self.heads["final_proj.weight"].T + self.heads["final_proj.bias"]
        logits = torch.nn.functional.cosine_similarity(projected[:, None], self.heads["label_embs_concat"][None], dim=-1)
        penalty = torch.cat(features, 1).pow(2).mean()
        entropy = torch.nn.functional.cross_entropy(logits / TEMPERATURE, labels.long()[mask.bool()])
        return entropy + FEATURE_PENALTY * penalty

    def frames(self, index):
        return int(self.model._get_feat_extract_output_lengths(len(self.utterances[index])))


def save(path, tensors):
    save_file({name: value.detach().contiguous().to(torch.float32) for name, value in tensors.items()}, path)
    path.chmod(0o644)


def spans(frames, generator):
    """Span mask of one utterance: two spans of five frames (short, as the utterances are)."""
    mask = torch.zeros(frames)
    for start in torch.randint(0, frames - 4, (2,), generator=generator).tolist():
        mask[start : start + 5] = 1
    return mask


def main():
    generator = torch.Generator().manual_seed(20240901)
    FIXTURES.mkdir(parents=True, exist_ok=True)
    data = {f"utterance.{index}": samples for index, samples in enumerate(make_utterances(generator))}
    frames = [(len(samples) - 400) // 320 + 1 for samples in data.values()]
    data["mask"] = torch.cat([spans(count, generator) for count in frames])
    data["clusters"] = torch.randint(0, CLUSTERS, (sum(frames),), generator=generator).float()
    data["classes"] = torch.tensor([2.0, 0.0, 3.0])
    save(FIXTURES / "utterances.safetensors", data)

    for form, config in FORMS.items():
        model = HubertModel(config)
        randomize(model, generator)
        model.save_pretrained(FIXTURES / form)
        (FIXTURES / form / "model.safetensors").chmod(0o644)
        (FIXTURES / form / "preprocessor_config.json").write_text(json.dumps({"do_normalize": form == "large"}) + "\n")
        save(FIXTURES / f"{form}.heads.safetensors", make_heads(config.hidden_size, generator))

        oracle = Oracle(form, "mean")
        assert [oracle.frames(index) for index in range(len(SECONDS))] == frames
        hidden = {}
        for index, samples in enumerate(oracle.utterances):
            with torch.no_grad():
                output = oracle.model(samples[None], output_hidden_states=True)
            # transformers 5: hidden_states[-1] is the last layer's, before the final LayerNorm of pre-norm models (4 has it in).
            hidden |= {f"hidden.{index}.{layer}": state[0] for layer, state in enumerate(output.hidden_states)}
            hidden[f"hidden.{index}.output"] = output.last_hidden_state[0]
        save(FIXTURES / f"{form}.hidden.safetensors", hidden)

        for objective in ("masked-prediction", *POOLINGS):
            gradients = {}
            for dtype in (torch.float64, torch.float32):
                oracle = Oracle(form, objective, dtype)
                labels = data["clusters" if objective == "masked-prediction" else "classes"]
                # SpecAugment's masks join where the published pooling is trained.
                mask = data["mask"] if objective in ("masked-prediction", "attention") else None
                loss = oracle.loss(range(len(SECONDS)), mask, labels)
                loss.backward()
                gradients[dtype] = {
                    name: torch.zeros_like(value) if value.grad is None else value.grad
                    for name, value in oracle.parameters().items()
                }
                gradients[dtype]["loss"] = loss.detach().reshape(1)
            exact = gradients[torch.float64]
            save(FIXTURES / f"{form}.{objective}.safetensors", exact)
            # A key bias shifts all scores of a row alike: its gradient is zero but for rounding.
            worst = max(
                (float((gradients[torch.float32][name] - value).norm() / (value.norm() + 1e-12)), name)
                for name, value in exact.items()
                if not name.endswith("k_proj.bias") and value.norm() > 0
            )
            print(f"{form} {objective}: loss {loss.item():.6f}; float32 is off by {worst[0]:.1e} in {worst[1]}")


if __name__ == "__main__":
    main()

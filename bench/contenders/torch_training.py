import os

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from serve import serve, timed
from torch.nn.functional import cross_entropy, normalize
from torch.nn.utils.rnn import pad_sequence

state = {}


class MaskedPrediction(torch.nn.Module):
    """HuBERT from the output of its feature encoder on, with the head and the loss of masked prediction."""

    def __init__(self, directory):
        super().__init__()
        self.hubert = transformers.HubertModel.from_pretrained(directory)
        self.hubert.feature_extractor._freeze_parameters()
        head = load_file(os.path.join(directory, "head.safetensors"))
        dimension, hidden = head["final_proj.weight"].shape
        self.projection = torch.nn.Linear(hidden, dimension)
        self.projection.load_state_dict(
            {name: head[f"final_proj.{name}"] for name in ("weight", "bias")}
        )
        self.embeddings = torch.nn.Parameter(head["label_embs_concat"])

    def encode(self, utterances):
        """Features [B, T, C], padded; utterances one at a time, as padding would change the statistics of GroupNorm."""
        with torch.no_grad():
            return pad_sequence(
                [
                    self.hubert.feature_extractor(utterance[None])[0].T.float()
                    for utterance in utterances
                ],
                batch_first=True,
            )

    def forward(self, features, present, mask, labels):
        """`present` and `mask` bool [B, T]; `labels` [masked frames]. The mean loss."""
        hidden = self.hubert.feature_projection(features)
        hidden = self.hubert._mask_hidden_states(hidden, mask_time_indices=mask)
        hidden = self.hubert.encoder(hidden, attention_mask=present).last_hidden_state
        projected = normalize(self.projection(hidden[mask]).float(), dim=-1)
        logits = projected @ normalize(self.embeddings, dim=-1).T / 0.1
        return cross_entropy(logits.float(), labels)


def load(parameters):
    torch.set_num_threads(parameters["threads"])
    model = MaskedPrediction(parameters["model"])
    samples = torch.from_numpy(np.fromfile(parameters["samples"], np.float32))
    utterances = samples.split(parameters["lengths"])
    with autocast(parameters["precision"]):
        features = model.encode(utterances)
    kernels = model.hubert._get_feat_extract_output_lengths
    frames = torch.tensor([int(kernels(length)) for length in parameters["lengths"]])
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=1e-5,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=0.01,
        fused=True,
    )
    state.update(
        parameters,
        model=model,
        forward=torch.compile(model) if parameters["compiled"] else model,
        utterances=utterances,
        features=features,
        present=torch.arange(features.shape[1]) < frames[:, None],
        optimizer=optimizer,
    )
    return {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    }


def autocast(precision):
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def run(parameters):
    model, present, optimizer = state["model"], state["present"], state["optimizer"]
    mask = torch.zeros_like(present)
    mask[present] = torch.from_numpy(np.fromfile(parameters["mask"], np.bool_))
    labels = torch.zeros(present.shape, dtype=torch.int64)
    labels[present] = torch.from_numpy(
        np.fromfile(parameters["labels"], np.int32)
    ).long()
    model.train(parameters["dropout"])
    with timed() as times:
        with autocast(state["precision"]):
            features = state["features"]
            if state["encode"]:
                features = model.encode(state["utterances"])
            loss = state["forward"](features, present, mask, labels[mask])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
    return {**times, "loss": loss.item(), "gradientNorm": norm.item()}


serve({"load": load, "run": run})

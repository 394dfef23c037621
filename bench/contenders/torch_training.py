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
        """`present` and `mask` bool [B, T]; `labels` [masked frames]. The sum of losses."""
        hidden = self.hubert.feature_projection(features)
        hidden = self.hubert._mask_hidden_states(hidden, mask_time_indices=mask)
        hidden = self.hubert.encoder(hidden, attention_mask=present).last_hidden_state
        projected = normalize(self.projection(hidden[mask]).float(), dim=-1)
        logits = projected @ normalize(self.embeddings, dim=-1).T / 0.1
        return cross_entropy(logits.float(), labels, reduction="sum")


def load(parameters):
    torch.set_num_threads(parameters["threads"])
    # Of itself PyTorch has convolutions of fp32 in tf32, and other products not.
    tf32 = parameters["precision"] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    device = torch.device(parameters["device"])
    model = MaskedPrediction(parameters["model"]).to(device)
    samples = torch.from_numpy(np.fromfile(parameters["samples"], np.float32))
    utterances = samples.to(device).split(parameters["lengths"])
    # Gradients of these, neighbours in length, are accumulated.
    groups = [
        utterances[first : first + parameters["batchSize"]]
        for first in range(0, len(utterances), parameters["batchSize"])
    ]
    with autocast(device, parameters["precision"]):
        features = [model.encode(group) for group in groups]
    kernels = model.hubert._get_feat_extract_output_lengths
    frames = [int(kernels(length)) for length in parameters["lengths"]]
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
        device=device,
        model=model,
        # Groups differ in length: marked dynamic at once, each mode is compiled once instead of twice.
        forward=torch.compile(model, dynamic=len(groups) > 1 or None) if parameters["compiled"] else model,
        groups=groups,
        features=features,
        frames=frames,
        optimizer=optimizer,
    )
    return {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    }


def autocast(device, precision):
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def synchronize():
    if state["device"].type == "cuda":
        torch.cuda.synchronize()


def padded(values):
    """A value a frame, of all utterances end to end, as [B, T] of each group."""
    parts = iter(torch.from_numpy(values).to(state["device"]).split(state["frames"]))
    return [
        pad_sequence([next(parts) for _ in group], batch_first=True)
        for group in state["groups"]
    ]


def run(parameters):
    model, optimizer, device = state["model"], state["optimizer"], state["device"]
    flat = np.fromfile(parameters["mask"], np.bool_)
    masked = int(flat.sum())
    present, masks = padded(np.ones_like(flat)), padded(flat)
    labels = padded(np.fromfile(parameters["labels"], np.int32))
    labels = [label[mask].long() for label, mask in zip(labels, masks)]
    inputs = list(zip(state["groups"], state["features"], present, masks, labels))
    total = torch.zeros((), device=device)
    model.train(parameters["dropout"])
    with timed(synchronize) as times:
        for utterances, features, *targets in inputs:
            with autocast(device, state["precision"]):
                if state["encode"]:
                    features = model.encode(utterances)
                loss = state["forward"](features, *targets) / masked
            loss.backward()
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
    return {**times, "loss": total.item(), "gradientNorm": norm.item()}


serve({"load": load, "run": run})

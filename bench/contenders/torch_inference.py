import os

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from serve import serve, timed
from torch.nn.utils.rnn import pad_sequence

state = {}


class PaddedGroupNorm(torch.nn.Module):
    """The GroupNorm of the first convolution, with statistics of each utterance's own frames: with those of the padding, as
    transformers takes them, an utterance's logits would depend on what else is in its batch."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.present = None

    def forward(self, hidden):
        # f32 whatever the precision, as in the library's own kernel.
        values = hidden.float()
        present = self.present
        count = present.sum(-1, keepdim=True).float()
        mean = (values * present).sum(-1, keepdim=True) / count
        variance = ((values - mean).square() * present).sum(-1, keepdim=True) / count
        scale = self.weight.float()[:, None] * torch.rsqrt(variance + self.eps)
        shift = self.bias.float()[:, None] - mean * scale
        return torch.addcmul(shift, values, scale).to(hidden.dtype)


class Classifier(torch.nn.Module):
    """HuBERT, the mean of each utterance's frames, and a linear layer."""

    def __init__(self, directory):
        super().__init__()
        self.hubert = transformers.HubertModel.from_pretrained(directory)
        # Otherwise the weights of the positional convolution are computed anew in every pass.
        torch.nn.utils.parametrize.remove_parametrizations(
            self.hubert.encoder.pos_conv_embed.conv, "weight"
        )
        self.first = self.hubert.feature_extractor.conv_layers[0]
        self.own_norm = self.first.layer_norm
        self.padded_norm = PaddedGroupNorm(self.own_norm)
        head = load_file(os.path.join(directory, "head.safetensors"))
        classes, hidden = head["classifier.weight"].shape
        self.linear = torch.nn.Linear(hidden, classes)
        self.linear.load_state_dict(
            {name: head[f"classifier.{name}"] for name in ("weight", "bias")}
        )

    def prepare(self, lengths, samples):
        """Whether there is padding decides which norm runs; given beforehand, as a compiler can make little of it."""
        padded = int(lengths.min()) < samples
        self.first.layer_norm = self.padded_norm if padded else self.own_norm
        if padded:
            kernel, stride = self.first.conv.kernel_size[0], self.first.conv.stride[0]
            frames = (lengths - kernel) // stride + 1
            steps = torch.arange((samples - kernel) // stride + 1, device=lengths.device)
            self.padded_norm.present = (steps < frames[:, None])[:, None]
        return padded

    def forward(self, samples, mask, present):
        """`samples` [B, S]; `mask` [B, S] and `present` [B, T] bool, or None without padding."""
        hidden = self.hubert(samples, attention_mask=mask).last_hidden_state
        if present is None:
            return self.linear(hidden.mean(1))
        weights = present.to(hidden.dtype)[..., None]
        return self.linear((hidden * weights).sum(1) / weights.sum(1))


def load(parameters):
    torch.set_num_threads(parameters["threads"])
    # Of itself PyTorch has convolutions of fp32 in tf32, and other products not.
    tf32 = parameters["precision"] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    model = Classifier(parameters["model"]).eval().to(parameters["device"])
    if parameters["precision"] == "bf16" and parameters["how"] != "autocast":
        model = model.to(torch.bfloat16)
    forward = model
    if parameters["how"] == "compiled":
        # Weights that do not change are packed once.
        torch._inductor.config.freezing = True
        forward = torch.compile(model, dynamic=True)
    state.update(parameters, model=model, forward=forward)
    return {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    }


def classify(utterances):
    """Logits [B, classes] of a batch."""
    model = state["model"]
    device = utterances[0].device
    lengths = torch.tensor([len(utterance) for utterance in utterances], device=device)
    samples = pad_sequence(utterances, batch_first=True)
    mask = present = None
    if model.prepare(lengths, samples.shape[1]):
        mask = torch.arange(samples.shape[1], device=device) < lengths[:, None]
        frames = model.hubert._get_feat_extract_output_lengths(lengths)
        present = torch.arange(int(frames.max()), device=device) < frames[:, None]
    return state["forward"](samples.to(model.linear.weight.dtype), mask, present)


def normalized(utterance):
    return (utterance - utterance.mean()) / torch.sqrt(
        utterance.var(correction=0) + 1e-7
    )


def run(parameters):
    samples = torch.from_numpy(np.fromfile(parameters["input"], np.float32))
    utterances = samples.split(state["lengths"])
    # Neighbours in length go together, so that little is padded.
    order = sorted(range(len(utterances)), key=lambda index: len(utterances[index]))
    logits = torch.empty(len(utterances), state["model"].linear.out_features)
    autocast = state["how"] == "autocast"
    device = torch.device(state["device"])
    with torch.inference_mode(), torch.autocast(
        device.type, torch.bfloat16, enabled=autocast
    ):
        with timed() as times:
            for first in range(0, len(order), state["batchSize"]):
                batch = order[first : first + state["batchSize"]]
                found = classify(
                    [normalized(utterances[index].to(device)) for index in batch]
                )
                logits[batch] = found.float().cpu()
    return {**times, "logits": logits.flatten().tolist()}


serve({"load": load, "run": run})

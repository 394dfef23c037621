"""A network that sees only its neighbourhood: frame logits from frozen features, 0.4 s to either side."""

import copy
import math

import torch
from torch import nn
from torch.nn.functional import gelu


class FixedNorm(nn.Module):
    """GroupNorm of one channel a group, with given statistics [C] in place of the utterance's."""

    def __init__(self, norm, mean, variance):
        super().__init__()
        scale = norm.weight / (variance + norm.eps).sqrt()
        self.register_buffer("scale", scale[:, None])
        self.register_buffer("shift", (norm.bias - mean * scale)[:, None])

    def forward(self, x):
        return x * self.scale + self.shift


def local_extractor(extractor, waveforms):
    """HuBERT's feature encoder, its weights untouched, seeing nothing but the 25 ms of a frame: the GroupNorm of its first
    convolution would show every frame the statistics of the whole utterance, and so its label. They are the means over `waveforms`."""
    extractor = copy.deepcopy(extractor)
    first = extractor.conv_layers[0]
    with torch.inference_mode():
        outputs = [first.conv(waveform[None, None])[0] for waveform in waveforms]
    mean = torch.stack([x.mean(1) for x in outputs]).mean(0)
    variance = torch.stack([x.var(1, correction=0) for x in outputs]).mean(0)
    first.layer_norm = FixedNorm(first.layer_norm, mean.clone(), variance.clone())
    return extractor


def log_mel(samples, frames, bands=40, low=50.0, high=7600.0, points=512):
    """Log powers [frames, bands] of mel bands, of HuBERT's frames (400 samples every 320) at their own level."""
    to_mel = lambda hertz: 2595 * math.log10(1 + hertz / 700)
    mels = torch.linspace(to_mel(low), to_mel(high), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    hertz = torch.linspace(0, 8000, points // 2 + 1)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    windows = samples.unfold(0, 400, 320)[:frames] * torch.hann_window(400, periodic=False)
    return (torch.fft.rfft(windows, points).abs() ** 2 @ filters + 1e-6).log()


class LocalNetwork(nn.Module):
    """Features [B, T, F], padded with anything, to hidden [B, T, W] and logits [B, T, classes]."""

    def __init__(self, mean, deviation, classes, width=96, dilations=(1, 2, 2), dropout=0.1):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.projection = nn.Linear(len(mean), width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 9, padding=4 * d, dilation=d) for d in dilations
        )
        self.reach = 4 * max(dilations, default=0)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, classes)

    def forward(self, features, present):
        """`present` bool [B, T]: what is no padding."""
        # Utterances one after another, with room between them, so that little is computed of padding.
        lengths = present.sum(1)
        starts = (lengths + self.reach).cumsum(0) - lengths
        places = (starts[:, None] + torch.arange(present.shape[1]))[present]
        x = self.projection((features[present] - self.mean) / self.deviation)
        row = x.new_zeros(int(starts[-1] + lengths[-1]) + self.reach, x.shape[1])
        for norm, convolution in zip(self.norms, self.convolutions):
            inside = row.index_copy(0, places, norm(x))
            x = x + self.dropout(gelu(convolution(inside.T[None])[0].T[places]))
        hidden = features.new_zeros(*present.shape, x.shape[1])
        hidden[present] = self.norm(x)
        return hidden, self.output(hidden)

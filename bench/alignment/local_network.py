"""What hears only its neighbourhood: frame logits from frozen features, 0.4 s to either side."""

import torch
from torch import nn
from torch.nn.functional import gelu


class LocalNetwork(nn.Module):
    """Features [B, T, F], padded with anything, to hidden [B, T, W] and logits [B, T, classes]."""

    def __init__(self, mean, deviation, classes, width=96, half_widths=(4, 8, 8), dropout=0.1):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.projection = nn.Linear(len(mean), width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in half_widths)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 2 * half + 1, padding=half) for half in half_widths
        )
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, classes)

    def forward(self, features, present):
        """`present` bool [B, T]: what is no padding."""
        x = self.projection((features - self.mean) / self.deviation)
        for norm, convolution in zip(self.norms, self.convolutions):
            inside = norm(x) * present[..., None]
            x = x + self.dropout(gelu(convolution(inside.mT).mT))
        hidden = self.norm(x)
        return hidden, self.output(hidden)

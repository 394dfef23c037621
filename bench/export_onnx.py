"""Writes the graph of a HuBERT model directory for ONNX Runtime:

export_onnx.py MODEL_DIR OUT.onnx SAMPLES eager|sdpa static|dynamic

`samples` [1, SAMPLES] -> `hidden` [1, T, C]. `eager` and `sdpa` are transformers' two ways of writing attention, which become
different graphs; `static` fixes the number of samples, so that the runtime computes all shapes beforehand.
"""

import sys
import warnings

import torch
from transformers import HubertModel

directory, path, count, attention, shape = sys.argv[1:]


class LastHiddenState(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = HubertModel.from_pretrained(
            directory, attn_implementation=attention
        ).eval()
        # Weight norm would stay in the graph.
        torch.nn.utils.parametrize.remove_parametrizations(
            self.model.encoder.pos_conv_embed.conv, "weight"
        )

    def forward(self, samples):
        return self.model(samples).last_hidden_state


warnings.simplefilter("ignore")
axes = {"samples": {1: "samples"}, "hidden": {1: "frames"}}
with torch.no_grad():
    # The exporter that traces: the newer one needs a package more.
    torch.onnx.export(
        LastHiddenState(),
        (torch.randn(1, int(count)),),
        path,
        input_names=["samples"],
        output_names=["hidden"],
        dynamic_axes=axes if shape == "dynamic" else None,
        opset_version=17,
        dynamo=False,
    )

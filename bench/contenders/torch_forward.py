import os

import numpy as np
import torch
import transformers
from serve import serve, timed

state = {}


def load(parameters):
    how, precision = parameters["how"], parameters["precision"]
    torch.set_num_threads(parameters["threads"])
    model = transformers.HubertModel.from_pretrained(parameters["model"]).eval()
    # Otherwise the weights of the positional convolution are computed anew in every pass.
    convolution = model.encoder.pos_conv_embed.conv
    torch.nn.utils.parametrize.remove_parametrizations(convolution, "weight")
    if precision == "bf16" and how != "autocast":
        model = model.to(torch.bfloat16)
    if how == "compiled":
        # Weights that do not change are packed once.
        torch._inductor.config.freezing = True
        model = torch.compile(model)
    state.update(parameters, model=model, dtype=next(model.parameters()).dtype)
    return {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    }


def run(parameters):
    samples = torch.from_numpy(np.fromfile(parameters["input"], np.float32))[None]
    autocast = state["how"] == "autocast"
    with torch.inference_mode(), torch.autocast(
        "cpu", torch.bfloat16, enabled=autocast
    ):
        with timed() as times:
            hidden = state["model"](samples.to(state["dtype"])).last_hidden_state
    name = f"torch-{state['precision']}-{state['how']}.f32"
    path = os.path.join(parameters["output"], name)
    hidden[0].float().numpy().tofile(path)
    return {**times, "hidden": path}


serve({"load": load, "run": run})

"""PyTorch's side of forward.js: forward_torch.py MODEL_DIR SAMPLES.f32 THREADS. For each line `fp32` or `bf16` on standard
input it runs the model once and answers with one JSON line: milliseconds, and the last hidden state as base64 float32."""

import base64
import json
import sys
import time

import numpy as np
import torch
from transformers import HubertModel

directory, path, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = HubertModel.from_pretrained(directory).eval()
samples = torch.from_numpy(np.fromfile(path, np.float32))[None]
for line in sys.stdin:
    half = line.strip() == "bf16"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        started = time.perf_counter()
        hidden = model(samples).last_hidden_state
        milliseconds = 1000 * (time.perf_counter() - started)
    data = base64.b64encode(hidden[0].float().contiguous().numpy().tobytes()).decode()
    print(json.dumps({"milliseconds": milliseconds, "hidden": data}), flush=True)

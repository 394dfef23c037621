"""Two steps of torch.optim.AdamW: the golden values of test/ops/optimiser_cases.cpp. Prints them as C++ lists."""

import torch

torch.set_num_threads(1)
parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 3.0]))
optimiser = torch.optim.AdamW([parameter], lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
for gradient in ([0.1, -0.2, 1e-7, 0.0], [-0.3, 0.05, 2e-7, 4.0]):
    parameter.grad = torch.tensor(gradient)
    optimiser.step()
state = optimiser.state[parameter]
for name, tensor in (("parameter", parameter.detach()), ("m", state["exp_avg"]), ("v", state["exp_avg_sq"])):
    print(name, "{" + ", ".join(f"{value:.9g}" for value in tensor.tolist()) + "}")

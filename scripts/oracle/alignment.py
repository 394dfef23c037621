"""Golden values of the alignment head, from PyTorch in float64: test/fixtures/model/FORM.alignment-SOURCE.safetensors.

Needs what model.py needs, whose tiny models and utterances it reads; run it after that:

    python scripts/oracle/alignment.py

The head is a network of PyTorch's own modules; its log-mel bands are PyTorch's Fourier transform of 512 points, by
triangles on the HTK scale; log Z of an emotion is the forward recursion over n0 -> e <-> n1, and occupancies and
gradients are autograd's. Written are, for each form and source,

    weight/NAME, gradient/NAME    of every parameter that has a gradient
    input [T, F], frameLogits [T, C], occupancies [T, C], logits [3, C] over the three utterances laid end to end
    frameLabels [T], loss [1]     -1: not known
"""

import torch

from model import FIXTURES, FORMS, SECONDS, Oracle, save
from safetensors.torch import load_file

CLASSES, NEUTRAL, WIDTH, HALF_WIDTHS, SCALE, COST = 4, 2, 10, (3, 1), 0.05, 1.5
CHUNK, CONTEXT = 10, 4
BANDS = {("large", "features"): 40, ("base", "hidden"): 24, ("base", "layers"): 40}  # log-mel bands; of others none
SOURCES = {"features": None, "hidden": {"base": 2, "large": "output"}, "layers": {"base": 2, "large": 1}}


class Block(torch.nn.Module):
    def __init__(self, half_width):
        super().__init__()
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.conv = torch.nn.Conv1d(WIDTH, WIDTH, 2 * half_width + 1, padding=half_width)

    def forward(self, stream):
        return stream + torch.nn.functional.gelu(self.conv(self.norm(stream).T[None])[0].T)


class Network(torch.nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.input_mean = torch.nn.Parameter(torch.zeros(width), requires_grad=False)
        self.input_factor = torch.nn.Parameter(torch.zeros(width), requires_grad=False)
        self.projection = torch.nn.Linear(width, WIDTH)
        self.blocks = torch.nn.ModuleList(Block(half_width) for half_width in HALF_WIDTHS)
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.output = torch.nn.Linear(WIDTH, CLASSES)
        self.utterance_bias = torch.nn.Parameter(torch.zeros(CLASSES))
        if layers:
            self.layer_weights = torch.nn.Parameter(torch.zeros(layers))

    def forward(self, input):
        stream = self.projection((input - self.input_mean) * self.input_factor)
        for block in self.blocks:
            stream = block(stream)
        return self.output(self.norm(stream))


def mel(hertz):
    return 2595 * torch.log10(1 + hertz / 700)


def log_mel(samples, bands):
    """Bands of each frame, [T, bands], of 400 samples every 320: triangles of height 1 over powers."""
    edges = torch.linspace(*mel(torch.tensor([50.0, 7600.0], dtype=torch.float64)).tolist(), bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (edges / 2595) - 1)
    hertz = torch.fft.rfftfreq(512, 1 / 16000, dtype=torch.float64)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    windows = samples.double().unfold(0, 400, 320) * torch.hann_window(400, periodic=False, dtype=torch.float64)
    powers = torch.fft.rfft(windows, 512).abs() ** 2
    return (powers @ torch.minimum(rising, falling).clamp(min=0) + 1e-3).log().to(samples.dtype)


def log_sum(*terms):
    return torch.logsumexp(torch.stack(terms), 0)


def log_paths(evidence):
    """log Z [C] of `evidence` [T, C]: all emotions at once, the neutral column among them."""
    stay, switch = torch.nn.functional.logsigmoid(torch.tensor([COST, -COST], dtype=evidence.dtype))
    half = torch.full_like(evidence[0], 0.5).log()
    never = torch.full_like(half, -torch.inf)
    before, inside, behind = half, half + evidence[0], never
    for row in evidence[1:]:
        entered = [before + switch, inside + stay]
        left = [inside + switch]
        if behind is not never:
            entered.append(behind + switch)
            left.append(behind + stay)
        before, inside, behind = before + stay, row + log_sum(*entered), log_sum(*left)
    return inside if behind is never else log_sum(inside, behind)


def states_of(encoder, embedded):
    """Hidden states 0 to L of the encoder, as in model.py, and its output."""
    states = []
    hooks = [
        encoder.layers[0].register_forward_pre_hook(lambda _, args: states.append(args[0])),
        *(layer.register_forward_hook(lambda *call: states.append(call[-1])) for layer in encoder.layers),
    ]
    output = encoder(embedded).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [state[0] if isinstance(state, tuple) else state for state in states], output


def source_of(oracle, network, source, layer, samples):
    features = oracle.features(samples, 1.0)
    if source == "features":
        return features[0]
    embedded = oracle.model.feature_projection(features)
    parts = []
    for first in range(0, embedded.shape[1], CHUNK):
        begin, end = max(first - CONTEXT, 0), min(first + CHUNK, embedded.shape[1])
        chunk = embedded[:, begin : min(end + CONTEXT, embedded.shape[1])]
        hidden, output = states_of(oracle.model.encoder, chunk)
        own = slice(first - begin, end - begin)
        if source == "layers":
            states = torch.stack([state[0, own] for state in hidden[: layer + 1]]).detach()
            parts.append((network.layer_weights.softmax(0)[:, None, None] * states).sum(0))
        else:
            states = output if layer == "output" else hidden[layer]
            parts.append(states[0, own])
    return torch.cat(parts)


def network_of(form, source):
    config, bands = FORMS[form], BANDS.get((form, source), 0)
    width = config.conv_dim[-1] if source == "features" else config.hidden_size
    return Network(width + bands, SOURCES[source][form] + 1 if source == "layers" else 0)


def run(form, source, weights, dtype):
    oracle = Oracle(form, "mean", dtype)
    layer = SOURCES[source] and SOURCES[source][form]
    network = network_of(form, source).to(dtype)
    network.load_state_dict({name: value.to(dtype) for name, value in weights.items()})
    results = {"input": [], "frameLogits": [], "occupancies": [], "logits": [], "frameLabels": []}
    classes = load_file(FIXTURES / "utterances.safetensors")["classes"].long()
    loss = 0
    for index, samples in enumerate(oracle.utterances):
        input = source_of(oracle, network, source, layer, samples)
        if (form, source) in BANDS:
            input = torch.cat([input, log_mel(samples, BANDS[form, source])], 1)
        frames = network(input)
        evidence = SCALE * (frames - frames[:, NEUTRAL : NEUTRAL + 1])
        paths = log_paths(evidence)
        (occupancies,) = torch.autograd.grad(paths.sum(), evidence, retain_graph=True)
        emotions = torch.arange(CLASSES) != NEUTRAL
        logits = torch.where(emotions, paths, 0) + network.utterance_bias
        times = torch.arange(len(frames))
        labels = torch.where((times % 3 == 1) & (index != 1), times * 5 % CLASSES, -1)
        loss = loss + torch.nn.functional.cross_entropy(logits[None], classes[index : index + 1])
        if (labels >= 0).any():
            loss = loss + torch.nn.functional.cross_entropy(frames[labels >= 0], labels[labels >= 0])
        results["input"].append(input)
        results["frameLogits"].append(frames)
        results["occupancies"].append(occupancies * emotions)
        results["logits"].append(logits[None])
        results["frameLabels"].append(labels)
    loss = loss / len(SECONDS)
    loss.backward()
    parameters = {**dict(oracle.model.named_parameters()), **{f"alignment.{n}": p for n, p in network.named_parameters()}}
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None and p.grad.norm() > 0}
    return {name: torch.cat(parts) for name, parts in results.items()} | {"loss": loss.reshape(1)}, gradients


def initial(form, source, generator):
    network = network_of(form, source)
    weights = {}
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if "norm.weight" in name or name == "input_factor":
            weights[name] = 1 + 0.3 * noise
        elif value.dim() > 1:
            weights[name] = 1.5 * noise / value[0].numel() ** 0.5
        else:
            weights[name] = 0.4 * noise
    return weights


def main():
    generator = torch.Generator().manual_seed(20251127)
    for form in FORMS:
        for source in SOURCES:
            weights = initial(form, source, generator)
            exact, gradients = run(form, source, weights, torch.float64)
            rounded, _ = run(form, source, weights, torch.float32)
            tensors = exact | {f"weight/alignment.{name}": value for name, value in weights.items()}
            tensors |= {f"gradient/{name}": value for name, value in gradients.items()}
            save(FIXTURES / f"{form}.alignment-{source}.safetensors", tensors)
            off = (rounded["frameLogits"] - exact["frameLogits"]).abs().max().item()
            print(f"{form} {source}: loss {exact['loss'].item():.6f}; float32's frame logits are off by {off:.1e}")


if __name__ == "__main__":
    main()

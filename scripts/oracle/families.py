"""Tiny models of the families beside HuBERT with all of their hidden states: test/fixtures/families/.

Needs PyTorch, transformers and safetensors; run it after model.py, whose utterances it reads:

    python scripts/oracle/families.py

WavLM in each form of its norms, and data2vec, are transformers' classes; one WavLM is also saved as Microsoft's own code saves it.
emotion2vec is written here in plain PyTorch from the description of data2vec 2.0 (Baevski et al. 2022) and of its code, with FunASR's
names of tensors. Written are

    NAME/                       the model: config.json, model.safetensors, preprocessor_config.json
    wavlm_base_microsoft.pt     wavlm_base as {cfg, model}
    NAME.hidden.safetensors     hidden.B.L [T_B, C] of utterance B run alone: hidden state L, or `output`
"""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv1d, gelu, layer_norm, linear
from transformers import Data2VecAudioConfig, Data2VecAudioModel, WavLMConfig, WavLMModel
from transformers.utils import logging

from fairseq_names import fairseq_name
from model import CONV, FIXTURES, NO_DROPOUT

torch.set_num_threads(1)
logging.disable_progress_bar()
ROOT = FIXTURES.parent / "families"
ROOT.mkdir(exist_ok=True)
data = load_file(FIXTURES / "utterances.safetensors")
UTTERANCES = [data["utterance.0"], data["utterance.1"]]  # 14 and 54 frames
SIZES = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=[8] * 7,
    num_conv_pos_embedding_groups=4, **CONV, **NO_DROPOUT,
)  # fmt: skip
# Distances of one utterance are all within 20, and of the other beyond it.
WAVLM = dict(num_conv_pos_embeddings=16, num_buckets=16, max_bucket_distance=20)
LAYER = dict(feat_extract_norm="layer", conv_bias=True)
STABLE = dict(do_stable_layer_norm=True)
MODELS = {
    "wavlm_base": (WavLMModel, WavLMConfig(**SIZES, **WAVLM), False),
    "wavlm_large": (WavLMModel, WavLMConfig(**SIZES, **WAVLM, **LAYER, **STABLE), True),
    "wavlm_group_stable": (WavLMModel, WavLMConfig(**SIZES, **WAVLM, **STABLE), True),
    "wavlm_layer": (WavLMModel, WavLMConfig(**SIZES, **WAVLM, **LAYER), False),
    "data2vec": (
        Data2VecAudioModel,
        Data2VecAudioConfig(**SIZES, num_conv_pos_embeddings=3, conv_pos_kernel_size=7, layer_norm_eps=1e-4),
        True,
    ),
}


def randomize(named, generator):
    """Weights at a scale where softmax, gates and norms are far from linear, and norms far from the identity."""
    normal = lambda tensor, scale: torch.randn(tensor.shape, generator=generator) * scale
    with torch.no_grad():
        for name, parameter in named:
            if name.endswith("original0"):
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
            elif "norm" in name and name.endswith("weight") or name.endswith("gru_rel_pos_const"):
                parameter.copy_(1 + normal(parameter, 0.3))
            elif "rel_attn_embed" in name:
                parameter.copy_(normal(parameter, 1.0))
            elif name.endswith("bias"):
                parameter.copy_(normal(parameter, 0.2))
            else:
                gain = 1.6 if "q_proj" in name or "k_proj" in name else 1.1
                parameter.copy_(normal(parameter, gain / max(parameter[0].numel(), 1) ** 0.5))


def preprocessor(directory, **fields):
    text = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16000, **fields}
    (directory / "preprocessor_config.json").write_text(json.dumps(text, indent=2) + "\n")


def states_of_transformers(model, samples):
    """State 0 is what enters layer 0, L what layer L gives; the output has the final norm where there is one."""
    states = []
    hooks = [model.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))]
    for layer in model.encoder.layers:
        hooks.append(
            layer.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
        )
    output = model(samples[None]).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*states, output]


def save_states(name, all_states):
    hidden = {}
    for index, states in enumerate(all_states):
        for layer, state in enumerate(states):
            hidden[f"hidden.{index}.{layer if layer + 1 < len(states) else 'output'}"] = state[0].float().contiguous()
    save_file(hidden, ROOT / f"{name}.hidden.safetensors")


def microsoft(model, config):
    """The state dict and config of Microsoft's WavLM.py."""
    state = {}
    for name, tensor in model.state_dict().items():
        name = fairseq_name(name, "base")
        for theirs, ours in {
            "rel_attn_embed": "relative_attention_bias",
            "gru_rel_pos_linear": "grep_linear",
            "gru_rel_pos_const": "grep_a",
        }.items():
            name = name.replace(theirs, ours)
        state[name] = tensor.clone()
    cfg = {
        "extractor_mode": "default",
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "activation_fn": "gelu",
        "layer_norm_first": False,
        "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2",
        "conv_bias": False,
        "normalize": False,
        "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups,
        "relative_position_embedding": True,
        "num_buckets": config.num_buckets,
        "max_distance": config.max_bucket_distance,
        "gru_rel_pos": True,
    }
    torch.save({"cfg": cfg, "model": state}, ROOT / "wavlm_base_microsoft.pt")


for seed, (name, (kind, config, normalize)) in enumerate(MODELS.items()):
    model = kind(config).eval()
    randomize(model.named_parameters(), torch.Generator().manual_seed(100 + seed))
    model.save_pretrained(ROOT / name)
    preprocessor(ROOT / name, do_normalize=normalize)
    if name == "wavlm_base":
        microsoft(model, config)
    model = kind.from_pretrained(ROOT / name, dtype=torch.float64).eval()
    with torch.no_grad():
        inputs = [samples.double() for samples in UTTERANCES]
        if normalize:
            inputs = [(x - x.mean()) / torch.sqrt(x.var(correction=0) + 1e-7) for x in inputs]
        save_states(name, [states_of_transformers(model, x) for x in inputs])

# emotion2vec: three heads, which is no power of two, a scale below 0, and an epsilon that the other norms do not have.
EMOTION2VEC = dict(
    model_type="emotion2vec", hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=32,
    conv_dim=[8] * 7, feat_extract_norm="layer", conv_bias=False, num_conv_pos_embeddings=5,
    num_conv_pos_embedding_groups=4, positional_depth=3, extra_tokens=4, position_bias="slopes", layer_norm_eps=1e-3,
    do_stable_layer_norm=False, **CONV, **NO_DROPOUT,
)  # fmt: skip
PRENET, PREFIX, AUDIO = 1, "d2v_model.", "modality_encoders.AUDIO."


def emotion2vec_shapes(c):
    hidden, inner, group = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_conv_pos_embedding_groups"]
    channels = 1
    for i, (width, kernel) in enumerate(zip(c["conv_dim"], c["conv_kernel"])):
        yield f"{AUDIO}local_encoder.conv_layers.{i}.0.weight", (width, channels, kernel)
        yield f"{AUDIO}local_encoder.conv_layers.{i}.2.1.weight", (width,)
        yield f"{AUDIO}local_encoder.conv_layers.{i}.2.1.bias", (width,)
        channels = width
    for part, shape in {"1.weight": (channels,), "1.bias": (channels,), "2.weight": (hidden, channels), "2.bias": (hidden,)}.items():
        yield f"{AUDIO}project_features.{part}", shape
    for i in range(c["positional_depth"]):
        yield f"{AUDIO}relative_positional_encoder.{i + 1}.0.weight", (hidden, group, c["num_conv_pos_embeddings"])
        yield f"{AUDIO}relative_positional_encoder.{i + 1}.0.bias", (hidden,)
    yield f"{AUDIO}extra_tokens", (1, c["extra_tokens"], hidden)
    yield f"{AUDIO}alibi_scale", (1, 1, c["num_attention_heads"], 1, 1)
    yield f"{AUDIO}context_encoder.norm.weight", (hidden,)
    yield f"{AUDIO}context_encoder.norm.bias", (hidden,)
    for i in range(c["num_hidden_layers"]):
        block = f"{AUDIO}context_encoder.blocks.{i}." if i < PRENET else f"blocks.{i - PRENET}."
        for part, shape in {
            "attn.qkv": (3 * hidden, hidden), "attn.proj": (hidden, hidden), "norm1": (hidden,),
            "mlp.fc1": (inner, hidden), "mlp.fc2": (hidden, inner), "norm2": (hidden,),
        }.items():  # fmt: skip
            yield f"{block}{part}.weight", shape
            yield f"{block}{part}.bias", shape[:1]
    # What is not the encoder's.
    yield f"{AUDIO}decoder.blocks.0.0.weight", (4, 2, 3)


def slopes(heads):
    power = 2 ** (heads.bit_length() - 1)
    own = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    return own if power == heads else own + slopes(2 * power)[0::2][: heads - power]


def emotion2vec_states(w, c, samples):
    hidden, heads, tokens, eps = c["hidden_size"], c["num_attention_heads"], c["extra_tokens"], c["layer_norm_eps"]
    norm = lambda x, name, eps: layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)
    project = lambda x, name: linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
    x = layer_norm(samples, samples.shape)[None, None]
    for i, stride in enumerate(c["conv_stride"]):
        layer = f"{AUDIO}local_encoder.conv_layers.{i}"
        x = conv1d(x, w[f"{layer}.0.weight"], stride=stride).transpose(1, 2)
        x = gelu(norm(x, f"{layer}.2.1", 1e-5)).transpose(1, 2)
    x = project(norm(x.transpose(1, 2), f"{AUDIO}project_features.1", 1e-5), f"{AUDIO}project_features.2")
    position, kernel = x.transpose(1, 2), c["num_conv_pos_embeddings"]
    for i in range(c["positional_depth"]):
        layer = f"{AUDIO}relative_positional_encoder.{i + 1}.0"
        position = conv1d(
            position, w[f"{layer}.weight"], w[f"{layer}.bias"], padding=kernel // 2, groups=c["num_conv_pos_embedding_groups"]
        )
        position = gelu(layer_norm(position.transpose(1, 2), (hidden,))).transpose(1, 2)
    x = x + position.transpose(1, 2)
    frames = torch.arange(x.shape[1], dtype=x.dtype)
    bias = -(frames[None, :] - frames[:, None]).abs() * torch.tensor(slopes(heads), dtype=x.dtype)[:, None, None]
    bias = bias * w[f"{AUDIO}alibi_scale"].clamp_min(0)[0, 0]
    bias = torch.nn.functional.pad(bias, (tokens, 0, tokens, 0))
    x = torch.cat([w[f"{AUDIO}extra_tokens"], x], dim=1)
    x = norm(x, f"{AUDIO}context_encoder.norm", eps)
    states = [x[:, tokens:]]
    for i in range(c["num_hidden_layers"]):
        block = f"{AUDIO}context_encoder.blocks.{i}." if i < PRENET else f"blocks.{i - PRENET}."
        qkv = project(x, f"{block}attn.qkv").unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias).softmax(-1)
        x = norm(x + project((weights @ v).transpose(1, 2).flatten(2), f"{block}attn.proj"), f"{block}norm1", eps)
        x = norm(x + project(gelu(project(x, f"{block}mlp.fc1")), f"{block}mlp.fc2"), f"{block}norm2", eps)
        states.append(x[:, tokens:])
    return [*states, states[-1]]


weights = {name: torch.empty(shape) for name, shape in emotion2vec_shapes(EMOTION2VEC)}
generator = torch.Generator().manual_seed(200)
randomize(
    [(name.replace("conv_layers", "norm_layers") if name.endswith("2.1.weight") else name, t) for name, t in weights.items()],
    generator,
)
weights[f"{AUDIO}alibi_scale"].copy_(torch.tensor([1.3, -0.4, 0.6]).view(1, 1, 3, 1, 1))
weights[f"{AUDIO}extra_tokens"].copy_(torch.randn(weights[f"{AUDIO}extra_tokens"].shape, generator=generator))
directory = ROOT / "emotion2vec"
directory.mkdir(exist_ok=True)
(directory / "config.json").write_text(json.dumps(EMOTION2VEC, indent=2) + "\n")
preprocessor(directory, do_normalize=True, normalization={"epsilon": 1e-5})
save_file({PREFIX + name: tensor for name, tensor in weights.items()}, directory / "model.safetensors")
exact = {name: tensor.double() for name, tensor in weights.items()}
with torch.no_grad():
    save_states("emotion2vec", [emotion2vec_states(exact, EMOTION2VEC, samples.double()) for samples in UTTERANCES])

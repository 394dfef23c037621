"""A tiny model in each form in which heads are published, and its answer for test/fixtures/audio/voice.wav.

Writes test/fixtures/forms. Run after audio.sh: python scripts/oracle/heads.py
Encoders and heads of transformers are its own classes; the other heads, and emotion2vec, are written here in plain PyTorch from their
published descriptions. Where layers are summed, the last state is the model's output, as in transformers 4, with which such models
were trained. expected.json has logits (or values) of the utterance, and of every eighth frame where the head is linear from its mean on.
"""

import json
import shutil

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import save_file
from torch import nn
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMForSequenceClassification,
    WavLMModel,
)

from tiny import TINY, fixtures, voice

torch.set_num_threads(1)
root = fixtures / "forms"
shutil.rmtree(root, ignore_errors=True)
samples = torch.from_numpy(voice())

STABLE = dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
FOUR = ["neu", "hap", "ang", "sad"]
DIMENSIONS = ["arousal", "dominance", "valence"]
expected = {}


def draw(module):
    """Weights with which states move with time, and outputs with states."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1 and "original0" not in name:
                parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            elif "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
    return module.eval()


def named(labels):
    return dict(id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)})


def directory_of(name):
    directory = root / name
    directory.mkdir(parents=True)
    return directory


def normalized(epsilon=1e-7):
    return (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + epsilon)


def keep(name, logits, frames=None):
    expected[name] = {"logits": [round(value, 7) for value in logits.flatten().tolist()]}
    if frames is not None:
        expected[name]["frames"] = [[round(value, 6) for value in row] for row in frames.reshape(-1, logits.numel())[::8].tolist()]


def save(directory, state, config, normalize):
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=normalize).save_pretrained(directory)


def config_of(config, **more):
    return {**config.to_diff_dict(), "model_type": config.model_type, **more}


def hidden_states(encoder, waveform):
    output = encoder(waveform[None], output_hidden_states=True)
    return torch.cat([*output.hidden_states[:-1], output.last_hidden_state])


# transformers' ForSequenceClassification
SEQUENCE = {
    "hubert": (HubertConfig, HubertForSequenceClassification, "hubert", {}),
    "hubert_sum": (HubertConfig, HubertForSequenceClassification, "hubert", dict(**STABLE, use_weighted_layer_sum=True)),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForSequenceClassification, "wav2vec2", STABLE),
    "wav2vec2_sum": (Wav2Vec2Config, Wav2Vec2ForSequenceClassification, "wav2vec2", dict(use_weighted_layer_sum=True)),
    "wavlm": (WavLMConfig, WavLMForSequenceClassification, "wavlm", dict(num_buckets=32)),
    "wavlm_sum": (WavLMConfig, WavLMForSequenceClassification, "wavlm", dict(**STABLE, num_buckets=32, use_weighted_layer_sum=True)),
}
for seed, (name, (config, kind, base, options)) in enumerate(SEQUENCE.items()):
    torch.manual_seed(100 + seed)
    model = draw(kind(config(**TINY, **options, **named(FOUR), classifier_proj_size=12)))
    normalize = "do_stable_layer_norm" in options
    directory = directory_of(name)
    with torch.no_grad():
        if model.config.use_weighted_layer_sum:
            model.layer_weights.copy_(torch.randn(3))
        waveform = normalized() if normalize else samples
        states = hidden_states(getattr(model, base), waveform)
        if model.config.use_weighted_layer_sum:
            hidden = (torch.softmax(model.layer_weights, -1)[:, None, None] * states).sum(0)
        else:
            hidden = states[-1]
        frames = model.classifier(model.projector(hidden))
        logits = frames.mean(0)
        if not (normalize and model.config.use_weighted_layer_sum):
            assert torch.allclose(logits, model(waveform[None]).logits[0], atol=1e-6), name
    model.save_pretrained(directory)
    Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=normalize).save_pretrained(directory)
    keep(name, logits, frames)


# A dense layer, tanh and a linear layer after pooling
class SpeechClassification(nn.Module):
    def __init__(self, outputs, last="out_proj"):
        super().__init__()
        self.dense = nn.Linear(16, 16)
        self.last = last
        setattr(self, last, nn.Linear(16, outputs))

    def forward(self, pooled):
        return getattr(self, self.last)(torch.tanh(self.dense(pooled)))


def maximum(hidden):
    return hidden.max(0).values


SPEECH = {
    "audeering": (Wav2Vec2Config, Wav2Vec2Model, "wav2vec2", STABLE, DIMENSIONS, "out_proj", torch.mean, dict(problem_type="regression")),
    "pooled_by_sum": (HubertConfig, HubertModel, "hubert", {}, FOUR, "out_proj", torch.sum, dict(pooling_mode="sum")),
    "pooled_by_max": (Wav2Vec2Config, Wav2Vec2Model, "wav2vec2", STABLE, FOUR, "out_proj", maximum, dict(pooling_mode="max")),
    "ehcalabres": (Wav2Vec2Config, Wav2Vec2Model, "wav2vec2", STABLE, FOUR, "output", torch.mean, {}),
}
for seed, (name, (config, kind, base, options, labels, last, pool, more)) in enumerate(SPEECH.items()):
    torch.manual_seed(200 + seed)
    encoder = draw(kind(config(**TINY, **options, **named(labels))))
    head = draw(SpeechClassification(len(labels), last))
    normalize = "do_stable_layer_norm" in options
    with torch.no_grad():
        if pool is torch.sum:
            # Of a sum over frames, tanh would otherwise keep nothing but signs.
            head.dense.weight.mul_(0.02)
        hidden = hidden_states(encoder, normalized() if normalize else samples)[-1]
        logits = head(maximum(hidden) if pool is maximum else pool(hidden, 0))
    state = {f"{base}.{key}": tensor for key, tensor in encoder.state_dict().items()}
    state |= {f"classifier.{key}": tensor for key, tensor in head.state_dict().items()}
    save(directory_of(name), state, config_of(encoder.config, **more), normalize)
    keep(name, logits)

# A recogniser's class, trained as a classifier
torch.manual_seed(300)
model = draw(Wav2Vec2ForCTC(Wav2Vec2Config(**TINY, **STABLE, **named(FOUR), vocab_size=4)))
directory = directory_of("ctc")
model.save_pretrained(directory)
Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(directory)
with torch.no_grad():
    frames = model(normalized()[None]).logits[0]
keep("ctc", frames.mean(0), frames)


# The Odyssey 2024 baselines
class Odyssey(nn.Module):
    def __init__(self, layers, outputs):
        super().__init__()
        self.sap_linear = nn.Linear(16, 16)
        self.attention = nn.Parameter(torch.randn(16, 1))
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Linear(32 if i == 0 else 16, 16), nn.LayerNorm(16), nn.ReLU(), nn.Dropout(0.5)) for i in range(layers)
        )
        self.out = nn.Sequential(nn.Linear(16, outputs))

    def forward(self, hidden):
        share = torch.softmax(torch.tanh(self.sap_linear(hidden)) @ self.attention, 0)
        mean = (share * hidden).sum(0)
        deviation = ((share * hidden**2).sum(0) - mean**2).clamp(min=1e-5).sqrt()
        pooled = torch.cat((mean, deviation))
        for layer in self.fc:
            pooled = layer(pooled)
        return self.out(pooled)


CATEGORIES = ["Angry", "Sad", "Happy", "Surprise", "Fear", "Disgust", "Contempt", "Neutral"]
for seed, (name, labels, layers) in enumerate([("odyssey", DIMENSIONS, 1), ("odyssey_categorical", CATEGORIES, 2)]):
    torch.manual_seed(400 + seed)
    encoder = draw(WavLMModel(WavLMConfig(**TINY, **STABLE, num_buckets=32)))
    head = draw(Odyssey(layers, len(labels)))
    with torch.no_grad():
        for layer in head.fc:
            layer[1].weight.copy_(1 + 0.2 * torch.randn(16))
        mean, std = -8.3e-05, 0.0848551
        logits = head(hidden_states(encoder, (samples - mean) / (std + 1e-6))[-1])
    place = {"sap_linear": "pool_model.", "attention": "pool_model.", "fc": "ser_model.", "out": "ser_model."}
    state = {f"ssl_model.{key}": tensor for key, tensor in encoder.state_dict().items()}
    state |= {place[key.split(".")[0]] + key: tensor for key, tensor in head.state_dict().items()}
    directory = directory_of(name)
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, directory / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "ser",
        "architectures": ["SERModel"],
        "ssl_type": "microsoft/wavlm-large",
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_classes": len(labels),
        "classifier_hidden_layers": layers,
        "classifier_dropout_prob": 0.5,
        "sampling_rate": 16000,
        "mean": mean,
        "std": std,
        "id2label": dict(enumerate(labels)),
    }
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    keep(name, logits)


# emotion2vec: data2vec 2.0 on audio
def slopes(heads):
    def of_power(n):
        return [2 ** (-8 * (h + 1) / n) for h in range(n)]

    power = 2 ** int(np.log2(heads))
    return of_power(power) + of_power(2 * power)[0::2][: heads - power]


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x, bias):
        T, C = x.shape
        q, k, v = self.qkv(x).reshape(T, 3, self.heads, C // self.heads).permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) * (C // self.heads) ** -0.5 + bias
        return self.proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(T, C))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 2 * width), "fc2": nn.Linear(2 * width, width)})
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x, bias):
        x = self.norm1(x + self.attn(x, bias))
        return self.norm2(x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](x))))


class Audio(nn.Module):
    """What the modality's encoder holds, by the names that it has there."""

    def __init__(self, width, heads, prenet, extra):
        super().__init__()
        self.convolutions = [(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2
        layers, channels = [], 1
        for output, kernel, stride in self.convolutions:
            norm = nn.Sequential(nn.Identity(), nn.LayerNorm(output), nn.Identity())
            layers.append(nn.Sequential(nn.Conv1d(channels, output, kernel, stride, bias=False), nn.Identity(), norm))
            channels = output
        self.local_encoder = nn.ModuleDict({"conv_layers": nn.ModuleList(layers)})
        self.project_features = nn.Sequential(nn.Identity(), nn.LayerNorm(8), nn.Linear(8, width))
        positions = [nn.Sequential(nn.Conv1d(width, width, 19, padding=9, groups=4)) for _ in range(5)]
        self.relative_positional_encoder = nn.Sequential(nn.Identity(), *positions)
        self.extra_tokens = nn.Parameter(torch.randn(1, extra, width))
        self.alibi_scale = nn.Parameter(torch.ones(1, 1, heads, 1, 1))
        self.context_encoder = nn.ModuleDict(
            {"norm": nn.LayerNorm(width), "blocks": nn.ModuleList(Block(width, heads) for _ in range(prenet))}
        )
        self.decoder = nn.ModuleDict({"proj": nn.Linear(4, width)})


class Emotion2vec(nn.Module):
    def __init__(self, width, heads, prenet, depth, extra, outputs):
        super().__init__()
        self.modality_encoders = nn.ModuleDict({"AUDIO": Audio(width, heads, prenet, extra)})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.proj = nn.Linear(width, outputs)
        self.extra, self.slopes = extra, torch.tensor(slopes(heads))

    def forward(self, waveform):
        audio = self.modality_encoders["AUDIO"]
        x = waveform[None]
        for convolution, _, norm in audio.local_encoder["conv_layers"]:
            x = F.gelu(norm[1](convolution(x).T).T)
        x = audio.project_features[2](audio.project_features[1](x.T))
        position = x
        for convolution in list(audio.relative_positional_encoder)[1:]:
            position = F.gelu(F.layer_norm(convolution[0](position.T).T, (x.shape[1],)))
        x = x + position
        T = len(x)
        distance = (torch.arange(T)[:, None] - torch.arange(T)[None]).abs()
        bias = -self.slopes[:, None, None] * distance * audio.alibi_scale.clamp(min=0).reshape(-1, 1, 1)
        bias = F.pad(bias, (self.extra, 0, self.extra, 0))
        x = audio.context_encoder["norm"](torch.cat((audio.extra_tokens[0], x)))
        for block in [*audio.context_encoder["blocks"], *self.blocks]:
            x = block(x, bias)
        return x[self.extra :]


E2V = """model: Emotion2vec
model_conf:
  loss_scale: null
  depth: 2
  num_heads: {heads}
  norm_eps: 1e-05
  norm_affine: true
  encoder_dropout: 0.1
  post_mlp_drop: 0.1
  attention_dropout: 0.1
  activation_dropout: 0.0
  layerdrop: 0.05
  embed_dim: {width}
  mlp_ratio: 2.0
  layer_norm_first: false
  normalize: true
  modalities:
    audio:
      type: AUDIO
      prenet_depth: 1
      num_extra_tokens: 4
      use_alibi_encoder: true
      alibi_scale: 1.0
      learned_alibi: false
      learned_alibi_scale: true
      learned_alibi_scale_per_head: true
      learned_alibi_scale_per_layer: false
      decoder: {{decoder_dim: 4}}
      extractor_mode: layer_norm
      feature_encoder_spec: '[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] + [(8,2,2)]'
      conv_pos_width: 95
      conv_pos_groups: 4
      conv_pos_depth: 5
      conv_pos_pre_ln: false
tokenizer: CharTokenizer
tokenizer_conf:
  unk_symbol: <unk>
  split_with_space: true
"""
TOKENS = ["生气/angry", "开心/happy", "中立/neutral", "unuse_0", "<unk>"]
for seed, (name, width, heads, prefix) in enumerate([("emotion2vec", 16, 2, ""), ("emotion2vec_plus", 24, 3, "d2v_model.")]):
    torch.manual_seed(500 + seed)
    model = draw(Emotion2vec(width, heads, 1, 2, 4, len(TOKENS)))
    audio = model.modality_encoders["AUDIO"]
    with torch.no_grad():
        audio.alibi_scale.copy_(0.5 + torch.rand_like(audio.alibi_scale))
        # A factor below zero counts as none.
        audio.alibi_scale[..., -1, :, :] *= -1
        for name_, parameter in model.named_parameters():
            if name_.endswith("weight") and parameter.dim() == 1:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
        frames = model.proj(model(F.layer_norm(samples, samples.shape)))
    state = {key if key.startswith("proj.") else prefix + key: tensor for key, tensor in model.state_dict().items()}
    directory = directory_of(name)
    settings = E2V.format(width=width, heads=heads)
    # fairseq keeps the same config beside the weights.
    model_conf = {"_name": "data2vec_multi", **yaml.safe_load(settings)["model_conf"], "norm_eps": 1e-5}
    cfg = {"_name": None, "task": {"normalize": True}, "model": model_conf}
    torch.save({"args": None, "cfg": cfg, "model": state}, directory / "model.pt")
    (directory / "config.yaml").write_text(settings)
    (directory / "tokens.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    # FunASR gives outputs called "unuse" no probability.
    frames = frames[:, [i for i, token in enumerate(TOKENS) if not token.startswith("unuse")]]
    keep(name, frames.mean(0), frames)

# speechbrain: encoder, head and labels apart
torch.manual_seed(600)
encoder = draw(Wav2Vec2Model(Wav2Vec2Config(**TINY)))
weight = torch.randn(4, 16) / 4
with torch.no_grad():
    hidden = encoder(F.layer_norm(samples, samples.shape)[None]).last_hidden_state[0]
    frames = F.layer_norm(hidden, hidden.shape) @ weight.T
directory = directory_of("speechbrain")
old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
state = {}
for key, tensor in encoder.state_dict().items():
    for name, before in old.items():
        key = key.replace(name, before)
    state[f"model.{key}"] = tensor
torch.save(state, directory / "wav2vec2.ckpt")
torch.save({"0.w.weight": weight}, directory / "model.ckpt")
(directory / "label_encoder.txt").write_text(
    "'neu' => 0\n'ang' => 1\n'hap' => 2\n'sad' => 3\n================\n'starting_index' => 0\n"
)
(directory / "hyperparams.yaml").write_text(
    """# An encoder of the Hub, and one linear layer.
wav2vec2_hub: facebook/wav2vec2-base
encoder_dim: 16
out_n_neurons: 4

wav2vec2: !new:speechbrain.lobes.models.huggingface_wav2vec.HuggingFaceWav2Vec2
    source: !ref <wav2vec2_hub>
    output_norm: True
    freeze: True
    save_path: wav2vec2_checkpoints

avg_pool: !new:speechbrain.nnet.pooling.StatisticsPooling
    return_std: False

output_mlp: !new:speechbrain.nnet.linear.Linear
    input_size: !ref <encoder_dim>
    n_neurons: !ref <out_n_neurons>
    bias: False

model: !new:torch.nn.ModuleList
    - [!ref <output_mlp>]

label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
"""
)
(directory / "config.json").write_text(json.dumps(config_of(encoder.config), indent=1) + "\n")
keep("speechbrain", frames.mean(0), frames)

(root / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
for name, answer in expected.items():
    print(name, answer["logits"])

"""The models of test/fixtures/encode in the other forms that people have, by the libraries that write these forms; wav2vec 2.0 with its
hidden states; HFLEA's classifier with its answer; k-means models.

Writes test/fixtures/kinds. Run after encode.py: python scripts/oracle/checkpoint_kinds.py
It needs torch, transformers, scikit-learn, joblib, omegaconf and torchaudio. fairseq is not needed: what it saves is a state dict with
names of its own (HubertModel and Wav2Vec2Model in fairseq/models) beside its config, as Trainer.state_dict puts them together.
"""
import argparse
import json
import os
import pathlib
import pickle
import shutil
import sys
import types

import joblib
import numpy as np
import torch
from joblib.numpy_pickle import NumpyPickler
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from sklearn.cluster import KMeans, MiniBatchKMeans
from torchaudio.models.wav2vec2.model import hubert_pretrain_model, wav2vec2_model
from transformers import (
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)

from fairseq_names import fairseq_name
from tiny import TINY, fixtures, voice

torch.set_num_threads(1)
torch.manual_seed(3)
root = fixtures / "kinds"
shutil.rmtree(root, ignore_errors=True)
root.mkdir(parents=True)
FORMS = ("base", "large")
models = {form: HubertModel.from_pretrained(fixtures / "encode" / form).eval() for form in FORMS}
states = {form: load_file(fixtures / "encode" / form / "model.safetensors") for form in FORMS}

samples = voice()


def normalized(values):
    return (values - values.mean()) / np.sqrt(values.var() + 1e-7)


# fairseq


def fairseq_state(form, prefix=""):
    return {prefix + fairseq_name(name, form): tensor for name, tensor in states[form].items()}


def fairseq_options(form):
    """The options of fairseq's HubertConfig and Wav2Vec2Config that make a model of this size."""
    large = form == "large"
    return {
        "_name": "hubert",
        "label_rate": 50,
        "extractor_mode": "layer_norm" if large else "default",
        "encoder_layers": 2,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 24,
        "encoder_attention_heads": 2,
        "activation_fn": "gelu",
        "layer_type": "transformer",
        "dropout": 0.1,
        "attention_dropout": 0.05,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.05,
        "dropout_input": 0.1,
        "dropout_features": 0.1,
        "final_dim": 8,
        "untie_final_proj": True,
        "layer_norm_first": large,
        "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2",
        "conv_bias": large,
        "logit_temp": 0.1,
        "feature_grad_mult": 0.1,
        "mask_length": 10,
        "mask_prob": 0.8,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "latent_temp": [2, 0.5, 0.999995],
    }


def config(form, model):
    return {
        "_name": None,
        "common": {"seed": 1337, "fp16": True, "user_dir": None},
        "model": model,
        "task": {"_name": "hubert_pretraining", "data": "/data", "sample_rate": 16000, "normalize": form == "large"},
        "optimizer": {"_name": "adam", "adam_betas": "(0.9,0.98)", "lr": [0.0005]},
    }


heads = {"final_proj.weight": torch.randn(8, 16), "final_proj.bias": torch.zeros(8), "label_embs_concat": torch.rand(5, 8)}
# What the task keeps: its own class, with the labels' names.
for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
    sys.modules[name] = types.ModuleType(name)
Dictionary = type("Dictionary", (), {"__module__": "fairseq.data.dictionary"})
sys.modules["fairseq.data.dictionary"].Dictionary = Dictionary
dictionary = Dictionary()
dictionary.__dict__.update(symbols=["<s>", "<pad>", "0", "1"], indices={"<s>": 0, "<pad>": 1, "0": 2, "1": 3}, nspecial=4)
training = {
    "criterion": None,
    "optimizer_history": [{"optimizer_name": "FP16Optimizer", "lr_scheduler_state": {"best": None}, "num_updates": 400000}],
    "task_state": {"dictionaries": [dictionary]},
    "extra_state": {"metrics": [], "train_iterator": {"epoch": 2, "shuffle": True}, "val_loss": 2.5},
    "last_optimizer_state": {"state": {0: {"step": 3, "exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 5e-4, "params": [0]}]},
}
# As hubert_base_ls960.pt: config as plain data, training state beside.
torch.save(
    {"args": None, "cfg": config("base", fairseq_options("base")), "model": {**fairseq_state("base"), **heads}, **training},
    root / "hubert_fairseq.pt",
)
# As wav2vec_vox_new.pt and its contemporaries: a namespace, in the form of before PyTorch 1.6; wav2vec 2.0's quantiser beside.
args = argparse.Namespace(
    **{**fairseq_options("large"), "arch": "wav2vec2", "task": "audio_pretraining", "normalize": True, "_name": None}
)
torch.save(
    {
        "args": args,
        "model": {**fairseq_state("large"), "quantizer.vars": torch.rand(1, 8, 4), "project_q.weight": torch.randn(8, 8)},
        **training,
    },
    root / "wav2vec_fairseq.pt",
    _use_new_zipfile_serialization=False,
)
# Fine-tuned for recognition: the encoder is inside, its config in w2v_args; the whole config as omegaconf's own objects.
asr = {"_name": "hubert_ctc", "w2v_path": "/models/hubert.pt", "final_dropout": 0.0, "normalize": "${task.normalize}"}
cfg = config("base", {**asr, "w2v_args": config("base", fairseq_options("base"))})
torch.save(
    {
        "args": None,
        "cfg": OmegaConf.create(cfg),
        "model": {**fairseq_state("base", "w2v_encoder.w2v_model."), "w2v_encoder.proj.weight": torch.randn(5, 16)},
        **training,
    },
    root / "hubert_fairseq_ctc.pt",
)
# s3prl's conversion: no fairseq class in it.
torch.save(
    {
        "task_cfg": config("large", {})["task"],
        "model_cfg": fairseq_options("large"),
        "model_weight": {**fairseq_state("large"), **heads},
        "dictionaries_symbols": [["<s>", "0", "1"]],
    },
    root / "hubert_s3prl.pt",
)
for what, change in {
    "data2vec": {"pos_conv_depth": 5},
    "conformer": {"layer_type": "conformer"},
    "python": {"conv_feature_layers": "__import__('os').system('touch /tmp/emoframe-hostile-pickle')"},
}.items():
    state = {"feature_extractor.conv_layers.0.0.weight": torch.zeros(8, 1, 10)}
    torch.save({"cfg": config("base", {**fairseq_options("base"), **change}), "model": state}, root / f"{what}_fairseq.pt")

# torchaudio: its own models, with the same weights; their answers are transformers'.


def torchaudio_name(name):
    if name.startswith("feature_projection."):
        return f"encoder.{name}"
    if name.startswith("encoder."):
        name = name.replace("encoder.", "encoder.transformer.", 1)
    return name.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v")


def torchaudio_options(form):
    return dict(
        extractor_mode="layer_norm" if form == "large" else "group_norm",
        extractor_conv_layer_config=[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2,
        extractor_conv_bias=form == "large",
        encoder_embed_dim=16,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=2,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=24,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=form == "large",
        encoder_layer_drop=0.0,
    )


def fill(module, form):
    """Sets the weights of a torchaudio model, whichever names its version gives to weight norm."""
    named = {torchaudio_name(name): tensor for name, tensor in states[form].items()}
    mask = named.pop("masked_spec_embed")
    own = module.state_dict()
    if not any(name.endswith("weight_g") for name in own):
        named = {
            name.replace("weight_g", "parametrizations.weight.original0").replace("weight_v", "parametrizations.weight.original1"): t
            for name, t in named.items()
        }
    module.load_state_dict(named)
    return mask


with torch.no_grad():
    for form in FORMS:
        waveform = torch.from_numpy(normalized(samples) if form == "large" else samples)[None].float()
        golden = models[form](waveform, output_hidden_states=True)
        module = wav2vec2_model(**torchaudio_options(form), aux_num_out=None).eval()
        fill(module, form)
        layers, _ = module.extract_features(waveform)
        # The last layer is given before the final norm by one and after it by the other.
        difference = (layers[0] - golden.hidden_states[1]).abs().max().item()
        assert difference < 1e-4, (form, difference)
        (root / f"torchaudio_{form}").mkdir()
        shutil.copy(fixtures / "encode" / form / "config.json", root / f"torchaudio_{form}")
        shutil.copy(fixtures / "encode" / form / "preprocessor_config.json", root / f"torchaudio_{form}")
        if form == "large":
            torch.save(module.state_dict(), root / "torchaudio_large" / "wav2vec2.pth")
            continue
        options = torchaudio_options(form)
        pretrain = hubert_pretrain_model(
            **options,
            mask_prob=0.8,
            mask_selection="static",
            mask_other=0.0,
            mask_length=10,
            no_mask_overlap=False,
            mask_min_space=1,
            mask_channel_prob=0.0,
            mask_channel_selection="static",
            mask_channel_other=0.0,
            mask_channel_length=10,
            no_mask_channel_overlap=False,
            mask_channel_min_space=1,
            skip_masked=False,
            skip_nomask=False,
            num_classes=5,
            final_dim=8,
            feature_grad_mult=0.1,
        ).eval()
        mask = fill(pretrain.wav2vec2, form)
        pretrain.mask_generator.mask_embedding.copy_(mask)
        torch.save(pretrain.state_dict(), root / "torchaudio_base" / "hubert.pth")

# Split into several files.
models["base"].save_pretrained(root / "sharded_safetensors", max_shard_size="24KB")
shutil.copy(fixtures / "encode" / "base" / "preprocessor_config.json", root / "sharded_safetensors")
(root / "sharded_bin").mkdir()
for name in ("config.json", "preprocessor_config.json"):
    shutil.copy(fixtures / "encode" / "large" / name, root / "sharded_bin")
names = sorted(states["large"])
places = {}
for part in (0, 1):
    file = f"pytorch_model-{part + 1:05d}-of-00002.bin"
    held = {name: states["large"][name] for name in names[part::2]}
    torch.save(held, root / "sharded_bin" / file)
    places.update({name: file for name in held})
size = sum(tensor.numel() * 4 for tensor in states["large"].values())
index = {"metadata": {"total_size": size}, "weight_map": places}
(root / "sharded_bin" / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")

# HFLEA: what its pretraining leaves (PyTorch Lightning) and what its fine_tune_hubert.py saves (a class of its own, by transformers).
torch.manual_seed(7)
(root / "lightning").mkdir()
shutil.copy(fixtures / "encode" / "base" / "config.json", root / "lightning")
shutil.copy(fixtures / "encode" / "base" / "preprocessor_config.json", root / "lightning")
torch.save(
    {
        "epoch": 168,
        "global_step": 16196,
        "pytorch-lightning_version": "2.0.2",
        "state_dict": {
            **{f"model.{name}": tensor for name, tensor in states["base"].items()},
            "model.logit_generator.label_embeddings": torch.rand(5, 8),
            "model.logit_generator.final_proj.weight": torch.randn(8, 16),
        },
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(2.0), "dirpath": "/exp"}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(4.0), "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"last_epoch": 16196, "_last_lr": [1e-6]}],
        "hyper_parameters": argparse.Namespace(exp_dir=pathlib.PurePosixPath("/exp"), gpus=4),
    },
    root / "lightning" / "epoch=168-step=16196.ckpt",
)
(root / "hflea").mkdir()
shutil.copy(fixtures / "encode" / "base" / "config.json", root / "hflea")
shutil.copy(fixtures / "encode" / "base" / "preprocessor_config.json", root / "hflea")
attention = torch.rand(16, 1)
weight, bias = torch.randn(4, 16), torch.randn(4) * 0.1
save_file(
    {
        **{f"hubert.{name}": tensor for name, tensor in states["base"].items()},
        "atten.atten_weight": attention,
        "classifier.fc_out_1.weight": weight,
        "classifier.fc_out_1.bias": bias,
    },
    root / "hflea" / "model.safetensors",
    metadata={"format": "pt"},
)
with torch.no_grad():
    hidden = models["base"](torch.from_numpy(samples)[None]).last_hidden_state
    share = torch.softmax(torch.tanh((hidden @ attention).squeeze(-1)), dim=1)
    answer = torch.softmax((share.unsqueeze(-1) * hidden).sum(1) @ weight.T + bias, dim=1)
expected = {"hflea": dict(zip(("hap", "neu", "sad", "ang"), answer[0].tolist()))}

# wav2vec 2.0, with what its config leaves out and HuBERT's has.
SIZES = dict(
    **TINY,
    num_codevectors_per_group=4,
    codevector_dim=8,
    proj_codevector_dim=8,
    vocab_size=5,
)
WAV2VEC = {"base": {}, "large": dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)}
for seed, form in enumerate(FORMS):
    directory = root / f"wav2vec2_{form}"
    torch.manual_seed(10 + seed)
    kind = Wav2Vec2ForPreTraining if form == "large" else Wav2Vec2Model
    model = kind(Wav2Vec2Config(**SIZES, **WAV2VEC[form])).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "original0" not in name:
                parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            elif "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    normalize = form == "large"
    Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=normalize).save_pretrained(directory)
    waveform = normalized(samples) if normalize else samples
    encoder = model.wav2vec2 if form == "large" else model
    with torch.no_grad():
        output = encoder(torch.from_numpy(waveform)[None].float(), output_hidden_states=True)
    np.save(root / f"wav2vec2_{form}.npy", torch.cat([*output.hidden_states, output.last_hidden_state]).numpy())

# k-means models.
points = np.random.default_rng(5).standard_normal((200, 16)).astype(np.float32)
mini = MiniBatchKMeans(n_clusters=5, batch_size=100, n_init=2, compute_labels=False, random_state=1).fit(points)
full = KMeans(n_clusters=4, n_init=1, random_state=np.random.RandomState(2)).fit(points.astype(np.float64))
kinds = root / "kmeans"
kinds.mkdir()
joblib.dump(mini, kinds / "mini.bin")
joblib.dump(full, kinds / "full.joblib")
joblib.dump(mini, kinds / "mini.zlib.bin", compress=3)
joblib.dump(mini, kinds / "mini.gz.bin", compress=("gzip", 3))
joblib.dump(mini, kinds / "mini.xz.bin", compress=("xz", 3))
joblib.dump(MiniBatchKMeans(n_clusters=5), kinds / "unfitted.bin")
joblib.dump(np.asfortranarray(mini.cluster_centers_), kinds / "fortran.bin")
joblib.dump(mini.cluster_centers_[0], kinds / "vector.bin")
joblib.dump(np.array([["a", None]], dtype=object), kinds / "objects.bin")
with open(kinds / "pickled.pkl", "wb") as file:
    pickle.dump(full, file, protocol=4)


class BeforeAlignment(NumpyPickler):
    """As joblib wrote before 1.2, when hubert_base_ls960_L9_km500.bin was made: the arrays' bytes follow at once."""

    def _create_array_wrapper(self, array):
        wrapper = super()._create_array_wrapper(array)
        del wrapper.numpy_array_alignment_bytes
        return wrapper


with open(kinds / "before.bin", "wb") as file:
    BeforeAlignment(file, protocol=3).dump(mini)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch /tmp/emoframe-hostile-pickle",)


mini.hostile = Hostile()
joblib.dump(mini, kinds / "hostile.bin")
np.save(kinds / "mini.npy", mini.cluster_centers_)
np.save(kinds / "full.npy", full.cluster_centers_.astype(np.float32))
save_file({"centroids": torch.from_numpy(mini.cluster_centers_.copy())}, kinds / "mini.safetensors")

(root / "expected.json").write_text(json.dumps(expected) + "\n")

"""Two tiny models and their hidden states of every layer for test/fixtures/audio/voice.wav, by transformers.

Writes test/fixtures/encode/{base,large} and test/fixtures/encode/{base,large}.npy, [layers + 1, frames, channels].
Weights are drawn so that the states move with time and with the loudness of the input: a model that is not given
normalised audio where its directory asks for it is far off. Run after audio.sh.
"""

import numpy as np
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from tiny import TINY, fixtures, voice

torch.set_num_threads(1)
FORMS = {"base": {}, "large": dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)}

samples = voice()
for seed, (form, options) in enumerate(FORMS.items()):
    directory = fixtures / "encode" / form
    torch.manual_seed(seed)
    model = HubertModel(HubertConfig(**TINY, **options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "original0" not in name:
                parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            elif "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=form == "large", return_attention_mask=form == "large")
    extractor.save_pretrained(directory)
    inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        output = model(inputs.input_values, output_hidden_states=True)
        quiet = model(torch.from_numpy(samples)[None]).last_hidden_state
    # Layers 0 to L as transformers 5 gives them (4 has the final LayerNorm of pre-norm models in the last), then the output.
    states = torch.cat([*output.hidden_states, output.last_hidden_state])
    np.save(fixtures / "encode" / f"{form}.npy", states.numpy())
    print(form, "moves by", states.std(1).mean(1).tolist(), "without normalisation", (quiet[0] - states[-1]).abs().max())

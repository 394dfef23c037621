"""Hidden states of every layer for test/fixtures/audio/voice.wav, by transformers: test/fixtures/encode/{base,large}.npy.

[layers + 1, frames, channels]. Run after checkpoints.py and audio.sh.
"""

import pathlib
import wave

import numpy as np
import torch
from transformers import HubertModel, Wav2Vec2FeatureExtractor

torch.set_num_threads(1)
fixtures = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures"
with wave.open(str(fixtures / "audio" / "voice.wav")) as file:
    assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
    samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
(fixtures / "encode").mkdir(exist_ok=True)
for form in ("base", "large"):
    directory = fixtures / "checkpoints" / form
    model = HubertModel.from_pretrained(directory).eval()
    inputs = Wav2Vec2FeatureExtractor.from_pretrained(directory)(samples, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        output = model(inputs.input_values, output_hidden_states=True)
    # transformers 5 leaves the final LayerNorm of pre-norm models out of hidden_states[-1]; 4 has it in.
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    np.save(fixtures / "encode" / f"{form}.npy", torch.cat(states).numpy())

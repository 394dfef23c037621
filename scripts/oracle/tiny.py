"""What the fixtures of several scripts have in common: the size of a tiny model, and the voice that it is given."""

import pathlib
import wave

import numpy as np

fixtures = pathlib.Path(__file__).resolve().parents[2] / "test" / "fixtures"

TINY = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=[8] * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)


def voice():
    """f32 [samples] of voice.wav, 16 kHz mono."""
    with wave.open(str(fixtures / "audio" / "voice.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768

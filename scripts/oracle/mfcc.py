"""Golden values for test/audio/mfcc.test.js.

The 39-dimensional MFCC of HuBERT's first iteration, that is torchaudio.compliance.kaldi.mfcc(waveform,
sample_frequency=16000, use_energy=False) with torchaudio.functional.compute_deltas applied twice, made without torchaudio:
the log mel spectrogram by transformers.audio_utils (its Kaldi form, in float64), the cosine transform by scipy.

Writes test/fixtures/audio/voice.wav (made here, 16-bit) and test/fixtures/audio/voice.mfcc.npy ([frames, 39], float32).
Run from the repository's root: python scripts/oracle/mfcc.py   (numpy, scipy, torch, transformers)
"""

import pathlib

import numpy as np
import scipy.fft
import scipy.io.wavfile
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

RATE = 16000
FOLDER = pathlib.Path("test/fixtures/audio")


def voice() -> np.ndarray:
    """1.2 s: a gliding harmonic tone with vibrato, noise, an offset, and a part of digital silence."""
    random = np.random.default_rng(7)
    time = np.arange(int(1.2 * RATE)) / RATE
    pitch = 120 + 90 * time + 4 * np.sin(2 * np.pi * 5 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tone = sum(np.cos(k * phase) / k for k in range(1, 25))
    loudness = np.clip(np.sin(2 * np.pi * 1.1 * time), 0.02, None)
    signal = 0.12 * loudness * tone + 0.003 * random.standard_normal(time.size) + 0.01
    signal[9000:11000] = 0
    return np.round(signal * 32768).clip(-32768, 32767).astype(np.int16)


def deltas(rows: np.ndarray) -> np.ndarray:
    """torchaudio.functional.compute_deltas, win_length 5, mode "replicate"; rows [frames, 13]."""
    channels = torch.from_numpy(rows.T.copy())[:, None, :]
    padded = torch.nn.functional.pad(channels, (2, 2), mode="replicate")
    kernel = torch.arange(-2, 3, dtype=torch.float64)[None, None, :]
    return (torch.nn.functional.conv1d(padded, kernel) / 10)[:, 0, :].numpy().T


def mfcc(waveform: np.ndarray) -> np.ndarray:
    log_mel = spectrogram(
        waveform,
        window=window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=mel_filter_bank(257, 23, 20, RATE // 2, RATE, None, "kaldi", triangularize_in_mel_space=True),
        mel_floor=1.192092955078125e-07,
        log_mel="log",
        remove_dc_offset=True,
        dtype=np.float64,
    ).T
    lifter = 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstra = scipy.fft.dct(log_mel, type=2, norm="ortho", axis=1)[:, :13] * lifter
    return np.concatenate([cepstra, deltas(cepstra), deltas(deltas(cepstra))], axis=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    samples = voice()
    scipy.io.wavfile.write(FOLDER / "voice.wav", RATE, samples)
    np.save(FOLDER / "voice.mfcc.npy", mfcc(samples / 32768).astype(np.float32))

"""Multiple-instance poolings, and what they are to be compared with, on what stages before alignment left in a run directory.
All train the same local network on the same frozen features and log-mel bands, of which each sees 25 ms at its own level; "EM on global
states" trains on the states of stage 1b, which have seen the whole utterance. Writes OUT/NAME.json for each NAME, which
bench/alignment.js decodes and scores."""

import argparse
import json
import os
import time
import wave

import numpy as np
import torch
import transformers
from local_network import LocalNetwork, local_extractor, log_mel
from pooling import POOLINGS
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

UPDATES, WARMUP, BATCH, RATE, DECAY, CLIP = 300, 30, 16, 2e-3, 1e-3, 1.0
EM_ROUNDS = 6
NEUTRAL = "neutral"


def read_audio(utterance):
    with wave.open(utterance["audio"]) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return torch.from_numpy(samples.astype(np.float32) / 32768)


def normalised(samples):
    """Zero mean, unit variance, as all models of the demo take an utterance."""
    return (samples - samples.mean()) / (samples.var(correction=0) + 1e-7).sqrt()


def frame_truth(utterance, frames, labels):
    """The class of each frame's centre."""
    truth = torch.full((frames,), labels.index(NEUTRAL))
    centre = (torch.arange(frames) * 320 + 200) / 16000
    for segment in utterance["segments"]:
        inside = (centre >= segment["start"]) & (centre < segment["end"])
        truth[inside] = labels.index(segment["label"])
    return truth


class Part:
    """Utterances of one part of the split."""

    def __init__(self, utterances, encode, labels):
        self.utterances = utterances
        with torch.inference_mode():
            self.features = [encode(read_audio(u))[0].clone() for u in utterances]
        self.labels = torch.tensor([labels.index(u["label"]) for u in utterances])
        self.truth = [
            frame_truth(u, len(f), labels) for u, f in zip(utterances, self.features)
        ]

    def batch(self, chosen):
        """Features [B, T, F], present bool [B, T], truth [B, T] (-100: padding), labels [B]."""
        features = [self.features[i] for i in chosen]
        present = pad_sequence([torch.ones(len(f)) for f in features], batch_first=True) > 0
        truth = pad_sequence([self.truth[i] for i in chosen], batch_first=True, padding_value=-100)
        return pad_sequence(features, batch_first=True), present, truth, self.labels[chosen]


def optimise(parameters, updates, loss_of):
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    for update in range(updates):
        factor = min(1, (update + 1) / WARMUP) * (1 - update / updates)
        for group in optimizer.param_groups:
            group["lr"] = RATE * factor
        optimizer.zero_grad()
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()


def statistics(part):
    frames = torch.cat(part.features)
    return frames.mean(0), frames.std(0) + 1e-5


def train_pooling(name, train, labels):
    network = LocalNetwork(*statistics(train), len(labels))
    pooling = POOLINGS[name](network.norm.normalized_shape[0], len(labels), labels.index(NEUTRAL))
    parameters = [*network.parameters(), *pooling.parameters()]

    def loss():
        chosen = torch.randint(len(train.labels), (BATCH,))
        features, present, truth, label = train.batch(chosen)
        hidden, z = network(features, present)
        logits, _ = pooling(hidden, z, present)
        total = cross_entropy(logits, label)
        if name == "true frame labels":
            total = total + cross_entropy(z.mT, truth)
        return total

    optimise(parameters, UPDATES, loss)
    network.eval(), pooling.eval()

    @torch.no_grad()
    def predict(part, index):
        features, present, _, _ = part.batch([index])
        hidden, z = network(features, present)
        logits, posteriors = pooling(hidden, z, present)
        return logits[0], posteriors[0]

    return predict


def train_em(train, labels):
    """Hard EM: frames of an emotional utterance carry its label or are neutral, as the classifier of the round before says; at
    first all carry it. The utterance is what its frames say most surely, in the mean."""
    neutral = labels.index(NEUTRAL)
    assigned = [label.expand(len(f)) for label, f in zip(train.labels, train.features)]
    network = LocalNetwork(*statistics(train), len(labels), dilations=())

    def loss():
        chosen = torch.randint(len(train.labels), (BATCH,))
        features, present, _, _ = train.batch(chosen)
        _, z = network(features, present)
        targets = [assigned[i] for i in chosen]
        return cross_entropy(
            z.mT, pad_sequence(targets, batch_first=True, padding_value=-100)
        )

    for _ in range(EM_ROUNDS):
        network.train()
        optimise(list(network.parameters()), UPDATES // EM_ROUNDS, loss)
        network.eval()
        with torch.no_grad():
            for i, label in enumerate(train.labels):
                features, present, _, _ = train.batch([i])
                z = network(features, present)[1][0]
                assigned[i] = torch.where(z[:, label] >= z[:, neutral], label, neutral)

    @torch.no_grad()
    def predict(part, index):
        features, present, _, _ = part.batch([index])
        z = network(features, present)[1][0]
        return z.mean(0), z.softmax(-1)

    return predict


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="run directory, done up to stage 3")
    parser.add_argument("--fold", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("names", nargs="+", choices=[*POOLINGS, "EM on global states"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def read(name):
        with open(os.path.join(options.run, name)) as file:
            return json.load(file)

    by_id = {u["id"]: u for u in read("corpus.json")["utterances"]}
    fold = next(f for f in read("folds.json") if f["name"] == options.fold)
    labels = sorted({u["label"] for u in by_id.values()})

    def load(stage):
        path = os.path.join(options.run, "folds", options.fold, stage, "model")
        return transformers.HubertModel.from_pretrained(path).eval()

    def parts(encode):
        return [Part([by_id[i] for i in fold[k]], encode, labels) for k in ("train", "test")]

    def prepared(name):
        if name == "EM on global states":
            model = load("finetune")
            return parts(lambda samples: model(normalised(samples)[None]).last_hidden_state)
        waveforms = [read_audio(by_id[i]) for i in fold["train"]]
        extractor = local_extractor(load("pretrain").feature_extractor, waveforms)

        def encode(samples):
            features = extractor(samples[None]).mT
            return torch.cat([features, log_mel(samples, features.shape[1])[None]], 2)

        return parts(encode)

    os.makedirs(options.out, exist_ok=True)
    kept = {}
    for name in options.names:
        key = name == "EM on global states"
        if key not in kept:
            kept[key] = prepared(name)
        train, test = kept[key]
        torch.manual_seed(options.seed)
        start = time.perf_counter()
        predict = train_em(train, labels) if key else train_pooling(name, train, labels)
        seconds = time.perf_counter() - start
        utterances = []
        for i, utterance in enumerate(test.utterances):
            logits, posteriors = predict(test, i)
            utterances.append(
                {
                    "id": utterance["id"],
                    "label": utterance["label"],
                    "predicted": labels[logits.argmax()],
                    "truth": test.truth[i].tolist(),
                    "posteriors": [[round(p, 4) for p in row] for row in posteriors.tolist()],
                }
            )
        file = os.path.join(options.out, f"{name.replace(' ', '-')}.json")
        with open(f"{file}.part", "w") as output:
            json.dump(
                {"labels": labels, "neutral": NEUTRAL, "seconds": seconds, "utterances": utterances},
                output,
            )
        os.replace(f"{file}.part", file)


if __name__ == "__main__":
    main()

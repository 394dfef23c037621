// How to use an exported model, as code to paste from its card, for its format, architecture and head.
import { classifierOptions, type Head } from '../checkpoint/head.js';
import type { AlignmentSettings, SoundStatistics } from '../model/alignment.js';
import type { CardFacts } from './cardFacts.js';
import { type Architecture, readsClassifier } from './families.js';
import { pooledHead } from './headUsage.js';

/** A section of the card. */
export function useSection(facts: CardFacts): string {
  const { format, architecture, head, clusters } = facts;
  const classifier = head?.kind === 'classifier' ? head : undefined;
  if (format === 'onnx') return `## Use\n\n${fence('python', onnx(classifier, facts.geometry.receptiveField))}`;
  const what = classifier?.task === 'regression' ? 'values' : 'emotion, segments';
  const emoframe = classifier
    ? `npx emoframe predict speech.wav --model FOLDER   # ${what}, every frame${clusters ? ' with its cluster' : ''}`
    : 'npx emoframe encode speech.wav --model FOLDER   # speech.npy, float32 [frames, width]';
  if (architecture === undefined) return `## Use\n\n${fence('sh', emoframe)}`;
  return `## Use\n\n${fence('sh', emoframe)}\n\nIn Python, with transformers:\n\n${fence(
    'python',
    classifier === undefined
      ? `import torch\n${loaded(facts, architecture)}\n${output}`
      : !readsClassifier(architecture)
        ? byHand(facts, classifier, architecture)
        : classifier.task === 'regression'
          ? regression(facts, classifier, architecture)
          : pipeline,
  )}${weightedSumNote(facts)}`;
}

function fence(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

/** The sum over hidden states is not the same in all versions of transformers. */
function weightedSumNote({ architecture, head, preNorm }: CardFacts): string {
  const differs = architecture && readsClassifier(architecture) && preNorm && head?.layers?.source === 'layers';
  if (!differs) return '';
  return '\n\nThe last of the hidden states that are summed is the output of the final LayerNorm, as in transformers 4; transformers 5 sums the state before that norm, so that its results differ.';
}

/** The model, and `input_values` `[1, samples]`. */
function loaded({ normalize }: CardFacts, architecture: Architecture): string {
  if (typeof normalize === 'boolean')
    return `from transformers import AutoFeatureExtractor, ${architecture}

extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
model = ${architecture}.from_pretrained(FOLDER).eval()
# samples: one utterance, 16 kHz mono
input_values = extractor(samples, sampling_rate=16000, return_tensors="pt").input_values`;
  const brought =
    'mean' in normalize
      ? `(sound - ${normalize.mean}) * ${normalize.scale}`
      : `(sound - sound.mean()) / torch.sqrt(sound.var(correction=0) + ${normalize.epsilon})`;
  return `from transformers import ${architecture}

model = ${architecture}.from_pretrained(FOLDER).eval()
sound = torch.as_tensor(samples, dtype=torch.float32)[None]  # samples: one utterance, 16 kHz mono
input_values = ${brought}`;
}

const output = `with torch.no_grad():
    hidden = model(input_values).last_hidden_state[0]  # [frames, width]`;

/** The input of each layer and the model's output, in any version of transformers. */
const allStates = `states = []
for layer in model.encoder.layers:
    layer.register_forward_pre_hook(lambda _, args: states.append(args[0]))
with torch.no_grad():
    states.append(model(input_values).last_hidden_state)
shares = torch.softmax(head["layer_weights"], 0)
hidden = sum(share * state[0] for share, state in zip(shares, states))  # [frames, width]`;

const pipeline = `from transformers import pipeline

classify = pipeline("audio-classification", model=FOLDER)
emotions = classify(samples)  # 16 kHz mono samples, or the name of a file`;

function regression(facts: CardFacts, { labels }: Head, architecture: Architecture): string {
  return `import torch
${loaded(facts, architecture)}
with torch.no_grad():
    outputs = model(input_values).logits[0]
values = {model.config.id2label[i]: outputs[i].item() for i in range(${labels.length})}`;
}

/** The head is not part of transformers' class for the encoder; a few lines of code compute it. */
function byHand(facts: CardFacts, head: Head, architecture: Architecture): string {
  const options = classifierOptions(head);
  const aligned = head.alignment;
  return [
    `import json${aligned && aligned.melBands > 0 ? '\nimport math' : ''}

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
${loaded(facts, architecture)}

head = load_file(f"{FOLDER}/head.safetensors")
description = json.load(open(f"{FOLDER}/emoframe.json"))
labels = description["labels"]`,
    ...(options === undefined
      ? []
      : [options.source === 'layers' ? allStates : output, pooledHead(options, aligned === undefined)]),
    ...(aligned === undefined ? [] : [alignment(aligned), decision(options !== undefined)]),
    head.task === 'regression' ? 'values = dict(zip(labels, outputs.tolist()))' : 'emotion = labels[logits.argmax()]',
  ].join('\n');
}

/** Frame logits and, by forward-backward, utterance logits and occupancies, which are the gradient of the utterance logits. */
function alignment(settings: AlignmentSettings): string {
  return `
settings = description["alignment"]
part = lambda name: (head[f"alignment.{name}.weight"], head[f"alignment.{name}.bias"])
norm = lambda x, name: F.layer_norm(x, x.shape[-1:], *part(name))
with torch.no_grad():
${networkInput(settings)}${settings.melBands === 0 ? '' : bands(settings)}
    x = (x - head["alignment.input_mean"]) * head["alignment.input_factor"]
    x = F.linear(x, *part("projection"))
    for i, half in enumerate(settings["halfWidths"]):
        y = F.conv1d(norm(x, f"blocks.{i}.norm").T, *part(f"blocks.{i}.conv"), padding=half)
        x = x + F.gelu(y).T
    frame_logits = F.linear(norm(x, "norm"), *part("output"))  # [frames, emotions]

# An utterance of an emotion: neutral frames, and at least one island of the emotion.
neutral, cost = settings["neutral"], torch.tensor(float(settings["switchingCost"]))
evidence = (settings["scale"] * (frame_logits - frame_logits[:, [neutral]])).double().requires_grad_()
stay, leave = F.logsigmoid(cost), F.logsigmoid(-cost)
before = torch.full_like(evidence[0], 0.5).log()
inside, after = before + evidence[0], torch.full_like(before, -1e30)
for e in evidence[1:]:
    outside = torch.logaddexp(before, after)
    before, inside, after = (
        before + stay,
        e + torch.logaddexp(inside + stay, outside + leave),
        torch.logaddexp(inside + leave, after + stay),
    )
paths = torch.logaddexp(inside, after)
(occupancies,) = torch.autograd.grad(paths.sum(), evidence)
emotional = (torch.arange(len(labels)) != neutral).float()
occupancies = occupancies.float() * emotional  # [frames, emotions]
aligned = paths.detach().float() * emotional + head["alignment.utterance_bias"]`;
}

/** `x` `[frames, channels]`: the network's input. */
function networkInput({ source, layer, statistics }: AlignmentSettings): string {
  const input = statistics === undefined ? 'input_values' : 'sound[None]';
  const features = `${statistics === undefined ? '' : normalisedBy(statistics)}    features = model.feature_extractor(${input}).transpose(1, 2)`;
  if (source === 'features') return `${features}\n    x = features[0]`;
  // The input of each layer and the output of the last, in any version of transformers.
  const kept = `    states = []
    for each in model.encoder.layers:
        each.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    last = lambda _, args, given: states.append(given[0] if isinstance(given, tuple) else given)
    model.encoder.layers[-1].register_forward_hook(last)
`;
  const chosen =
    source === 'layers'
      ? 'sum(w * state for w, state in zip(torch.softmax(head["alignment.layer_weights"], 0), states))'
      : layer === 'output'
        ? 'output'
        : `states[${layer}]`;
  return `${features}
    projected = model.feature_projection(features)
    chunk, context = settings["chunkFrames"], settings["contextFrames"]
${layer === 'output' ? '' : kept}    parts = []
    for first in range(0, projected.shape[1], chunk):
        begin = max(first - context, 0)
${layer === 'output' ? '' : '        states.clear()\n'}        output = model.encoder(projected[:, begin : first + chunk + context]).last_hidden_state
        parts.append(${chosen}[0, first - begin :][:chunk])
    x = torch.cat(parts)`;
}

/** Appends log-mel bands of the audio to the columns of `x`. */
function bands({ statistics }: AlignmentSettings): string {
  const sound = statistics === undefined ? 'input_values[0]' : 'sound';
  return `
    # Log-mel bands: power spectra of 512 points under triangles of equal width on the HTK mel scale.
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (50, 7600))
    mel = torch.linspace(lowest, highest, settings["melBands"] + 2, dtype=torch.float64)
    edges, hertz = 700 * (10 ** (mel / 2595) - 1), torch.arange(257)[:, None] * 31.25
    slopes = (hertz - edges[:-1]) / edges.diff()
    filters = torch.minimum(slopes[:, :-1], 1 - slopes[:, 1:]).clamp(min=0)
    windowed = ${sound}.double().unfold(0, 400, 320) * torch.hann_window(400, periodic=False, dtype=torch.float64)
    powers = torch.fft.rfft(windowed, 512).abs() ** 2
    x = torch.cat([x, torch.log(powers @ filters + 1e-3).float()], -1)`;
}

/** `sound` `[samples]` and the first convolution's norm, by statistics of the training audio instead of the utterance's own. */
function normalisedBy({ windows }: SoundStatistics): string {
  const norm = `    first, windows = model.feature_extractor.conv_layers[0], settings["statistics"]["windows"]
    w, mean = first.conv.weight[:, 0], torch.tensor(windows["mean"])
    covariance = torch.tensor(windows["covariance"]).view(len(mean), -1)
    factor = first.layer_norm.weight / torch.sqrt((w @ covariance * w).sum(-1) + 1e-5)
    shift = first.layer_norm.bias - factor * (w @ mean + (0 if first.conv.bias is None else first.conv.bias))
    first.layer_norm.forward = lambda x: factor[:, None] * x + shift[:, None]
`;
  return `    waveform = settings["statistics"]["waveform"]
    sound = (torch.as_tensor(samples) - waveform["mean"]) * waveform["scale"]
${windows === undefined ? '' : norm}`;
}

/** The logits that decide, and the frame posteriors under them. */
function decision(pooled: boolean): string {
  return `
weight = description.get("calibration", {})
logits = ${pooled ? 'weight.get("classifier", 1) * logits + ' : ''}weight.get("alignment", 1) * aligned
frame_posteriors = torch.softmax(logits, -1) * occupancies  # [frames, emotions]
${pooled ? '' : 'attention = frame_posteriors.sum(-1).clamp(min=1e-8)\nattention = attention / attention.sum()\n'}frame_posteriors[:, neutral] = (1 - frame_posteriors.sum(-1)).clamp(min=0)`;
}

function onnx(classifier: Head | undefined, samples: number): string {
  const regression = classifier?.task === 'regression';
  const outputs = regression
    ? 'outputs, frame_values, attention'
    : `logits, frame_posteriors, attention${classifier?.alignment === undefined ? '' : ', frame_logits'}`;
  const found = regression ? 'values = dict(zip(labels, outputs[0].tolist()))' : 'emotion = labels[logits[0].argmax()]';
  const results = classifier
    ? `${outputs} = session.run(None, {"input_values": samples[None]})\n${found}`
    : '(hidden,) = session.run(None, {"input_values": samples[None]})  # [1, frames, width]';
  const labels = classifier
    ? '\nlabels = json.loads(session.get_modelmeta().custom_metadata_map["emoframe"])["labels"]'
    : '';
  return `${classifier ? 'import json\n\n' : ''}import onnxruntime

session = onnxruntime.InferenceSession(f"{FOLDER}/model.onnx")${labels}
# samples: float32, 16 kHz mono, at least ${samples}
${results}`;
}

// How an exported model is used, in the code that a reader of its card can paste: for this format, architecture and pooling.
import type { PoolingName } from '../model/binding.js';
import type { CardFacts } from './cardFacts.js';

/** A section of the card. */
export function useSection({ format, architecture, head, clusters, geometry }: CardFacts): string {
  const classifier = head?.kind === 'classifier' ? head : undefined;
  if (format === 'onnx') return `## Use\n\n${fence('python', onnx(classifier !== undefined, geometry.receptiveField))}`;
  const emoframe = classifier
    ? `npx emoframe predict speech.wav --model FOLDER   # emotion, segments, every frame${clusters ? ' with its cluster' : ''}`
    : 'npx emoframe encode speech.wav --model FOLDER   # speech.npy, float32 [frames, width]';
  return `## Use\n\n${fence('sh', emoframe)}\n\nIn Python, with transformers:\n\n${fence(
    'python',
    classifier === undefined
      ? encoder
      : architecture === 'HubertForSequenceClassification'
        ? pipeline
        : byHand(classifier.pooling ?? 'attention'),
  )}`;
}

function fence(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

const encoder = `import torch
from transformers import AutoFeatureExtractor, HubertModel

extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
hubert = HubertModel.from_pretrained(FOLDER).eval()
inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")  # samples: one utterance, 16 kHz mono
with torch.no_grad():
    hidden = hubert(inputs.input_values).last_hidden_state[0]  # [frames, width]`;

const pipeline = `from transformers import pipeline

classify = pipeline("audio-classification", model=FOLDER)
emotions = classify(samples)  # 16 kHz mono samples, or the name of a file`;

/** The head is no part of transformers' HubertModel: a few lines compute it. */
function byHand(pooling: PoolingName): string {
  const scores: Record<PoolingName, string> = {
    mean: 'torch.zeros(len(hidden))',
    attention: 'torch.tanh(hidden @ head["pooling.weight"])',
    'attention-linear': 'hidden @ head["pooling.weight"]',
    stats: 'torch.relu(hidden @ head["pooling.weight"])',
  };
  const lines =
    pooling === 'stats'
      ? [
          'mean = attention @ hidden',
          'deviation = torch.sqrt(attention @ (hidden - mean) ** 2 + 1e-5)',
          'classify = lambda x: torch.cat([x, deviation.expand_as(x)], -1) @ head["classifier.weight"].T + head["classifier.bias"]',
          'logits = classify(mean)',
        ]
      : [
          'classify = lambda x: x @ head["classifier.weight"].T + head["classifier.bias"]',
          'logits = classify(attention @ hidden)',
        ];
  return `${encoder.replace('import torch', 'import json\n\nimport torch\nfrom safetensors.torch import load_file')}

head = load_file(f"{FOLDER}/head.safetensors")
labels = json.load(open(f"{FOLDER}/emoframe.json"))["labels"]
attention = torch.softmax(${scores[pooling]}, 0)  # [frames]
${lines.join('\n')}
emotion = labels[logits.argmax()]
frame_posteriors = torch.softmax(classify(hidden), -1)  # [frames, emotions]`;
}

function onnx(classifies: boolean, samples: number): string {
  const results = classifies
    ? 'logits, frame_posteriors, attention = session.run(None, {"input_values": samples[None]})\nemotion = labels[logits[0].argmax()]'
    : '(hidden,) = session.run(None, {"input_values": samples[None]})  # [1, frames, width]';
  const told = classifies
    ? '\nlabels = json.loads(session.get_modelmeta().custom_metadata_map["emoframe"])["labels"]'
    : '';
  return `${classifies ? 'import json\n\n' : ''}import onnxruntime

session = onnxruntime.InferenceSession(f"{FOLDER}/model.onnx")${told}
# samples: float32, 16 kHz mono, at least ${samples}
${results}`;
}

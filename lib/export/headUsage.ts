// The pooled head as Python code, for a model card: from `hidden` `[frames, width]` to outputs of the utterance and of its frames.
import type { ClassifierOptions, PoolingName } from '../model/binding.js';
import { deviationOf } from '../model/classifier.js';

/**
 * Defines `attention` `[frames]` and, of a regression, `outputs` and `frame_values`; else `logits` and `frame_posteriors`.
 *
 * @param decides whether frames have the head's outputs, as nothing else decides on them
 */
export function pooledHead(options: ClassifierOptions, decides: boolean): string {
  const regression = options.task === 'regression';
  return [
    ...input(options),
    `
def pool(x):  # [frames, width]
${pool(options.pooling)}

def decide(x):
${decide(options)}

pooled, attention = pool(hidden)
${regression ? 'outputs' : 'logits'} = decide(pooled)`,
    ...(decides ? [frames(options, regression)] : []),
  ].join('\n');
}

function input({ inputNorm, projector }: ClassifierOptions): string[] {
  return [
    ...(inputNorm === undefined
      ? []
      : [`hidden = F.layer_norm(hidden, hidden.shape${inputNorm === 'frame' ? '[-1:]' : ''})`]),
    ...(projector === undefined ? [] : [`hidden = ${linear('hidden', 'projector')}`]),
  ];
}

const linear = (x: string, name: string, bias = true) =>
  `F.linear(${x}, head["${name}.weight"]${bias ? `, head["${name}.bias"]` : ''})`;

const scores: Record<PoolingName, string> = {
  mean: 'torch.zeros(len(x))',
  sum: 'torch.zeros(len(x))',
  max: '',
  attention: 'torch.tanh(x @ head["pooling.weight"])',
  'attention-linear': 'x @ head["pooling.weight"]',
  stats: 'torch.relu(x @ head["pooling.weight"])',
  'attentive-stats': `torch.tanh(${linear('x', 'pooling.linear')}) @ head["pooling.weight"]`,
};

function pool(pooling: PoolingName): string {
  if (pooling === 'max')
    return `    attention = F.one_hot(x.argmax(0), len(x)).float().mean(0)
    return x.amax(0), attention`;
  const weights = `    attention = torch.softmax(${scores[pooling]}, 0)`;
  if (pooling === 'sum') return `${weights}\n    return x.sum(0), attention`;
  const deviation = deviationOf(pooling);
  if (deviation === undefined) return `${weights}\n    return attention @ x, attention`;
  return `${weights}
    mean = attention @ x
    variance = attention @ (x - mean) ** 2
    return torch.cat([mean, torch.sqrt(variance${deviation === 'added' ? ' + 1e-5' : '.clamp(min=1e-5)'})]), attention`;
}

function decide({ dense = [], bias = true }: ClassifierOptions): string {
  const layers = dense.flatMap(({ norm, activation }, i) => [
    `    x = ${linear('x', `dense.${i}`)}`,
    ...(norm
      ? [`    x = F.layer_norm(x, x.shape[-1:], head["dense.${i}.norm.weight"], head["dense.${i}.norm.bias"])`]
      : []),
    ...(activation === 'none' ? [] : [`    x = torch.${activation}(x)`]),
  ]);
  return [...layers, `    return ${linear('x', 'classifier', bias)}`].join('\n');
}

function frames({ pooling, frames: around }: ClassifierOptions, regression: boolean): string {
  const result = (of: string) =>
    regression
      ? `frame_values = ${of}  # [frames, dimensions]`
      : `frame_posteriors = torch.softmax(${of}, -1)  # [frames, emotions]`;
  if (around === undefined && pooling === 'stats')
    return `deviation = pooled[hidden.shape[1] :].expand_as(hidden)
${result('decide(torch.cat([hidden, deviation], -1))')}`;
  if (around === undefined) return result('decide(hidden)');
  const { window, hop } = around;
  const half = Math.floor(window / 2);
  return `
# A frame has the outputs for the ${window} frames around the nearest of every ${hop}th.
middles = range(0, len(hidden), ${hop})
windows = [decide(pool(hidden[max(m - ${half}, 0) : m + ${window - half}])[0]) for m in middles]
nearest = ((torch.arange(len(hidden)) + ${Math.floor((hop - 1) / 2)}) // ${hop}).clamp(max=len(windows) - 1)
${result('torch.stack(windows)[nearest]')}`;
}

// README.md of an exported model, as the Hub reads it: front matter for its pages and search, then text for people. What is
// not known is left out; what only the publisher knows, such as the licence, has to be given.

import { stringify } from 'yaml';
import type { Head } from '../checkpoint/head.js';
import { given } from '../given.js';
import { asJson, oneLine } from '../quote.js';
import type { Scores } from '../run/scores.js';
import { stageNamed } from '../run/stages.js';
import { packageVersion } from '../version.js';
import type { CardFacts } from './cardFacts.js';
import { readsClassifier } from './families.js';
import { headSentences } from './headCard.js';
import { code, plain, table } from './markdown.js';
import type { PartOfCorpus, RunRecord } from './runRecord.js';
import { timelineSection } from './timelineCard.js';
import { useSection } from './usage.js';
import { valueScoresSection } from './valueScores.js';

/** The card's text. */
export function modelCard(facts: CardFacts): string {
  const { head, record } = facts;
  const sections = [
    `# ${plain(facts.name)}`,
    about(facts),
    head?.kind === 'classifier' ? outputs(head) : '',
    timelineSection(facts),
    useSection(facts),
    ...(record ? [data(record), valueScoresSection(record) ?? metrics(record), settings(record)] : [unknownOrigin]),
    limits(facts),
  ];
  return `---\n${stringify(frontMatter(facts))}---\n\n${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

function frontMatter(facts: CardFacts): Record<string, unknown> {
  const { head, record, license, format, architecture, family } = facts;
  const { startedFrom } = record ?? {};
  const baseModel = facts.baseModel ?? (startedFrom?.onHub ? startedFrom.name : undefined);
  const classifies = head?.kind === 'classifier';
  const inTransformers =
    format === 'hf' && (!classifies || (architecture !== undefined && readsClassifier(architecture)));
  return {
    library_name: format === 'onnx' ? 'onnx' : inTransformers ? 'transformers' : 'emoframe',
    pipeline_tag: classifies ? 'audio-classification' : 'feature-extraction',
    ...given({ license: shown(license), base_model: shown(baseModel) }),
    tags: ['emoframe', family.type, 'speech', ...(classifies ? ['speech-emotion-recognition'] : [])],
    ...(record?.scores && {
      metrics: ['accuracy', 'recall', 'f1'],
      'model-index': [{ name: shown(facts.name), results: [result(record, record.scores)] }],
    }),
  };
}

/** Text of the front matter, whose other characters YAML takes care of. */
function shown<Text extends string | undefined>(text: Text): Text {
  return (text === undefined ? text : oneLine(text)) as Text;
}

/** Metrics have the Hub's names: unweighted accuracy is its recall, averaged over classes. */
function result(record: RunRecord, scores: Scores): Record<string, unknown> {
  const metric = (type: string, name: string, value: number | null | undefined) =>
    typeof value === 'number' ? [{ type, name, value: Number(value.toFixed(4)) }] : [];
  const corpus = oneLine(record.corpus);
  return {
    task: { type: 'audio-classification', name: 'Speech emotion recognition' },
    dataset: { type: corpus, name: corpus, split: `fold ${oneLine(record.fold)}, held out` },
    metrics: [
      ...metric('accuracy', 'WA', scores.wa),
      ...metric('recall', 'UA', scores.ua),
      ...metric('f1', 'Macro-F1', scores.macroF1),
      ...metric('accuracy', 'Frame accuracy', scores.frameAccuracy),
      ...metric('eder', 'EDER', scores.eder),
      ...metric('lift', 'Lift', scores.lift),
    ],
  };
}

function outputs({ task, labels }: Head): string {
  return `${task === 'regression' ? 'Dimensions' : 'Emotions'}, in the order of the outputs: ${labels.map(code).join(', ')}.`;
}

function about(facts: CardFacts): string {
  const { family, head, layers, hiddenSize, parameters, geometry, record } = facts;
  const hop = `${1000 * geometry.frameSeconds} ms`;
  const predicted = head?.task === 'regression' ? head.labels.map(plain).join(', ') : 'the emotion';
  const what =
    head?.kind === 'classifier'
      ? `predicts ${predicted} of an utterance and of each of its frames, one every ${hop}`
      : `computes hidden states of speech, one every ${hop}`;
  const count = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 }).format(parameters);
  const size = `${layers} layers of width ${hiddenSize}, ${count} parameters`;
  const objective =
    record?.stage === 'align' || record?.stage === 'timeline' ? record.config.align?.objective : undefined;
  const trained =
    record === undefined
      ? ''
      : ` It was trained by emoframe ${plain(record.emoframe)}${objective === undefined ? '' : `, objective ${code(objective)}`} (${stageNamed(record.stage).title}).`;
  const article = /^[aeiou]/.test(family.name) ? 'An' : 'A';
  return `${article} ${family.name} (${size}) that ${what}.${trained}${headSentences(head)} Input is 16 kHz mono audio of at least ${geometry.receptiveField} samples. ${input(facts)}${left(facts)}`;
}

/** How audio is brought to the model, and by whom. */
function input({ normalize, format }: CardFacts): string {
  if (normalize === false) return 'Samples are not normalised.';
  const inGraph = format === 'onnx';
  if (typeof normalize === 'object' && 'mean' in normalize)
    return `${inGraph ? 'The graph itself makes' : 'The model expects'} (x − ${normalize.mean}) · ${normalize.scale} of each sample x.`;
  const epsilon = normalize === true ? '' : `, with ${normalize.epsilon} added to the variance`;
  return inGraph
    ? `The graph itself normalises each utterance to zero mean and unit variance${epsilon}.`
    : `Each utterance is first normalised to zero mean and unit variance${epsilon}, as \`preprocessor_config.json\` says.`;
}

/** So many names of tensors are listed, and the rest are counted. */
const listed = 8;

function left({ ignored }: CardFacts): string {
  if (ignored.length === 0) return '';
  const names = ignored.slice(0, listed).map(code).join(', ');
  const more = ignored.length > listed ? ` and ${ignored.length - listed} more` : '';
  return ` Tensors of the checkpoint that are not part of this export: ${names}${more}.`;
}

const unknownOrigin = `## Training

The model was exported without a record of its training, so its data and scores are not known.`;

function data(record: RunRecord): string {
  const { corpus, dataset, labelScheme, fold, train, validation, test, sharedSpeakers, startedFrom, config } = record;
  const labels = [...new Set([train, validation, test].flatMap((part) => [...part.labels.keys()]))].sort();
  const row = (name: string, part: PartOfCorpus) => [
    name,
    part.utterances,
    part.speakers === 0 ? 'unknown' : part.speakers,
    ...labels.map((label) => part.labels.get(label) ?? 0),
  ];
  const from =
    startedFrom === null ? 'Training started from random weights.' : `Training started from ${code(startedFrom.name)}.`;
  const protocol =
    config.protocol === 'transductive'
      ? 'The audio of the held-out part, without its labels, was used in pretraining (transductive).'
      : 'No part of the held-out data was used in training, not even its audio (inductive).';
  const shared =
    sharedSpeakers === 0
      ? ''
      : ` Of the ${test.speakers} speakers of the held-out part, ${sharedSpeakers} were also in training.`;
  const kind = [
    ...(dataset === undefined ? [] : [`the layout of ${code(dataset)}`]),
    ...(labelScheme === undefined ? [] : [`labels ${code(labelScheme)}`]),
  ];
  const named = `${code(corpus)}${kind.length === 0 ? '' : ` (${kind.join(', ')})`}`;
  return [
    `## Data\n\nCorpus ${named}, fold ${code(fold)} of ${code(config.folds.scheme)} folds. ${from} ${protocol}${shared}`,
    table(
      ['part', 'utterances', 'speakers', ...labels.map(code)],
      [row('training', train), row('validation', validation), row('held out', test)],
    ),
  ].join('\n\n');
}

function metrics({ scores, overall, fold }: RunRecord): string {
  if (scores === undefined) return '## Results\n\nThe run has not evaluated this model.';
  const digits = (value: number | null | undefined) => (typeof value === 'number' ? value.toFixed(3) : 'unknown');
  const withInterval = (name: 'wa' | 'ua' | 'macroF1') => {
    if (overall === undefined) return '';
    const [low, high] = overall.intervals[name];
    return plain(`${digits(overall[name])} [${digits(low)}, ${digits(high)}]`);
  };
  const rows: [string, string, string][] = [
    ['WA (accuracy)', digits(scores.wa), withInterval('wa')],
    ['UA (mean recall of the emotions)', digits(scores.ua), withInterval('ua')],
    ['Macro-F1', digits(scores.macroF1), withInterval('macroF1')],
    ['Frame accuracy', digits(scores.frameAccuracy), digits(overall?.frameAccuracy)],
    ['Frame UA', digits(scores.frameUa), digits(overall?.frameUa)],
    ['EDER (less is better)', digits(scores.eder), digits(overall?.eder)],
    [
      'Share of the emotional posterior on emotional frames',
      digits(scores.posteriorOnEmotion),
      digits(overall?.posteriorOnEmotion),
    ],
    ['Lift: that share over the frames’ share of time', digits(scores.lift), digits(overall?.lift)],
  ];
  const heads = ['', `this model, ${scores.utterances} utterances of fold ${code(fold)}`];
  if (overall === undefined) {
    return `## Results\n\n${table(
      heads,
      rows.map(([name, own]) => [name, own]),
    )}`;
  }
  const folds = overall.folds === 1 ? 'the one evaluated fold' : `all ${overall.folds} evaluated folds`;
  const all = `${folds}, ${overall.utterances} utterances`;
  return `## Results\n\n${table([...heads, all], rows)}\n\nEach fold has its own model; the last column describes the method. Intervals are 95 % bootstrap intervals over utterances.`;
}

function settings({ config }: RunRecord): string {
  const json = asJson(config, 2);
  return `## Settings\n\n<details><summary>Every setting of the run</summary>\n\n\`\`\`json\n${json}\n\`\`\`\n\n</details>`;
}

function limits({ head }: CardFacts): string {
  if (head?.kind !== 'classifier') return `Exported by emoframe ${packageVersion()}.`;
  return `## Limits

The model has learnt what the labels of its corpus call emotion, in the voices, language and recording conditions of that corpus; elsewhere it has to be evaluated again. How a voice sounds is not what a person feels: do not use it to make decisions about people.

Exported by emoframe ${packageVersion()}.`;
}

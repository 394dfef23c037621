// Public models of speech emotion, by the form in which their heads are published: what `emoframe models` lists. Licences are those that
// their pages on the Hub state.

import type { Form } from '../checkpoint/forms/form.js';

/** A model on the Hub. */
export interface PublicModel {
  /** OWNER/NAME */
  readonly name: string;
  readonly encoder: string;
  /** What its predictions are. */
  readonly gives: string;
  readonly language: string;
  readonly licence: string;
}

/** Models whose heads are published in one form. */
export interface PublicModelForm {
  /** As `emoframe model` has it of a model. */
  readonly form: Form;
  /** Where it comes from. */
  readonly title: string;
  /** What the head does. */
  readonly head: string;
  /** What `--head` must say, where the form is read only when it is asked for. */
  readonly option?: 'ctc-mean';
  readonly models: readonly PublicModel[];
}

const dimensions = 'values: arousal, dominance, valence';

export const publicModelForms: readonly PublicModelForm[] = [
  {
    form: 'sequence-classification',
    title: "transformers' HubertForSequenceClassification, Wav2Vec2For… and WavLMFor…",
    head: 'last state or learned sum over layers → projector → mean → linear',
    models: [
      {
        name: 'superb/hubert-large-superb-er',
        encoder: 'HuBERT large',
        gives: '4 emotions (IEMOCAP)',
        language: 'English',
        licence: 'Apache-2.0',
      },
      {
        name: 'superb/hubert-base-superb-er',
        encoder: 'HuBERT base',
        gives: '4 emotions (IEMOCAP)',
        language: 'English',
        licence: 'Apache-2.0',
      },
      {
        name: 'firdhokk/speech-emotion-recognition-with-facebook-wav2vec2-large-xlsr-53',
        encoder: 'wav2vec 2.0 large',
        gives: '7 emotions',
        language: 'English',
        licence: 'Apache-2.0',
      },
      {
        name: 'Aniemore/wavlm-emotion-russian-resd',
        encoder: 'WavLM large',
        gives: '7 emotions (RESD)',
        language: 'Russian',
        licence: 'none stated',
      },
    ],
  },
  {
    form: 'speech-classification',
    title: 'a dense layer after pooling, as in the scripts of audeering and m3hrdadfi',
    head: 'mean, sum or max → dense → tanh → linear',
    models: [
      {
        name: 'audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim',
        encoder: 'wav2vec 2.0 large, 12 layers',
        gives: dimensions,
        language: 'English',
        licence: 'CC-BY-NC-SA-4.0: not for commercial use',
      },
      {
        name: 'ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition',
        encoder: 'wav2vec 2.0 large',
        gives: '8 emotions (RAVDESS)',
        language: 'English',
        licence: 'Apache-2.0',
      },
    ],
  },
  {
    form: 'odyssey',
    title: 'the baselines of the Odyssey 2024 challenge',
    head: 'attentive statistics → dense → LayerNorm → ReLU → linear',
    models: [
      {
        name: '3loi/SER-Odyssey-Baseline-WavLM-Categorical',
        encoder: 'WavLM large',
        gives: '8 emotions (MSP-Podcast)',
        language: 'English',
        licence: 'MIT',
      },
      {
        name: '3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes',
        encoder: 'WavLM large',
        gives: dimensions,
        language: 'English',
        licence: 'MIT',
      },
    ],
  },
  {
    form: 'emotion2vec',
    title: "FunASR's emotion2vec+",
    head: 'mean → linear',
    models: [
      ...['large', 'base', 'seed'].map((size) => ({
        name: `emotion2vec/emotion2vec_plus_${size}`,
        encoder: 'emotion2vec (data2vec 2.0)',
        gives: '9 emotions',
        language: 'several',
        licence: 'its own (model-license)',
      })),
    ],
  },
  {
    form: 'speechbrain',
    title: "SpeechBrain's recipe for IEMOCAP",
    head: 'LayerNorm → mean → linear without bias',
    models: [
      {
        name: 'speechbrain/emotion-recognition-wav2vec2-IEMOCAP',
        encoder: 'wav2vec 2.0 base',
        gives: '4 emotions (IEMOCAP)',
        language: 'English',
        licence: 'Apache-2.0',
      },
    ],
  },
  {
    form: 'ctc-mean',
    title: 'a speech recogniser that was trained to classify: only when --head ctc-mean asks for it',
    head: 'linear → mean',
    option: 'ctc-mean',
    models: [
      {
        name: 'r-f/wav2vec-english-speech-emotion-recognition',
        encoder: 'wav2vec 2.0 large',
        gives: '7 emotions',
        language: 'English',
        licence: 'Apache-2.0',
      },
    ],
  },
];

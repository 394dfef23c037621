// What a form of public model is: a file here knows the names and shapes of its head, and makes of them the one head of this package.
import { EmoframeError } from '../../errors.js';
import type { HubertShape } from '../../model/binding.js';
import type { StoredTensor, Tensor } from '../../model/tensor.js';
import { checkFinite } from '../finite.js';
import type { Head } from '../head.js';
import type { LayoutName } from '../layouts.js';

/**
 * In which form a checkpoint's head was published:
 *
 * - `emoframe`: a predictor of this package, with `emoframe.json`;
 * - `sequence-classification`: transformers' `HubertForSequenceClassification` and its likes for wav2vec 2.0 and WavLM;
 * - `speech-classification`: a dense layer after pooling, as in audeering's and m3hrdadfi's models;
 * - `odyssey`: attentive statistics, as in the baselines of the Odyssey 2024 challenge;
 * - `emotion2vec`: emotion2vec's linear layer, with the labels of `tokens.txt`;
 * - `speechbrain`: speechbrain's linear layer, with the labels of `label_encoder.txt`;
 * - `ctc-mean`: a head of speech recognition taken as a classifier, because it was asked for;
 * - `hflea`: the classifier of HFLEA's script;
 * - `encoder`: no head, or none that was asked for.
 */
export type Form =
  | 'emoframe'
  | 'sequence-classification'
  | 'speech-classification'
  | 'odyssey'
  | 'emotion2vec'
  | 'speechbrain'
  | 'ctc-mean'
  | 'hflea'
  | 'encoder';

/** How a checkpoint is read. */
export interface ReadingOptions {
  /**
   * `ctc-mean`: the head of a speech recogniser (`lm_head`) is a classifier of the mean over frames, as some publish them; only the
   * publisher knows whether it is. `none`: the encoder alone; whatever head there is stays unread. Default: the head by its own form.
   */
  head?: 'ctc-mean' | 'none';
}

/** A checkpoint without its encoder: what a form makes its head of. */
export interface HeadSource {
  /** What is not the encoder's, by the names in the file. */
  tensors: readonly StoredTensor[];
  /** `config.json`, or what stands for it. */
  config: Record<string, unknown>;
  shape: Pick<HubertShape, 'hiddenSize' | 'layers'>;
  layout: LayoutName;
  /** The file of the weights, and the directory that it lies in. */
  file: string;
  directory: string;
}

/** One way in which heads are published. */
export interface PublicForm {
  form: Form;
  /** What it is, in a message. */
  title: string;
  /** Whether a tensor's name is one of its head. */
  owns(name: string, source: HeadSource): boolean;
  /** @throws EmoframeError `ERR_HEAD`, `ERR_TENSOR`, `ERR_NOT_FINITE`, and as reading */
  read(reader: HeadReader): Promise<Omit<Head, 'kind' | 'tensors'>>;
}

/** Reads the tensors of a head, each under our name and of the shape that it must have. */
export class HeadReader {
  /** Those that were read, by our names. */
  readonly tensors: Tensor[] = [];
  readonly #stored: ReadonlyMap<string, StoredTensor>;
  readonly #taken = new Set<string>();

  constructor(
    readonly source: HeadSource,
    private readonly title: string,
  ) {
    this.#stored = new Map(source.tensors.map((tensor) => [tensor.name, tensor]));
  }

  has(name: string): boolean {
    return this.#stored.has(name);
  }

  /** A tensor's shape. Errors: `ERR_HEAD` when there is none of that name. */
  shapeOf(name: string): readonly number[] {
    return this.#find(name).shape;
  }

  /** A tensor's length along its first axis: the outputs of a linear layer. Errors: `ERR_HEAD`. */
  rows(name: string): number {
    return this.shapeOf(name)[0] ?? 0;
  }

  /**
   * Reads a tensor of `shape`, which our head has under another name.
   *
   * @param ours its shape in our head, where that is another one of as many values
   */
  async take(name: string, as: { name: string; shape?: number[] }, shape: number[]): Promise<void> {
    const found = this.#find(name);
    const { file } = this.source;
    if (found.shape.join() !== shape.join()) {
      throw new EmoframeError(
        'ERR_TENSOR',
        `Tensor ${name} in ${file} has shape [${found.shape.join(', ')}] where ${this.title} over this encoder has [${shape.join(', ')}]: they do not belong together.`,
        { file, tensor: name },
      );
    }
    const tensor = { name: as.name, shape: as.shape ?? shape, data: await found.read() };
    await checkFinite([{ ...tensor, name }], file, file);
    this.tensors.push(tensor);
    this.#taken.add(name);
  }

  /** Reads the weight [output, input] and the bias of a linear layer. */
  async linear(name: string, as: string, output: number, input: number): Promise<void> {
    await this.take(`${name}.weight`, { name: `${as}.weight` }, [output, input]);
    await this.take(`${name}.bias`, { name: `${as}.bias` }, [output]);
  }

  /** Names that were not read. */
  left(): string[] {
    return [...this.#stored.keys()].filter((name) => !this.#taken.has(name));
  }

  /** Errors `ERR_HEAD` of a head that is this form's, but cannot be done. */
  refuse(why: string, tensor?: string): EmoframeError {
    const { file } = this.source;
    return new EmoframeError('ERR_HEAD', `${file} holds ${this.title}, but ${why}.`, { file, tensor });
  }

  #find(name: string): StoredTensor {
    const found = this.#stored.get(name);
    if (found !== undefined) return found;
    throw this.refuse(
      `tensor ${name} of it is missing: a head that is not whole cannot predict; get the complete checkpoint`,
      name,
    );
  }
}

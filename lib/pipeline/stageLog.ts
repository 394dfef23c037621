// What a stage reports: rows of the run's log, curves for TensorBoard, progress and warnings for the caller. A resumed stage
// reports the updates after its training state again, so their rows and points are removed first.
import { given } from '../given.js';
import type { JsonlLog } from '../log/jsonl.js';
import { TensorBoardLog } from '../log/tensorboard.js';
import { printable } from '../quote.js';
import type { Metrics, StageReport } from '../stages/context.js';
import { emitWarning } from '../warning.js';
import type { StageCallOptions, StageName } from './options.js';

export class StageLog implements StageReport {
  #board: TensorBoardLog | undefined;

  /**
   * @param boardDirectory of this stage alone: taking points back there must not touch another stage's.
   * @param keepLock sees before anything is saved that the run is still this process's alone.
   */
  constructor(
    private readonly where: { fold: string; stage: StageName },
    private readonly rows: JsonlLog,
    private readonly boardDirectory: string,
    private readonly options: Pick<StageCallOptions, 'onProgress' | 'onWarning'>,
    private readonly keepLock: () => void,
  ) {}

  readonly log = (step: number, total: number, metrics: Metrics): void => {
    this.rows.write({ time: new Date().toISOString(), ...this.where, step, total, ...metrics });
    this.#board ??= TensorBoardLog.open(this.boardDirectory);
    for (const [name, value] of Object.entries(metrics)) this.#board.scalar(`${this.where.stage}/${name}`, step, value);
  };

  readonly progress = (done: number, total: number, message?: string, metrics?: Metrics): void => {
    this.options.onProgress?.({ ...this.where, done, total, ...given({ message, metrics }) });
  };

  readonly continueFrom = async (step: number): Promise<void> => {
    const { fold, stage } = this.where;
    await this.rows.retain((row) => row.fold !== fold || row.stage !== stage || !(Number(row.step) > step));
    await this.#board?.close();
    this.#board = TensorBoardLog.open(this.boardDirectory, { firstStep: step + 1 });
  };

  readonly sync = async (): Promise<void> => {
    this.keepLock();
    await this.rows.sync();
    await this.#board?.sync();
  };

  readonly note = async (message: string, name: string, numbers: Metrics): Promise<void> => {
    this.progress(0, 0, message);
    const { fold, stage } = this.where;
    let noted = false;
    await this.rows.retain((row) => {
      noted ||= row.fold === fold && row.stage === stage && row[name] !== undefined;
      return true;
    });
    if (!noted) this.rows.write({ time: new Date().toISOString(), ...this.where, [name]: numbers });
  };

  readonly warn = (words: string): void => {
    // Names of files and labels are in it, and who is given it may well print it.
    const message = printable(words);
    this.rows.write({ time: new Date().toISOString(), ...this.where, warning: message });
    const { onWarning } = this.options;
    if (onWarning) onWarning({ ...this.where, message });
    else emitWarning(message);
  };

  async close(): Promise<void> {
    await this.#board?.close();
  }
}

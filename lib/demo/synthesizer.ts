import { EmoframeError } from '../errors.js';

/** The parts of `@echogarden/espeak-ng-emscripten` used here; the package has no types. */
interface EspeakWorker {
  set_voice(identifier: string): number;
  set_pitch(value: number): void;
  set_range(value: number): void;
  set_rate(wordsPerMinute: number): void;
  set_volume(value: number): void;
  get_samplerate(): number;
  synthesize(text: string, onAudio: (audio: Int16Array | null, events: unknown[]) => boolean): void;
}
interface EspeakModule {
  eSpeakNGWorker: new () => EspeakWorker;
}

const PACKAGE = '@echogarden/espeak-ng-emscripten';

export interface Speech {
  /** Pitch setting, 0 to 99. */
  pitch: number;
  range: number;
  /** Words a minute. */
  rate: number;
}

/**
 * eSpeak NG compiled to WebAssembly, for one voice. It is a development dependency (GPL-3), loaded only when a corpus is
 * made. Its noise source carries over from phrase to phrase, so the same bits require the same sequence of phrases.
 */
export class Synthesizer {
  private constructor(
    private readonly worker: EspeakWorker,
    readonly sampleRate: number,
  ) {}

  /** Call this on a separate thread: it stops the clock while eSpeak starts, which seeds its noise with the time. */
  static async create(voice: string): Promise<Synthesizer> {
    let start: () => Promise<EspeakModule>;
    try {
      start = ((await import(PACKAGE)) as { default: () => Promise<EspeakModule> }).default;
    } catch (cause) {
      throw new EmoframeError(
        'ERR_DEMO',
        `The demo corpus is spoken by eSpeak NG, which is not installed. Install it with: npm install --no-save ${PACKAGE}`,
        { cause },
      );
    }
    const now = Date.now;
    Date.now = () => 0;
    try {
      const module = await start();
      const worker = new module.eSpeakNGWorker();
      if (worker.set_voice(voice) !== 0) {
        throw new EmoframeError(
          'ERR_DEMO',
          `eSpeak NG does not know the voice ${voice}. Update ${PACKAGE} to 0.3.5 or later.`,
        );
      }
      worker.set_volume(50); // at 100 some voices clip
      return new Synthesizer(worker, worker.get_samplerate());
    } finally {
      Date.now = now;
    }
  }

  /** Samples in [-1, 1] at `sampleRate`, silence at both ends included. */
  speak(text: string, speech: Speech): Float32Array {
    this.worker.set_pitch(Math.round(Math.min(99, Math.max(0, speech.pitch))));
    this.worker.set_range(Math.round(Math.max(0, speech.range)));
    this.worker.set_rate(Math.round(speech.rate));
    const chunks: Int16Array[] = [];
    let length = 0;
    this.worker.synthesize(text, (audio) => {
      if (audio !== null && audio.length > 0) {
        chunks.push(audio);
        length += audio.length;
      }
      return false;
    });
    const samples = new Float32Array(length);
    let at = 0;
    for (const chunk of chunks) {
      for (const value of chunk) samples[at++] = value / 32768;
    }
    return samples;
  }
}

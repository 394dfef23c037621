// Stage 4, second part: when. A network whose input is each frame's neighbourhood alone is trained by forward-backward: an
// utterance of an emotion is neutral frames and at least one island of that emotion, and its label is all that is known. The
// model under it stays as it is, so that one model answers both questions: which emotion, and when.
import type { AlignmentSettings } from '../model/alignment.js';
import type { Geometry } from '../model/geometry.js';
import { withConcatenations } from './concatenation.js';
import type { StageContext } from './context.js';
import { frameLabeller } from './frameLabels.js';
import { Inputs } from './inputs.js';
import { inputStatistics, soundStatistics } from './localStatistics.js';
import { loadWithAlignment } from './models.js';
import { trainOnUtterances } from './utteranceTraining.js';
import { validate } from './validation.js';

/** Runs the stage and leaves its model, with the heads of all that it says, in `timeline/model`. */
export async function timeline(context: StageContext): Promise<void> {
  const { objective, network } = context.config.align;
  const extended = await withConcatenations(context);
  const startDir = context.paths.stage(objective === 'both' ? 'align' : 'pretrain').model;
  const stage = await loadWithAlignment(context, startDir, (geometry, layers) =>
    networkOf(context, geometry, layers, network.scale),
  );
  const { model, alignment, pooled } = stage;
  const statistics = await soundStatistics(context, model);
  await model.importTensors(await inputStatistics(context, model, statistics), { allowMissing: true });
  const frameLabels = frameLabeller(extended, model.geometry);
  // A frame's evidence counts more in the model that is kept than it does in training.
  const kept = { ...alignment, scale: network.decodingScale, statistics };
  await trainOnUtterances(extended, {
    settings: network,
    stage,
    objective: 'alignment',
    frozen: model.tensors().flatMap(({ name }) => (name.startsWith('alignment.') ? [] : name)),
    statistics,
    ...(frameLabels !== undefined && { frameLabels }),
    head: { kind: 'classifier', labels: [...context.labels], ...pooled, alignment: kept },
    validateKept: async (weights, items, maxFrames) => {
      const validated = await loadWithAlignment(context, startDir, () => kept);
      try {
        await validated.model.importTensors(weights);
        const options = { trainFeatureEncoder: false, stored: false, firstFrames: maxFrames };
        const own = new Inputs(context, validated, items, options);
        const local = new Inputs(context, validated, items, { ...options, statistics });
        return await validate(context, validated.model.geometry, items, maxFrames, async (draws) => {
          const aligned = await validated.model.classify(await local.pack(draws), undefined, 'alignment');
          const ofAlignment = { alignment: aligned.alignment!.logits };
          if (pooled === undefined) return ofAlignment;
          const { logits } = await validated.model.classify(await own.pack(draws), undefined, 'classifier');
          return { classifier: logits, ...ofAlignment };
        });
      } finally {
        validated.model.dispose();
      }
    },
  });
}

function networkOf(
  { config: { align }, labels, neutral }: StageContext,
  { frameSeconds }: Geometry,
  layers: number,
  scale: number,
): AlignmentSettings {
  const { source, melBands, layer, chunkSeconds, contextSeconds, fieldSeconds, blocks, width, dropout, switchingCost } =
    align.network;
  const framesOf = (seconds: number) => Math.round(seconds / frameSeconds);
  const field = framesOf(fieldSeconds);
  return {
    neutral: labels.indexOf(neutral),
    source,
    melBands,
    layer: Math.min(layer, layers),
    chunkFrames: framesOf(chunkSeconds),
    contextFrames: framesOf(contextSeconds),
    width,
    // Shared as evenly as can be.
    halfWidths: Array.from({ length: blocks }, (_, block) => Math.floor((field + blocks - 1 - block) / blocks)),
    dropout,
    scale,
    switchingCost,
  };
}

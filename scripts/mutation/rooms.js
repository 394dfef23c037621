/** The build of native programs and of the addon, and what must notice a mistake in them. */
const programs = { targets: ['op_table', 'native_tests'] };

/**
 * The rooms that are mutated: `sources` are folders. Of lib, `tests` is a regular expression over paths below test/: tried are those
 * files that reach the mutant. Of native, `tests` are commands, tried in this order after `targets` are built.
 */
export const rooms = {
  pipeline: { sources: ['lib/pipeline', 'lib/stages', 'lib/training'], tests: '^(pipeline|stages|training)/' },
  checkpoint: { sources: ['lib/checkpoint'], tests: '^(checkpoint/|predict/forms|model/families)' },
  audio: { sources: ['lib/audio'], tests: '^audio/' },
  model: {
    sources: ['lib/model'],
    tests:
      '^(model/|package/(threads|failures)|stages/(clusters|local-statistics|memory)|checkpoint/(model-mismatch|not-finite)|predict/(alignment-head|emotion-model\\.alignment))',
  },
  evaluate: { sources: ['lib/evaluate'], tests: '^(evaluate/|predict/emotion-model\\.alignment)' },
  'native/cpu': { ...programs, sources: ['native/cpu'], tests: [['build/op_table'], ['build/native_tests']] },
  'native/model': { ...programs, sources: ['native/model', 'native/cluster'], tests: [['build/native_tests']] },
  'native/addon': {
    targets: ['emoframe'],
    sources: ['native/addon'],
    tests: [['node', 'node_modules/uvu/bin.js', 'test', '^(model|package)/.*\\.test\\.js$']],
  },
};

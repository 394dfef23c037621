/** What is built of native, and what it says of a test that fails. A case is over in a second or two, or will not end. */
const programs = {
  targets: ['op_table', 'native_tests'],
  programs: ['build/op_table', 'build/native_tests'],
  failure: 'FAIL ',
};
const [opTable, nativeTests] = programs.programs.map((program) => [program, '--limit', '60']);

/**
 * The rooms that are mutated: `sources` are folders. Of lib, `tests` is a regular expression over paths below test/: tried are those
 * files that reach the mutant. Of native, `tests` are commands that are tried after `targets` are built, which are the `programs`;
 * `failure` is what they write of a test that failed.
 */
export const rooms = {
  pipeline: {
    sources: ['lib/pipeline', 'lib/stages', 'lib/training'],
    tests: '^((pipeline|stages|training)/|cli/hostile-names)',
  },
  checkpoint: { sources: ['lib/checkpoint'], tests: '^(checkpoint/|predict/forms|model/families)' },
  audio: { sources: ['lib/audio'], tests: '^audio/' },
  model: {
    sources: ['lib/model'],
    tests:
      '^(model/|package/(threads|failures|lifetime)|stages/(clusters|local-statistics|memory)|checkpoint/(model-mismatch|not-finite|pretrained)|predict/(alignment-head|emotion-model\\.alignment))',
  },
  evaluate: { sources: ['lib/evaluate'], tests: '^(evaluate/|predict/emotion-model\\.alignment)' },
  'native/cpu': { ...programs, sources: ['native/cpu'], tests: [nativeTests, opTable] },
  'native/model': { ...programs, sources: ['native/model', 'native/cluster'], tests: [nativeTests] },
  'native/addon': {
    targets: ['emoframe'],
    programs: ['build/Release/emoframe.node'],
    failure: '✘',
    sources: ['native/addon'],
    tests: [
      [
        'node',
        'node_modules/uvu/bin.js',
        'test',
        '^package/(addon|caller-memory|failures|lifetime|memory-limit|threads)',
      ],
      ['node', 'node_modules/uvu/bin.js', 'test', '^model/'],
    ],
  },
};

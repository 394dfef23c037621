// Command-line options that every benchmark has, and its own beside them.
import { parseArgs } from 'node:util';

const shared = {
  python: { type: 'string' },
  threads: { type: 'string', default: '2' },
  warmups: { type: 'string', default: '2' },
  seed: { type: 'string', default: '1' },
  only: { type: 'string' },
  variants: { type: 'boolean', default: false },
  folder: { type: 'string' },
  gate: { type: 'string' },
  json: { type: 'string' },
  help: { type: 'boolean', default: false },
};

const sharedHelp = (
  runs,
) => `  --python FILE    Python with the peers of bench/requirements.txt; without it they are left out
  --threads N      threads of every contender (2)
  --runs N         timed runs of every contender (${runs})
  --warmups N      runs before them, not timed (2)
  --seed N         of weights and inputs (1)
  --only WORDS     only contenders whose name contains one of these, separated by commas;
                   a+!b: that has a and not b
  --variants       also further ways of running a peer, which take long or promise less
  --folder DIR     keep models and graphs here for the next time; otherwise a temporary folder is used
  --gate FILE      after loading and warming up write FILE.ready, and time nothing before FILE is there
  --json FILE      write everything that was measured here`;

/**
 * @param {string} summary what is measured, for --help
 * @param {Record<string, { default: number | false, help: string }>} own options of this benchmark: numbers and switches
 * @param {{ runs?: number, onDevice?: boolean }} particulars another default of `--runs`; whether it takes a `--device`
 */
export function readOptions(summary, own = {}, { runs = 7, onDevice = false } = {}) {
  const options = { ...shared, runs: { type: 'string', default: String(runs) } };
  if (onDevice) options.device = { type: 'string', default: 'cpu' };
  for (const [name, { default: value }] of Object.entries(own))
    options[name] = value === false ? { type: 'boolean', default: false } : { type: 'string', default: String(value) };
  const { values } = parseArgs({ options });
  if (values.help) {
    const lines = Object.entries(own).map(([name, { default: value, help }]) =>
      value === false ? `  ${`--${name}`.padEnd(16)} ${help}` : `  ${`--${name} N`.padEnd(16)} ${help} (${value})`,
    );
    if (onDevice) lines.push('  --device NAME    cpu or cuda:N, for emoframe and PyTorch (cpu)');
    console.log([summary, '', ...lines, sharedHelp(runs)].join('\n'));
    process.exit(0);
  }
  values.device ??= 'cpu';
  const numbers = Object.keys(own).filter((name) => own[name].default !== false);
  for (const name of ['threads', 'runs', 'warmups', 'seed', ...numbers]) {
    const value = Number(values[name]);
    const least = name === 'warmups' || name === 'seed' ? 0 : 1;
    if (!Number.isInteger(value) || value < least)
      throw new Error(`Expected an integer of at least ${least} for --${name} but received ${values[name]}.`);
    values[name] = value;
  }
  return values;
}

import { type PublicModel, publicModelForms } from '../hub/publicModels.js';
import { largestOf } from '../lists.js';
import { defineCommand } from './command.js';
import { UsageError } from './options.js';

export const modelsCommand = defineCommand({
  name: 'models',
  summary: 'list public models that run, by form',
  arguments: '',
  description:
    'Lists public models of speech emotion: what each gives, for which language, and under which licence its page on the Hub says\nthat it is. Any other model of one of these forms runs too. --model OWNER/NAME downloads one; from then on it runs offline.',
  options: {},
  examples: ['emoframe models', 'emoframe models --json'],
  run: async (positionals, { json }, { print, printJson }) => {
    if (positionals.length > 0)
      throw new UsageError('Expected no arguments.', `emoframe model ${positionals[0]} describes a model.`);
    if (json) await printJson(publicModelForms);
    else await print(table());
  },
});

const shown = ['name', 'encoder', 'gives', 'language', 'licence'] as const satisfies (keyof PublicModel)[];

function table(): string[] {
  const all = publicModelForms.flatMap(({ models }) => models);
  const widths = shown.map((column) => largestOf(all.map((model) => model[column].length)));
  const row = (model: PublicModel) => shown.map((column, i) => model[column].padEnd(widths[i]!)).join('  ');
  return publicModelForms
    .flatMap(({ form, title, head, models }) => [
      `${form}: ${title}`,
      `  ${head}`,
      ...models.map((model) => `    ${row(model).trimEnd()}`),
      '',
    ])
    .concat('emoframe predict AUDIO --model NAME runs one; emoframe model NAME says more of it.');
}

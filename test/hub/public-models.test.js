import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { publicModelForms } from '../../dist/hub/publicModels.js';

test('docs/models.md has each form, and the exact command of one of its models', () => {
  const docs = readFileSync(new URL('../../docs/models.md', import.meta.url), 'utf8');
  for (const { form, models } of publicModelForms) {
    assert.ok(docs.includes(`| \`${form}\``), form);
    const option = form === 'ctc-mean' ? ' --head ctc-mean' : '';
    const commands = models.map(({ name }) => `\`emoframe predict call.wav --model ${name}${option}\``);
    assert.ok(
      commands.some((command) => docs.includes(command)),
      form,
    );
  }
});

test.run();

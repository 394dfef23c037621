// A model card shows text from files as text, whatever is in it: rendered, it has the same elements.
import { marked } from 'marked';
import { parseFragment } from 'parse5';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse as parseYaml } from 'yaml';
import { code, plain, table } from '../../dist/export/markdown.js';
import { modelCard } from '../../dist/export/modelCard.js';

const hostile = [
  '| a | b |',
  '\\|<img src=x onerror=alert(1)>',
  '`|`<b>c</b>``` ```',
  '\\',
  '[link](http://127.0.0.1:9/a) ![image](http://127.0.0.1:9/b) <http://127.0.0.1:9/c> http://127.0.0.1:9/d www.example.com a@example.com',
  '**bold** _em_ ~~gone~~ ~gone~ $x$ $$y$$ &lt;b&gt; &#60;i&#62; <!-- c --> </details></code><script>alert(2)</script>',
  '[ref]: http://127.0.0.1:9/e',
  '\n\n# title\n\n---\nlicense: stolen\n---\n\n- item\n\n```\n',
  '\u001b[2J\u202e\u2028\ud800',
  ' ',
  '',
  '__proto__',
  'constructor',
  'www.example.com',
];
const shown = (text) =>
  text
    .replace(/[ \t\r\n]+/g, ' ')
    .replace(/[\p{Cc}\p{Cs}\u2028\u202e]/gu, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`);

const rendered = (markdown) => parseFragment(marked.parse(markdown, { gfm: true, async: false }));
const textOf = (node) => (node.nodeName === '#text' ? node.value : (node.childNodes ?? []).map(textOf).join(''));
const all = (node, name) =>
  (node.childNodes ?? []).flatMap((child) => [...(child.nodeName === name ? [child] : []), ...all(child, name)]);

/** Elements with their attributes. */
function skeleton(node) {
  return (node.childNodes ?? [])
    .filter(({ tagName }) => tagName !== undefined)
    .map((child) => [child.tagName, child.attrs.map(({ name, value }) => `${name}=${value}`), skeleton(child)]);
}

test('text and code are shown as they are, in a sentence, in a heading and in a table', () => {
  for (const text of hostile) {
    for (const [of, elements] of [
      [plain, []],
      [code, [['code', [], []]]],
    ]) {
      const sentence = rendered(`Of ${of(text)}.`);
      assert.equal(skeleton(sentence), [['p', [], elements]], text);
      if (of === code) assert.is(textOf(all(sentence, 'code')[0]), shown(text) === ' ' ? ' ' : shown(text));
      else assert.is(textOf(sentence).trim(), `Of ${shown(text)}.`);
      assert.equal(skeleton(rendered(`# A ${of(text)}`)), [['h1', [], elements]], text);
      const cells = rendered(table(['x', of(text)], [[of(text), 1]]));
      assert.equal(all(cells, 'th').map(skeleton), [[], elements], text);
      assert.equal(all(cells, 'td').map(skeleton), [elements, []], text);
      assert.is(textOf(all(cells, 'td')[0]).trim(), shown(text).trim());
    }
  }
});

/** A card of everything that a file can name. */
function cardOf(text) {
  const counts = (n) => ({
    utterances: n,
    labels: new Map([
      [text, n],
      ['sad', 1],
    ]),
    speakers: 1,
  });
  const scores = { wa: 0.5, ua: 0.5, macroF1: 0.5, frameAccuracy: null, eder: null, utterances: 2 };
  return modelCard({
    name: text,
    format: 'hf',
    family: { type: 'hubert', name: 'HuBERT' },
    architecture: 'HubertModel',
    head: { kind: 'classifier', task: 'regression', labels: [text, 'sad'], pooling: 'mean', tensors: [] },
    layers: 2,
    hiddenSize: 16,
    parameters: 1000,
    geometry: { frameSeconds: 0.02, receptiveField: 400 },
    normalize: true,
    ignored: [text],
    clusters: false,
    record: {
      stage: 'finetune',
      fold: text,
      corpus: text,
      dataset: text,
      labelScheme: text,
      startedFrom: { name: text, onHub: true },
      emoframe: text,
      config: { seed: 1, precision: text, protocol: text, folds: { scheme: text }, [text]: text },
      train: counts(4),
      validation: counts(2),
      test: counts(2),
      sharedSpeakers: 0,
      scores,
    },
  });
}

test('a card has the same elements and the same front matter, whatever its names are', () => {
  const parts = (card) => /^---\n(.*?)\n---\n\n(.*)$/s.exec(card).slice(1);
  const [expectedFront, expected] = parts(cardOf('happy|'));
  for (const text of hostile) {
    const [front, body] = parts(cardOf(text));
    const [before, after] = [expected, body].map((markdown) => JSON.stringify(skeleton(rendered(markdown))));
    // An empty title, or one of dashes, is none.
    assert.is(after, before, text);
    const [keys, expectedKeys] = [front, expectedFront].map((yaml) => Object.keys(parseYaml(yaml)));
    assert.equal(keys, expectedKeys, text);
    assert.not.match(front, /[^\P{Cc}\n]|[\u2028-\u202e]/u);
  }
});

test.run();

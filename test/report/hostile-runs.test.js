// A run directory may come from anyone. Nothing that it holds becomes markup, style or script of its report, and the page says itself
// that nothing is to be fetched.
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'parse5';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeReport } from '../../dist/index.js';
import { Html, html } from '../../dist/report/html.js';
import { writeSyntheticRegression, writeSyntheticRun } from '../support/syntheticRun.js';

const test = suite('report of a hostile run');
let dir;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-report-'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

const hostile = [
  `</script></style></title></text><img src="http://127.0.0.1:9/a.png" onerror="alert(1)">`,
  `" onload="alert(2)" style="background:url(http://127.0.0.1:9/b.png)" x="`,
  `' onfocus='alert(3)' autofocus='`,
  `0);background:url(http://127.0.0.1:9/c.png);--x:(`,
  `}*{background:url(http://127.0.0.1:9/d.png)}@import "http://127.0.0.1:9/e.css";`,
  `<!--<script>alert(4)</script>--><svg onload=alert(5)><style>@import url(http://127.0.0.1:9/f.css)</style>`,
  `\${alert(6)}\`&lt;b&gt;&#x3c;i>]]>javascript:alert(7)\u2028\u202e\u001b[2J\u0000`,
].join('');

/** Words of a run's format, and where its sound is: anything else in it is somebody's. */
const ownWords =
  /^(inductive|fp32|session|both|alignment|attention|\d{4}-.*|\/.*|mfcc|tapt|finetune|cluster|pretrain|align|timeline)$/;
const format = JSON.stringify(
  'id audio label predicted probabilities seconds frameSeconds labels posteriors attention clusters path truth target values dimensions frameValues timeline wa ua macroF1 eder frameAccuracy frameUa attentionOnEmotion emotionFrameShare meanEder posteriorOnEmotion lift frameErrors missed falseAlarm confusion recalls absent intervals meanOverFolds baseline neutral protocol utterances skipped folds name excluded ccc pearson rmse versions emoframe model seed config precision scheme align objective time fold stage step total inertia learningRate gradientNorm audioSecondsPerSecond flopsPerSecond peakShare'.split(
    ' ',
  ),
);

/** All text of a run that is not of its format: names of dimensions and of metrics, which are keys, too. */
function madeHostile(value, key) {
  if (typeof value === 'string') return ownWords.test(value) || key === 'fold' ? value : `${hostile}${value}`;
  if (Array.isArray(value)) return value.map((item) => madeHostile(item, key));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      const inFolds = name === 'name' && 'utterances' in value && !Array.isArray(value.utterances);
      return [format.includes(`"${name}"`) ? name : `${hostile}${name}`, inFolds ? item : madeHostile(item, name)];
    }),
  );
}

function poison(run) {
  for (const name of readdirSync(run, { recursive: true }).filter((file) => /\.jsonl?$/.test(file))) {
    const lines = readFileSync(join(run, name), 'utf8').split('\n');
    const rewritten = (line) => (/^\{.*\}$/.test(line) ? JSON.stringify(madeHostile(JSON.parse(line))) : line);
    writeFileSync(join(run, name), lines.map(rewritten).join('\n'));
  }
  return run;
}

/** Elements with their attributes, but for the text of those that show text. */
function skeleton(node, depth = 0, found = []) {
  for (const child of [...(node.childNodes ?? []), ...(node.content?.childNodes ?? [])]) {
    if (child.tagName === undefined) continue;
    const attributes = child.attrs.map(({ name, value }) =>
      ['title', 'aria-label', 'content'].includes(name) ? name : `${name}=${value}`,
    );
    found.push(`${' '.repeat(depth)}${child.tagName} ${attributes.join(' ')}`);
    skeleton(child, depth + 1, found);
  }
  return found;
}

function elements(node, found = []) {
  for (const child of node.childNodes ?? []) {
    if (child.tagName === undefined) continue;
    found.push(child);
    elements(child, found);
  }
  return found;
}
const textOf = (element) => element.childNodes.map(({ value = '' }) => value).join('');
const attribute = (element, name) => element.attrs.find((one) => one.name === name)?.value;
const sha256 = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

const kinds = {
  classes: (path) => writeSyntheticRun(path, { folds: ['s1', 's2'], utterances: 8, objective: 'both' }),
  values: (path) => writeSyntheticRegression(path, { folds: ['s1', 's2'], utterances: 6 }),
};

for (const [kind, write] of Object.entries(kinds)) {
  let plain;
  let poisoned;
  test.before(async () => {
    const run = write(join(dir, kind));
    const page = async () => readFileSync(await writeReport(run, { embedAudio: true, utterances: 4 }), 'utf8');
    plain = await page();
    poison(run);
    poisoned = await page();
  });

  test(`${kind}: the page has the same elements and attributes, whatever the text in the run`, () => {
    const [before, after] = [plain, poisoned].map((page) => skeleton(parse(page)));
    assert.ok(before.length > 200);
    assert.equal(after, before);
    assert.ok(poisoned.length > plain.length + 30 * hostile.length, 'the text is shown');
    assert.not.match(poisoned, /[^\P{Cc}\n]|[\u2028-\u202e]/u);
  });

  test(`${kind}: the page's policy allows its own script, style and sound, and nothing to be fetched`, () => {
    const all = elements(parse(poisoned));
    const [charset, policy] = all.filter(({ tagName }) => tagName === 'meta');
    assert.is(attribute(charset, 'charset'), 'utf-8');
    assert.is(attribute(policy, 'http-equiv'), 'Content-Security-Policy');
    const scripts = all.filter((one) => one.tagName === 'script' && attribute(one, 'type') === undefined);
    const styles = all.filter(({ tagName }) => tagName === 'style');
    assert.is(scripts.length, 1);
    assert.is(styles.length, 1);
    assert.is(
      attribute(policy, 'content'),
      `default-src 'none'; script-src ${sha256(textOf(scripts[0]))}; style-src ${sha256(textOf(styles[0]))}; media-src data:; base-uri 'none'; form-action 'none'`,
    );
    // What stands before a policy is not held to it.
    assert.ok(all.indexOf(policy) < Math.min(all.indexOf(scripts[0]), all.indexOf(styles[0])));
    assert.not.match(textOf(styles[0]), /url\(|@import|127\.0\.0\.1/);
    for (const { attrs } of all) {
      for (const { name, value } of attrs) {
        assert.not.match(name, /^(on.*|style|href|srcdoc|action|formaction|xlink:href|srcset|poster|data)$/);
        if (name === 'src') assert.match(value, /^data:audio\/wav;base64,[\w+/]+=*$/);
      }
    }
    assert.is(all.filter(({ tagName }) => tagName === 'audio').length, 4);
  });
}

test('a row whose timeline names no class by its number is refused', async () => {
  for (const field of ['path', 'truth', 'clusters']) {
    const run = writeSyntheticRun(join(dir, field), { utterances: 4 });
    const file = join(run, 'folds', 'session5', 'evaluate', 'predictions.jsonl');
    const rows = readFileSync(file, 'utf8').trim().split('\n').map(JSON.parse);
    rows[0][field][0] = '0);background:url(http://127.0.0.1:9/g.png);--x:(';
    writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    try {
      await writeReport(run);
      assert.unreachable(field);
    } catch (error) {
      assert.is(error.code, 'ERR_RUN_INCOMPLETE', error.message);
    }
  }
});

test('a template takes values as content and in attributes that show or draw, and nowhere else', () => {
  const value = `a"b'c<d>&e`;
  const escaped = 'a&#34;b&#39;c&#60;d&#62;&#38;e';
  assert.is(
    html`<b title="x ${value}" class="k ${value}">${value} > 1</b>${[value, 2]}`.text,
    `<b title="x ${escaped}" class="k ${escaped}">${escaped} > 1</b>${escaped}2`,
  );
  assert.is(
    html`<details open><p data-name="${value}">${html`<i>${value}</i>`}</p></details>`.text,
    `<details open><p data-name="${escaped}"><i>${escaped}</i></p></details>`,
  );
  assert.is(html`<b title="${Html.trusted('<i>')}"></b>`.text, '<b title="&#60;i&#62;"></b>');
  assert.is(
    html`<audio src="${'data:audio/wav;base64,AAAA'}"></audio>`.text,
    '<audio src="data:audio/wav;base64,AAAA"></audio>',
  );
  for (const address of [
    'javascript:alert(1)',
    'http://a/b.wav',
    'data:text/html;base64,AAAA',
    'data:audio/wav;base64,A"',
  ])
    assert.is(html`<audio src="${address}"></audio>`.text, '<audio src=""></audio>');
  for (const misplaced of [
    () => html`<b style="left:${value}">`,
    () => html`<b onclick="${value}">`,
    () => html`<a href="${value}">`,
    () => html`<b title=${value}>`,
    () => html`<b title='${value}'>`,
    () => html`<b ${value}>`,
    () => html`<${value}>`,
    () => html`<b title="a" ${value}="b">`,
    () => html`<script>${value}</script>`,
    () => html`<style>${value}</style>`,
    () => html`<!-- ${value} -->`,
  ])
    assert.throws(misplaced, /template/, String(misplaced));
});

test.run();

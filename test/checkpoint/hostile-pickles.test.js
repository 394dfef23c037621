// Pickles of a few hundred bytes that would be texts without end, cost time without end, or memory.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { describedByFairseq } from '../../dist/checkpoint/foreign/fairseq.js';
import { readKMeansModel } from '../../dist/checkpoint/foreign/kmeansModel.js';
import { unpickle } from '../../dist/checkpoint/foreign/pickle.js';
import { loadPretrained } from '../../dist/index.js';
import {
  call,
  dict,
  doubled,
  get,
  global,
  integer,
  pickle,
  put,
  tensor,
  text,
  writeArchive,
} from '../support/pickles.js';
import { refused } from '../support/refused.js';
import { longestTurn } from '../support/turns.js';

const test = suite('hostile pickles');
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-pickles-'));
const file = join(scratch, 'bomb.pt');

/** Work that must not hold the event loop: 40 doublings take it for hours. */
async function quickly(work, what) {
  const turn = await longestTurn(work);
  assert.ok(turn < 200, `${what}: the event loop waited ${turn} ms`);
}

const bomb = doubled(26);
const fairseq = (options, rest = {}) =>
  pickle(
    dict({
      model: dict({ 'encoder.layer_norm.weight': tensor('0', [2]) }),
      cfg: dict({ model: dict(options) }),
      ...rest,
    }),
  );
const wavlm = { relative_position_embedding: '\x88', gru_rel_pos: '\x88' };

test('a value that a config should not have is named in the message, never written out', async () => {
  const options = [
    ...['layer_type', 'pos_conv_depth', 'extractor_mode', 'conv_feature_layers', 'encoder_embed_dim', 'encoder_layers'],
    ...[
      'dropout',
      'activation_fn',
      'conv_pos_batch_norm',
      'encoder_layerdrop',
      'layer_norm_first',
      'encoder_attention_heads',
    ],
  ];
  for (const name of options) {
    writeArchive(file, fairseq({ encoder_layers: 'K\x01', [name]: bomb }), { 0: 8 });
    await quickly(() => refused(loadPretrained(file), 'ERR_MODEL_CONFIG', /fairseq config .* a list/), name);
  }
  for (const name of ['num_buckets', 'max_distance']) {
    writeArchive(file, fairseq({ encoder_layers: 'K\x01', ...wavlm, [name]: bomb }), { 0: 8 });
    await quickly(() => refused(loadPretrained(file), 'ERR_MODEL_CONFIG', /fairseq config .* a list/), name);
  }
  // In the place of an emotion2vec's options, and of those that no model has.
  for (const name of ['depth', 'norm_eps', 'a']) {
    const audio = dict({ feature_encoder_spec: bomb, [name]: bomb });
    const model = { modalities: dict({ audio }), [name]: bomb };
    writeArchive(file, fairseq(model), { 0: 8 });
    await quickly(() => refused(loadPretrained(file), 'ERR_MODEL_CONFIG', /fairseq config/), name);
  }
});

test('in the places of the version, the key of a tensor, or a whole file they are refused as quickly', async () => {
  const magic = Buffer.concat([
    Buffer.from('\x80\x02\x8a\x0a', 'latin1'),
    Buffer.from('6cfc9c46f9206aa85019', 'hex'),
    Buffer.from('.'),
  ]);
  const empty = pickle('}');
  writeFileSync(file, Buffer.concat([magic, pickle(bomb), empty, empty, pickle(']')]));
  await quickly(() => refused(loadPretrained(file), 'ERR_CHECKPOINT', /of version a list/), 'version');
  writeArchive(file, pickle(dict({ model: bomb })));
  await quickly(() => refused(loadPretrained(file), 'ERR_CHECKPOINT', /its entry model is not a tensor/), 'tensor');
  writeArchive(file, pickle(bomb));
  await quickly(() => refused(loadPretrained(file), 'ERR_CHECKPOINT', /does not hold a state dict/), 'root');
  writeFileSync(file, pickle(bomb));
  await quickly(() => refused(readKMeansModel(file), 'ERR_CHECKPOINT', /no cluster_centers_/), 'k-means');
});

test('an option that holds itself has no value', async () => {
  const self = ['comegaconf.nodes\nAnyNode\n', ')\x81', put(0), '}', put(1), text('_val'), get(0), 's', 'b'];
  const { value } = await unpickle(pickle(dict({ cfg: dict({ model: dict({ encoder_layers: self }) }) })), file);
  await refused(
    async () => describedByFairseq(value, file),
    'ERR_MODEL_CONFIG',
    /encoder_layers an object of omegaconf\.nodes\.AnyNode/,
  );
});

const times = (count, part) => Array.from({ length: count }, () => part);
const long = 'a'.repeat(1 << 20);
const list = (count) => ['](', 'K\x01'.repeat(count), 'e'];

for (const [what, bytes, reason] of [
  [
    'names made of one long text',
    pickle(text(`torch.${long}`), put(0), text('x'), put(1), times(50_000, [get(0), get(1), '\x930'])),
    /name has \d+ characters/,
  ],
  [
    'one long text encoded again and again',
    pickle(text(long), put(0), times(20_000, [global('_codecs', 'encode'), get(0), text('latin1'), '\x86R0'])),
    /over and over/,
  ],
  [
    'a shape of very many axes',
    pickle(list(200_000), put(0), times(20_000, [global('torch', 'Size'), get(0), '\x85R0'])),
    /over and over|200000 axes/,
  ],
  [
    'one long list of pairs made to many dicts',
    pickle(
      '](',
      times(50_000, 'K\x01K\x02\x86'),
      'e',
      put(0),
      times(20_000, [global('collections', 'OrderedDict'), get(0), '\x85R0']),
    ),
    /over and over/,
  ],
  [
    'arguments that are one long tuple',
    pickle('(', 'K\x01'.repeat(200_000), 't', put(0), times(20_000, [global('numpy', 'ndarray'), get(0), 'R0'])),
    /over and over/,
  ],
  [
    'a storage with a long key',
    pickle('(', text('storage'), global('torch', 'FloatStorage'), text(long), text('cpu'), 'K\x01tQ'),
    /not a tensor storage/,
  ],
]) {
  test(`${what}: refused before it costs much`, () =>
    quickly(() => refused(unpickle(bytes, file), 'ERR_PICKLE', reason), what));
}

test('a persistent id of which any part is not as a storage has it is refused', async () => {
  const [kind, type, key] = [text('storage'), global('torch', 'FloatStorage'), text('0')];
  const id = (...parts) => pickle('(', parts, text('cpu'), 'K\x01tQ');
  await unpickle(id(kind, type, key), file);
  for (const bytes of [
    id(text('module'), type, key),
    id(kind, text('FloatStorage'), key),
    id(kind, global('torch', 'Tensor'), key),
    id(kind, type, 'K\x00'),
    pickle('(', kind, type, key, text('cpu'), 'K\x01)tQ'),
    pickle(kind, 'Q'),
  ])
    await refused(unpickle(bytes, file), 'ERR_PICKLE', /not a tensor storage/);
});

test('a pickle of a million instructions is read in steps', () =>
  quickly(() => unpickle(pickle(list(900_000)), file), 'instructions'));

test('a tensor in several pieces counts as all of its storage, which has to be read for it', async () => {
  const storage = [
    '(',
    text('storage'),
    global('torch', 'FloatStorage'),
    text('0'),
    text('cpu'),
    integer(1_000_000),
    'tQ',
  ];
  const strided = call(
    'torch._utils',
    '_rebuild_tensor_v2',
    storage,
    integer(0),
    ['(K\x02t'],
    ['(', integer(500_000), 't'],
    '\x89',
    '}',
  );
  const names = Object.fromEntries(times(100, 0).map((_, i) => [`encoder.layers.${i}.layer_norm.weight`, strided]));
  writeArchive(file, pickle(dict(names)), { 0: 4_000_000 });
  await refused(loadPretrained(file), 'ERR_CHECKPOINT', /far beyond its \d+ bytes/);
});

/** As NumPy pickles an array: of little-endian elements of a type, with what holds its bytes. */
const array = (type, sizes, held) => {
  const order = type.endsWith('1') ? '|' : '<';
  const dtype = [
    call('numpy', 'dtype', text(type), 'K\x00', 'K\x01'),
    ['(K\x03', text(order), 'NNN', 'J\xff\xff\xff\xff'.repeat(2), 'K\x00tb'],
  ];
  return [
    call('numpy.core.multiarray', '_reconstruct', global('numpy', 'ndarray'), 'K\x00\x85', 'C\x01b'),
    ['(K\x01', ['(', sizes.map(integer), 't'], dtype, '\x89', held, 'tb'],
  ];
};

test('centroids that are no floats are refused: as floats they would be four times as long', async () => {
  writeFileSync(file, pickle(array('u1', [1, 2], 'C\x02ab')));
  await refused(readKMeansModel(file), 'ERR_CHECKPOINT', /centroids are not floats/);
});

test('centroids of no rows are refused, and arrays that are held by no bytes are none', async () => {
  writeFileSync(file, pickle(array('f4', [0, 2], 'C\x00')));
  await refused(readKMeansModel(file), 'ERR_CHECKPOINT', /shape \[0, 2\]/);
  for (const held of [']', 'N', text('abcdefgh')]) {
    writeFileSync(file, pickle(array('f4', [1, 2], held)));
    await refused(readKMeansModel(file), 'ERR_CHECKPOINT', /no cluster_centers_/);
  }
});

test('a key may be None; what is neither a list nor a dict is given nothing', async () => {
  const { value } = await unpickle(pickle('}NK\x01s'), file);
  assert.equal([...value], [[null, 1]]);
  await refused(unpickle(pickle('K\x05K\x01a'), file), 'ERR_PICKLE', /not a list/);
  for (const instruction of ['NK\x01s', '(NK\x01u'])
    await refused(unpickle(pickle(`K\x05${instruction}`), file), 'ERR_PICKLE', /not a dict/);
});

test.run();

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inFlight } from '../../dist/predict/workAhead.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Work whose parts end on request. */
function manual() {
  const begun = [];
  const ends = new Map();
  const work = (item) => {
    begun.push(item);
    return new Promise((resolve, reject) => ends.set(item, { resolve: () => resolve(item * 10), reject }));
  };
  return { begun, work, end: (item) => ends.get(item).resolve(), fail: (item, error) => ends.get(item).reject(error) };
}

async function* numbers(count, failure) {
  for (let i = 1; i <= count; i++) yield i;
  if (failure) throw failure;
}

test('two are under way, and results come in the order of the items', async () => {
  const { begun, work, end } = manual();
  const results = inFlight(numbers(4), work, 2);
  const first = results.next();
  await turn();
  assert.equal(begun, [1, 2]);
  end(2);
  await turn();
  assert.equal(begun, [1, 2], 'the third waits until the first is given');
  end(1);
  assert.equal(await first, { value: 10, done: false });
  assert.equal(await results.next(), { value: 20, done: false });
  const third = results.next();
  await turn();
  assert.equal(begun, [1, 2, 3, 4]);
  end(4);
  end(3);
  assert.equal((await third).value, 30);
  assert.equal((await results.next()).value, 40);
  assert.is((await results.next()).done, true);
});

test('a result does not wait for an item that is slow to come', async () => {
  let release;
  async function* slow() {
    yield 1;
    await new Promise((resolve) => {
      release = resolve;
    });
    yield 2;
  }
  const results = inFlight(slow(), async (item) => item, 2);
  assert.is((await results.next()).value, 1);
  release();
  assert.is((await results.next()).value, 2);
  assert.is((await results.next()).done, true);
});

test('what failed is thrown in its turn, and what is under way then is ignored', async () => {
  const { work, end, fail } = manual();
  const results = inFlight(numbers(3), work, 2);
  const first = results.next();
  await turn();
  fail(2, new Error('the second'));
  await turn();
  end(1);
  assert.is((await first).value, 10);
  const second = results.next().catch(({ message }) => message);
  await turn();
  fail(3, new Error('the third'));
  assert.is(await second, 'the second');
  await turn();
});

test('items that end in a failure give the results before it first', async () => {
  const results = inFlight(numbers(2, new Error('the source')), async (item) => item, 3);
  assert.is((await results.next()).value, 1);
  assert.is((await results.next()).value, 2);
  assert.is(await results.next().catch(({ message }) => message), 'the source');
});

test('an iteration that is left ends the source, and does not wait for it', async () => {
  let ended = false;
  const hanging = {
    count: 0,
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      return ++this.count === 1 ? Promise.resolve({ value: 1, done: false }) : new Promise(() => undefined);
    },
    async return() {
      ended = true;
    },
  };
  for await (const result of inFlight(hanging, async (item) => item, 2)) {
    assert.is(result, 1);
    break;
  }
  assert.ok(ended);
});

test.run();

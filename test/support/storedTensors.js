// Tensors and moments that are read when they are asked for, to and from values that tests compare.

const stored = (name, shape, data) => ({ name, shape, read: async () => data });

/** `{ tensors: [{ name, shape, data }], moments: [{ name, m, v }], ... }` as a training state is given. */
export function storedForm({ tensors, moments, average, ...rest }) {
  return {
    ...rest,
    tensors: tensors.map(({ name, shape, data }) => stored(name, shape, data)),
    ...(average && { average: average.map(({ name, shape, data }) => stored(name, shape, data)) }),
    moments: moments.map(({ name, m, v }) => ({
      name,
      m: stored(name, [m.length], m),
      v: stored(name, [v.length], v),
    })),
  };
}

/** `[{ name, m, v }]` with their values. */
export const readMoments = (moments) =>
  Promise.all(moments.map(async ({ name, m, v }) => ({ name, m: await m.read(), v: await v.read() })));

/** All of an open training state, or undefined for none; it is closed. */
export async function readAll(opened) {
  if (opened === undefined) return undefined;
  const { tensors, moments, average, close, ...rest } = opened;
  const values = (all) => Promise.all(all.map(async ({ name, shape, read }) => ({ name, shape, data: await read() })));
  try {
    return {
      ...rest,
      tensors: await values(tensors),
      ...(average && { average: await values(average) }),
      moments: await readMoments(moments),
    };
  } finally {
    await close();
  }
}

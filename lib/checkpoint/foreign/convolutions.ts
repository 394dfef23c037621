// The feature encoder in configs of fairseq and FunASR: an expression of Python's.

/** A list of more layers than any model has is refused. */
const mostConvolutions = 100;
const longestExpression = 10_000;

/**
 * `[(512,10,5)] + [(512,3,2)] * 4`: lists of (channels, kernel, stride), added and repeated. fairseq has Python evaluate it.
 *
 * @returns undefined when it is anything else
 */
export function parseConvolutions(text: string): [channels: number, kernel: number, stride: number][] | undefined {
  if (text.length > longestExpression) return undefined;
  const layers: [number, number, number][] = [];
  for (const term of text.replace(/\s/g, '').split('+')) {
    const match = /^\(?\[((?:\(\d{1,7},\d{1,7},\d{1,7}\),?)+)\](?:\*(\d{1,3}))?\)?$/.exec(term);
    if (match === null) return undefined;
    const [, list = '', repeated = '1'] = match;
    for (let times = Number(repeated); times > 0; times--) {
      for (const [, channels, kernel, stride] of list.matchAll(/(\d{1,7}),(\d{1,7}),(\d{1,7})/g)) {
        layers.push([Number(channels), Number(kernel), Number(stride)]);
      }
      if (layers.length > mostConvolutions) return undefined;
    }
  }
  return layers;
}

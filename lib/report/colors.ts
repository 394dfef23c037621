/** Colours that readers expect of an emotion, by the start of its name: [light theme, dark theme]. */
const byName: [RegExp, [string, string]][] = [
  [/^(ang|ärger|wut|rage)/i, ['#cf3f4b', '#f0707a']],
  [/^(hap|joy|exc|amus|freu)/i, ['#d99413', '#f2b84b']],
  [/^(neu|calm|other)/i, ['#8a94a3', '#7f8a9b']],
  [/^(sad|tri)/i, ['#2f74c0', '#6aa9ee']],
  [/^(fea|anx|scar)/i, ['#7d54b8', '#b08ae6']],
  [/^(sur)/i, ['#0f9488', '#45c7ba']],
  [/^(dis)/i, ['#5b8c3a', '#93c46f']],
  [/^(fru|bor|con)/i, ['#a85a2a', '#d98c5b']],
];
const others: [string, string][] = [
  ['#c2528b', '#ea8fbd'],
  ['#3f6b7d', '#7fb3c8'],
  ['#8c7a1f', '#cdbb5a'],
  ['#5a5fc7', '#9aa0f5'],
];

/**
 * One colour an emotion, the same in every figure of the page: CSS classes `e0`, `e1`, … for the labels in order, in both themes. The
 * names decide on the colours, and nothing of them is written into the style.
 */
export function emotionColors(labels: readonly string[]): string {
  const free = [...others, ...byName.map(([, colors]) => colors)];
  const taken = new Set<[string, string]>();
  const wished = labels.map((label) => {
    const colors = byName.find(([pattern]) => pattern.test(label))?.[1];
    if (colors === undefined || taken.has(colors)) return undefined;
    taken.add(colors);
    return colors;
  });
  const chosen = wished.map((colors) => {
    if (colors !== undefined) return colors;
    const next = free.find((candidate) => !taken.has(candidate)) ?? free[0]!;
    taken.add(next);
    return next;
  });
  const classes = (theme: 0 | 1) => chosen.map((colors, i) => `.${colorOf(i)}{--c:${colors[theme]}}`).join('');
  return `${classes(0)}@media (prefers-color-scheme:dark){${classes(1)}}@media print{${classes(0)}}`;
}

/** The class that gives an element the colour of label `index`. */
export function colorOf(index: number): string {
  return `e${index}`;
}

// Counters in the compiled sources: one where each branch begins, so that a fuzzer sees what an input reached that none
// before it did. And the words that the sources know, which inputs may have to hold.
import { parse } from 'acorn';

/** Counters of all files together. */
export const mostCounters = 1 << 16;
const branches = {
  IfStatement: ['consequent', 'alternate'],
  ConditionalExpression: ['consequent', 'alternate'],
  LogicalExpression: ['right'],
  AssignmentPattern: ['right'],
  ForStatement: ['body'],
  ForInStatement: ['body'],
  ForOfStatement: ['body'],
  WhileStatement: ['body'],
  DoWhileStatement: ['body'],
  CatchClause: ['body'],
  FunctionDeclaration: ['body'],
  FunctionExpression: ['body'],
  ArrowFunctionExpression: ['body'],
};

const isNode = (value) => typeof value?.type === 'string';

/** What a file may be asked for by: strings without spaces and the names of fields. */
function wordOf({ type, value, key, computed }) {
  if (type === 'Literal' && typeof value === 'string') return value;
  if (type === 'Property' && !computed && key.type === 'Identifier') return key.name;
  return undefined;
}

/**
 * The source with counters, which count in `globalThis.reached` from `first` on, and how many they are. Its words are added to
 * `globalThis.knownWords` where it runs,
 * as is, in `globalThis.reachedEnd`, where the counters end.
 *
 * @returns {{ code: string, counters: number }}
 */
export function instrument(source, first) {
  const tree = parse(source, { ecmaVersion: 'latest', sourceType: 'module' });
  const before = [];
  const after = [];
  const words = new Set();
  let next = first;
  const count = () => `reached$[${next++ % mostCounters}]++`;
  const mark = (node) => {
    if (node.type === 'BlockStatement') before.push([node.start + 1, `${count()};`]);
    else {
      const statement = node.type.endsWith('Statement') || node.type.endsWith('Declaration');
      before.push([node.start, statement ? `{${count()};` : `(${count()},(`]);
      return () => after.push([node.end, statement ? '}' : '))']);
    }
    return undefined;
  };
  const visit = (node) => {
    const word = wordOf(node);
    if (word !== undefined && /^[!-~]{2,30}$/.test(word)) words.add(word);
    if (node.type === 'SwitchCase' && node.consequent.length > 0)
      before.push([node.consequent[0].start, `${count()};`]);
    const marked = branches[node.type] ?? [];
    const isLogicalAssignment = node.type === 'AssignmentExpression' && /^(\|\||&&|\?\?)=$/.test(node.operator);
    for (const [name, value] of Object.entries(node)) {
      for (const child of Array.isArray(value) ? value : [value]) {
        if (!isNode(child)) continue;
        const close = marked.includes(name) || (isLogicalAssignment && name === 'right') ? mark(child) : undefined;
        visit(child);
        close?.();
      }
    }
    if (node.type === 'IfStatement' && node.alternate === null) after.push([node.end, ` else ${count()};`]);
  };
  visit(tree);
  return { code: `${prefix(words, next)}${insert(source, before, after)}`, counters: next - first };
}

/** On the first line, so that lines keep their numbers. */
function prefix(words, end) {
  return (
    `globalThis.reachedEnd = Math.max(globalThis.reachedEnd ?? 0, ${end}); const reached$ = (globalThis.reached ??= new Uint8Array(${mostCounters})); ` +
    `for (const word of ${JSON.stringify([...words])}) (globalThis.knownWords ??= new Set()).add(word); `
  );
}

/** Of what comes at one place, what closes is first: the inner before the outer; then what opens, the outer before the inner. */
function insert(source, before, after) {
  const insertions = [...after, ...before].sort((a, b) => a[0] - b[0]);
  const parts = [];
  let at = 0;
  for (const [position, text] of insertions) {
    parts.push(source.slice(at, position), text);
    at = position;
  }
  return parts.join('') + source.slice(at);
}

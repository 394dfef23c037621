// JSON from files. JSON.parse itself takes any depth, but whoever then walks or prints the value runs out of stack.

/** More than anything that this package reads has any use for. */
const deepest = 100;

/** JSON.parse; throws a SyntaxError too when the value nests more than 100 deep. */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  if (depthOf(text) > deepest) throw new SyntaxError(`It nests more than ${deepest} deep`);
  return value;
}

/** How deep valid JSON nests: outside strings every bracket counts. */
function depthOf(text: string): number {
  let depth = 0;
  let most = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (inString) {
      if (character === '\\') i++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '[' || character === '{') most = Math.max(most, ++depth);
    else if (character === ']' || character === '}') depth--;
  }
  return most;
}

// Downloads who/base so many times at once, and sends where it is, or what went wrong: node downloads.js URL CACHE COUNT [REVISION]
import { downloadModel } from '../../dist/index.js';

const [endpoint, cacheDir, count, revision = 'main'] = process.argv.slice(2);
const outcomes = Array.from({ length: Number(count) }, () =>
  downloadModel('who/base', { endpoint, cacheDir, revision }).catch(({ code, message }) => `${code} ${message}`),
);
process.send(await Promise.all(outcomes), () => process.disconnect());

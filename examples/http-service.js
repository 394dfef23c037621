// Speech emotion over HTTP. POST /predict takes an audio file and returns the decision; POST /timeline returns a line per
// window while the audio is still being sent.
//
//   node http-service.js MODEL [PORT] [IDLE_SECONDS]
//   curl --data-binary @speech.wav localhost:8080/predict
//   curl -N -T - 'localhost:8080/timeline?rate=16000' < live.s16le
import { once } from 'node:events';
import { createServer } from 'node:http';
import { EmoframeError, EmotionModel } from 'emoframe';

const [name, port = '8080', idle = '10'] = process.argv.slice(2);
const model = await EmotionModel.load(name);
const mostAtOnce = 8;
let active = 0;
// A client holds one of the few places only while it sends, and not for ever.
const idleSeconds = Number(idle);
const longest = { predict: { seconds: 120, maxSeconds: 600 }, timeline: { seconds: 3600, maxSeconds: 3600 } };
const within = (signal, seconds) => AbortSignal.any([signal, AbortSignal.timeout(seconds * 1000)]);

const server = createServer({ requestTimeout: 3_600_000 }, async (request, response) => {
  // Stop working for a client that has gone away.
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  const answer = { '/predict': predict, '/timeline': timeline }[pathname];
  if (request.method !== 'POST' || answer === undefined) return respond(response, 404, { error: 'Not found' });
  // Refuse early instead of queueing without bound.
  if (active === mostAtOnce) return respond(response, 503, { error: 'Busy' });
  active++;
  try {
    await answer(request, response, searchParams, gone.signal);
  } catch (error) {
    if (gone.signal.aborted) return;
    const { code, message } = error instanceof EmoframeError ? error : { code: 'ERR_UNEXPECTED', message: 'Failed' };
    // Audio that cannot be read, or comes too slowly, is the client's fault.
    const status = code.startsWith('ERR_AUDIO') ? 422 : code === 'ERR_ABORTED' ? 408 : 500;
    if (!response.headersSent) respond(response, status, { code, error: message });
    else response.destroy();
  } finally {
    active--;
  }
});

async function predict(request, response, _query, signal) {
  // A model of dimensions has values, and no label and probabilities: JSON leaves out what is undefined.
  const { label, probabilities, values, segments } = await model.predict(request, {
    id: 'upload',
    idleSeconds,
    maxSeconds: longest.predict.maxSeconds,
    signal: within(signal, longest.predict.seconds),
  });
  respond(response, 200, { label, probabilities, values, segments });
}

async function timeline(request, response, query, signal) {
  const rate = query.get('rate');
  const format = { encoding: 's16le', sampleRate: Number(rate), channels: 1 };
  const chunks = model.stream(request, {
    id: 'upload',
    windowSeconds: 6,
    overlapSeconds: 1,
    idleSeconds,
    maxSeconds: longest.timeline.maxSeconds,
    signal: within(signal, longest.timeline.seconds),
    // Without a rate, the body is an audio file.
    ...(rate !== null && { format }),
  });
  for await (const { start, end, segments, soFar, last } of chunks) {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    const line = `${JSON.stringify({ start, end, segments, label: soFar.label, values: soFar.values, last })}\n`;
    // A slow reader slows the model down, and that slows the upload down: nothing accumulates.
    if (!response.write(line)) await once(response, 'drain', { signal: within(signal, idleSeconds) });
  }
  response.end();
}

function respond(response, status, body) {
  // What is left of an upload is not waited for.
  const connection = response.req.complete ? 'keep-alive' : 'close';
  response.writeHead(status, { 'content-type': 'application/json', connection }).end(JSON.stringify(body));
}

server.listen(Number(port), () => console.log(`http://localhost:${server.address().port}`));
process.once('SIGTERM', () => {
  // Accept no new requests, finish the current ones, then free the model.
  server.close(() => model.dispose());
});

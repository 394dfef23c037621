/**
 * The page's only script: a cursor over each timeline that shows the model's output there, and play buttons. It reads data
 * from the page and makes no requests.
 */
export const pageScript = `
'use strict';
const { labels, utterances } = JSON.parse(document.getElementById('timeline-data').textContent);
for (const article of document.querySelectorAll('.utterance')) {
  const data = utterances[Number(article.dataset.index)];
  const lanes = [...article.querySelectorAll('.lane')];
  const readout = article.querySelector('.readout');
  const cursors = lanes.map((lane) => lane.appendChild(Object.assign(document.createElement('i'), { className: 'cursor' })));
  const show = (share) => {
    const second = share * data.seconds;
    const frame = Math.min(Math.max(Math.round((second - 0.0125) / data.frameSeconds), 0), (data.path ?? data.values).length - 1);
    for (const cursor of cursors) { cursor.style.left = 100 * share + '%'; cursor.style.display = 'block'; }
    const parts = [second.toFixed(2) + ' s'];
    if (data.truth) parts.push('truth ' + labels[data.truth[frame]]);
    if (data.path) {
      parts.push('stage 4 ' + labels[data.path[frame]]);
      parts.push(labels.map((label, i) => label + ' ' + data.posteriors[frame][i] + '%').join(' \\u00b7 '));
    } else parts.push(labels.map((label, i) => label + ' ' + data.values[frame][i] + ' (true ' + data.target[i] + ')').join(' \\u00b7 '));
    if (data.attention) parts.push('attention ' + data.attention[frame] + '\\u00d7');
    if (data.emotional) parts.push('emotional ' + data.emotional[frame] + '%');
    if (data.clusters) parts.push('cluster ' + data.clusters[frame]);
    readout.textContent = parts.join('   ');
  };
  const hide = () => {
    for (const cursor of cursors) cursor.style.display = 'none';
    readout.textContent = '';
  };
  for (const lane of lanes) {
    lane.addEventListener('pointermove', (event) => {
      const box = lane.getBoundingClientRect();
      show(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
    });
  }
  article.querySelector('.rows').addEventListener('pointerleave', hide);
  const audio = article.querySelector('audio');
  const button = article.querySelector('.play');
  if (audio && button) {
    const follow = () => {
      if (audio.paused) return;
      show(Math.min(audio.currentTime / data.seconds, 1));
      requestAnimationFrame(follow);
    };
    button.addEventListener('click', () => (audio.paused ? audio.play() : audio.pause()));
    audio.addEventListener('play', () => { button.textContent = '\\u275a\\u275a'; follow(); });
    for (const end of ['pause', 'ended']) audio.addEventListener(end, () => { button.textContent = '\\u25b6'; hide(); });
  }
}
`;

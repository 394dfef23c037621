// Who speaks the corpus of recordings: the announcers of Debian's asterisk-core-sounds-*-g722, two talkers a session. The
// second talker of each is the same announcer with other formants and another pitch, who says other prompts. Whoever is
// held out with s5 speaks no other session, nor does anyone else speak their language.

/**
 * @typedef {object} Recorded
 * @property {string} speaker
 * @property {string} session
 * @property {string} folder of the prompts
 * @property {[number, number]} pitch in which the announcer's lies, hertz
 * @property {number} formants factor
 * @property {number} height factor of the pitch
 * @property {number} tilt high-frequency shelf at rest, decibels
 */

const announcers = [
  { session: 's1', folder: 'en_US_f_Allison', pitch: [100, 450], tilts: [0, -1], formants: 0.87, height: 0.66 },
  { session: 's2', folder: 'es_MX_f_Allison', pitch: [100, 450], tilts: [1, 0.5], formants: 0.92, height: 0.78 },
  { session: 's3', folder: 'fr_CA_f_June', pitch: [100, 450], tilts: [-0.5, 1], formants: 0.85, height: 0.62 },
  { session: 's4', folder: 'it_IT_m_Carlo', pitch: [75, 400], tilts: [0.5, -0.5], formants: 1.14, height: 1.35 },
  { session: 's5', folder: 'ru_RU_f_IvrvoiceRU', pitch: [100, 450], tilts: [0, 0.5], formants: 0.88, height: 0.7 },
];

/** @type {readonly Recorded[]} */
export const TALKERS = announcers.flatMap(({ session, folder, pitch, tilts, formants, height }) => [
  { speaker: `${session}a`, session, folder, pitch, formants: 1, height: 1, tilt: tilts[0] },
  { speaker: `${session}b`, session, folder, pitch, formants, height, tilt: tilts[1] },
]);

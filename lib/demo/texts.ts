import type { Random } from './random.js';

// Everyday statements without emotional words: the text must not reveal the emotion.
const listed = (text: string): string[] => text.split(',').map((phrase) => phrase.trim());
const PEOPLE = listed(`
  the teacher, my neighbour, the driver, our manager, the doctor, a colleague, the student, my cousin,
  the gardener, the engineer, our guest, the baker, the librarian, a visitor, the carpenter, the clerk
`);
const DEEDS = listed(`
  opened the window, left the keys here, read the letter, moved the table, called this morning,
  bought some bread, closed the door, took the early train, wrote down the number, brought the papers,
  waited outside, cleaned the kitchen, counted the boxes, turned off the lights, packed the small bag,
  walked to the station, changed the schedule, answered the phone, painted the fence, returned the book
`);
const THINGS = listed(`
  the report, the blue folder, the meeting, the garden, the map, the parcel, the old bicycle, the computer,
  the coffee, the ticket, the lamp, the calendar, the printer, the water, the recipe, the camera
`);
const STATES = listed(`
  is on the table, is near the entrance, is still upstairs, was here yesterday, will be ready soon,
  is in the other room, comes after lunch, stays where it was, belongs to the office, has a new cover,
  was moved again, starts at eleven, is next to the wall, needs another page, goes in the drawer,
  was made in spring
`);
const OPENINGS = listed(`
  on monday, in the evening, after the break, at half past two, last week, before the weekend, around noon,
  in the winter, every morning, on the second floor, behind the house, by the river
`);
const CLOSINGS = listed(`
  we go to the city, they meet at the corner, it rains a little, the bus turns left, we look at the plans,
  the shop opens again, you can see the bridge, they talk about numbers, we sit by the window,
  the market is open, he works on the roof, she writes a letter
`);

/** One short statement of the grammar; several hundred are possible. */
export function makePhrase(random: Random): string {
  const form = random.integer(3);
  if (form === 0) return `${random.pick(PEOPLE)} ${random.pick(DEEDS)}`;
  if (form === 1) return `${random.pick(THINGS)} ${random.pick(STATES)}`;
  return `${random.pick(OPENINGS)} ${random.pick(CLOSINGS)}`;
}

/** Distinct phrases of one utterance: two to five, short enough together for an utterance of about 2 to 8 seconds. */
export function makePhrases(random: Random): string[] {
  const draw = random.uniform();
  const count = draw < 0.22 ? 2 : draw < 0.54 ? 3 : draw < 0.82 ? 4 : 5;
  const phrases: string[] = [];
  let letters = 0;
  while (phrases.length < count) {
    const phrase = makePhrase(random);
    if (phrases.includes(phrase)) continue;
    // At some 16 letters a second, 100 letters spoken slowly still end before 8 s.
    if (phrases.length >= 2 && letters + phrase.length > 100) break;
    phrases.push(phrase);
    letters += phrase.length;
  }
  return phrases;
}

// Which two pictures to compare next, and how often each candidate was preferred so far. No page is needed.

/** Distance of two shares of won comparisons at which a pair is half as worth asking as one of equals. */
const CLOSE = 0.15;
/** Half of the distance that an interval of 95 % spans, in standard deviations. */
const Z = 1.96;

/** A candidate's name in sets and maps: its step, and a sweep's values in whatever order. */
export function keyOf({ step, axes = {} }) {
  return JSON.stringify([step, Object.entries(axes).map(([name, value]) => [name, String(value)]).sort()]);
}

/** candidate -> {wins, losses, ties} of votes as in votes.jsonl. */
export function tally(votes) {
  const found = new Map();
  const of = (side) => {
    const key = keyOf(side);
    if (!found.has(key)) found.set(key, { wins: 0, losses: 0, ties: 0 });
    return found.get(key);
  };
  for (const { left, right, vote } of votes) {
    const sides = vote === "right" ? [right, left] : [left, right];
    const counts = vote === "tie" ? ["ties", "ties"] : ["wins", "losses"];
    sides.forEach((side, at) => (of(side)[counts[at]] += 1));
  }
  return found;
}

/** The share of comparisons won, ties as halves, and Wilson's interval of it (JASA 22, 1927). */
export function share({ wins, losses, ties }) {
  const count = wins + losses + ties;
  const preferred = (wins + ties / 2) / count;
  const middle = (preferred + Z ** 2 / (2 * count)) / (1 + Z ** 2 / count);
  const reach = (Z / (1 + Z ** 2 / count)) * Math.sqrt((preferred * (1 - preferred)) / count + Z ** 2 / (4 * count ** 2));
  return { preferred, low: middle - reach, high: middle + reach };
}

/** One of `entries`, each with a chance in proportion to its `weight`. */
function drawn(entries, random) {
  let left = random() * entries.reduce((sum, { weight }) => sum + weight, 0);
  return entries.find(({ weight }) => (left -= weight) < 0) ?? entries.at(-1);
}

/**
 * The next comparison, {task, left, right} with the candidates on their sides, or null where this voter saw all.
 * Pairs that look alike and have few votes come more often; everything else is by chance.
 *   tasks        [{item, urls}]: a URL or null for each candidate
 *   candidates   as they stand in votes
 *   votes        of everybody
 *   seen         names of comparisons (see `nameOf`) that are not to come again
 */
export function nextPair(tasks, candidates, votes, seen, random = Math.random) {
  const counts = tally(votes);
  const none = { wins: 0, losses: 0, ties: 0 };
  const stand = candidates.map((one) => {
    const { wins, losses, ties } = counts.get(keyOf(one)) ?? none;
    const count = wins + losses + ties;
    return { count, score: (wins + ties / 2 + 1) / (count + 2) };
  });
  const between = new Map();
  const pairName = (one, other) => [keyOf(one), keyOf(other)].sort().join();
  for (const { left, right } of votes) between.set(pairName(left, right), (between.get(pairName(left, right)) ?? 0) + 1);
  const pairs = [];
  candidates.forEach((one, i) => candidates.slice(i + 1).forEach((other, more) => {
    const j = i + 1 + more;
    const open = tasks.filter((task) => task.urls[i] && task.urls[j] && !seen.has(nameOf(task, one, other)));
    if (open.length === 0) return;
    const alike = CLOSE / (CLOSE + Math.abs(stand[i].score - stand[j].score));
    const known = 1 + (between.get(pairName(one, other)) ?? 0) + Math.min(stand[i].count, stand[j].count) / 2;
    pairs.push({ i, j, open, weight: alike ** 2 / known });
  }));
  if (pairs.length === 0) return null;
  const { i, j, open } = drawn(pairs, random);
  const task = open[Math.floor(random() * open.length)];
  return random() < 0.5 ? { task, left: i, right: j } : { task, left: j, right: i };
}

/** What tells one comparison from another, whichever side is which. */
export function nameOf({ item, seed }, one, other) {
  return `${item} ${seed} ${[keyOf(one), keyOf(other)].sort().join()}`;
}

/** How many comparisons there can be. */
export function countPairs(tasks) {
  return tasks.reduce((sum, { urls }) => {
    const count = urls.filter(Boolean).length;
    return sum + (count * (count - 1)) / 2;
  }, 0);
}

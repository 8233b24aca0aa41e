// Moving through the tokens of an answer by keyboard.

const visible = (token) => !token.keep || token.text !== "";
const turn = (token, i, tokens) => i > 0 && tokens[i - 1].side !== token.side;

const MOVES = {
  ArrowRight: { by: 1, wanted: visible },
  ArrowLeft: { by: -1, wanted: visible },
  n: { by: 1, wanted: turn },
  p: { by: -1, wanted: turn },
  Home: { by: 1, wanted: visible, from: "start" },
  End: { by: -1, wanted: visible, from: "end" },
};

/** Index of the token that a key leads to from token `at` (or null, from none), which is out of
 * range where there is no further one; null for keys that do not move. */
export function moved(tokens, at, event) {
  const move = MOVES[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey) return null;
  const from = move.from ?? (at === null && (move.by > 0 ? "start" : "end"));
  let i = (from === "start" ? -1 : from === "end" ? tokens.length : at) + move.by;
  while (tokens[i] && !move.wanted(tokens[i], i, tokens)) i += move.by;
  return i;
}

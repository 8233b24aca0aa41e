// Numbers and tokens in words.

export const seconds = (value) => (value < 0.1 ? value.toFixed(3) : value < 10 ? value.toPrecision(3) : value.toFixed(1)) + " s";
export const times = (value) => (value < 10 ? value.toPrecision(2) : value.toFixed(0));
export const percent = (value) => (value < 0.995 && value >= 0.0995 ? (100 * value).toFixed(0) : (100 * value).toPrecision(value < 0.995 ? 2 : 3)) + " %";
export const entropy = (value) => (value < 5e-6 ? "0" : value < 1e-3 ? value.toExponential(1).replace("e-", " \u00d7 10\u207b") .replace(/\d$/, (digit) => "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[digit]) : value.toPrecision(3));
export const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

/** A token with its spaces and line feeds to be seen. */
export const seen = (text) => text.replace(/\n/g, "\u21b5").replace(/^ +| +$/g, (spaces) => "\u2423".repeat(spaces.length));

/** An element. Text stays text: nothing that a model wrote is ever read as markup. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

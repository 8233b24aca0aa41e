// The line that tells everything about one token.

import { count, el, entropy, percent, seconds, seen } from "./format.js";

const NAMES = { slm: "SLM", llm: "LLM" };

export class Detail {
  /** sizes: tokens of each side's vocabulary. */
  constructor(box, sizes) {
    Object.assign(this, { box, sizes });
    this.clear();
  }

  clear() {
    this.box.replaceChildren(el("p", { class: "soft" }, "Point at a token, or move through them with the arrow keys."));
  }

  show(run, i) {
    const token = run.tokens[i];
    const cells = [
      ["Token", el("b", { class: `t ${token.side[0]}` }, word(token)), `${i + 1} of ${run.tokens.length}`],
      ["Side", NAMES[token.side], run.name],
      ["Entropy", entropy(token.entropy), this.against(run, token)],
      ["Probability", percent(Math.exp(token.logprob)), `log ${token.logprob > -0.005 ? "0.00" : token.logprob.toFixed(2).replace("-", "\u2212")}`],
      ["Decision", ...decision(token)],
      ["Since start", seconds(token.seconds), `${(1000 * (token.seconds - token.from)).toFixed(1)} ms for it`],
      ["Discarded here", ...instead(run, i)],
    ];
    this.box.replaceChildren(el("dl", {}, ...cells.map(([name, value, more]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value, el("small", {}, more ?? ""))))));
  }

  against(run, token) {
    const nats = `${entropy(token.entropy * Math.log(this.sizes[token.side]))} nats`;
    if (run.side || run.tau === null || run.tau <= 0) return nats;
    const ratio = token.entropy / run.tau;
    return ratio < 0.01 ? "under 0.01 \u00d7 tau" : `${ratio.toPrecision(2)} \u00d7 tau, ${nats}`;
  }

  /** The same in one sentence, for those who hear it. */
  said(run, i) {
    const token = run.tokens[i], [fate] = decision(token);
    return `${word(token)}, ${NAMES[token.side]}, entropy ${entropy(token.entropy)}, ${fate}`;
  }
}

const word = (token) => seen(token.word) || (token.keep ? "(no text of its own)" : `(token ${token.id})`);

function decision(token) {
  const other = NAMES[token.side === "slm" ? "llm" : "slm"];
  if (!token.keep && token.next === token.side) return ["taken back", "when the LLM read it"];
  if (!token.keep) return ["discarded", `the ${other} writes this position`];
  return token.next === token.side ? ["kept", `the ${NAMES[token.side]} goes on`] : ["kept", `hands over to the ${other}`];
}

function instead(run, i) {
  const found = run.instead(i);
  if (!found.length) return ["nothing"];
  return [found.slice(-3).map(word).join(" "), `${count(found.length, "proposal")} of the ${NAMES[found[0].side]}, entropy ${found.slice(-3).map((one) => entropy(one.entropy)).join(", ")}`];
}

// The column of one answer: counters, the thought and the answer, token by token.

import { el, seconds, times } from "./format.js";

const COUNTERS = [
  ["Time", (run) => seconds(run.seconds)],
  ["Tokens/s", (run) => run.rate.toFixed(0)],
  ["First token", (run) => seconds(run.first)],
  ["SLM tokens", (run) => run.written.slm],
  ["LLM tokens", (run) => run.written.llm],
  ["Hand-offs", (run) => run.handoffs],
];

export class Answer {
  /** shades: entropies from which a token is shaded, and fully; gold: what a right answer has in
   * its box, or null; base: the run of the LLM alone, if any; download: called with the run and the event of its link. */
  constructor(run, { shades, gold, base, download }) {
    Object.assign(this, { run, shades, gold, base });
    this.spans = [];
    this.state = el("span", { class: "state" });
    this.cells = COUNTERS.map(([name]) => [el("dt", {}, name), el("dd", {}, "\u2013")]);
    this.thought = this.part("Reasoning");
    this.answer = this.part("Answer");
    this.trace = el("a", { class: "trace", hidden: "" }, "Download the trace");
    this.trace.addEventListener("click", (event) => download(run, event));
    this.verdict = el("span", { class: "verdict" });
    this.text = el("div", { class: "tokens", tabindex: "0", role: "group",
      "aria-label": `Tokens of ${run.name}; left and right move, n and p go to hand-offs` },
    this.thought.box, this.answer.box);
    this.box = el("article", { class: "answer", "aria-label": run.name, "data-side": run.side ?? "both" },
      el("h2", {}, run.name, this.state),
      el("dl", {}, ...this.cells.map((pair) => el("div", {}, ...pair))),
      this.text, el("p", { class: "foot" }, this.verdict, this.trace));
  }

  part(name) {
    const text = el("div", { class: "text" });
    return { text, box: el("section", { hidden: "", "aria-label": name }, el("h3", {}, name), text) };
  }

  /** Show what came since the last time. */
  draw() {
    const { run, text } = this;
    const follows = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    const fresh = run.tokens.slice(this.spans.length);
    for (const token of fresh) {
      const part = token.thought ? this.thought : this.answer;
      part.box.hidden = false;
      part.text.append(this.span(token));
    }
    if (follows && fresh.length) text.scrollTop = text.scrollHeight;
    this.state.textContent = run.state === "done" ? faster(run, this.base) : run.state;
    this.box.dataset.state = run.state;
    if (run.tokens.length) COUNTERS.forEach(([, value], i) => { this.cells[i][1].textContent = value(run); });
    if (run.id) {
      this.trace.hidden = run.state === "writing";
      this.trace.href = `v1/rstitch/traces/${run.id}`;
      this.trace.download = `${run.id}.jsonl`;
    }
    if (run.state === "done") this.judge();
  }

  span(token) {
    const made = token.keep ? el("span", { class: `t ${token.side[0]}` }, this.trimmed(token))
      : el("i", { class: "x" });
    const [sure, unsure] = this.shades;
    const heat = Math.max(0, Math.min(1, (token.entropy - sure) / (unsure - sure)));
    if (heat > 0 && token.keep) made.style.setProperty("--h", `${(6 + 18 * heat).toFixed(0)}%`);
    made.dataset.i = token.i;
    this.spans.push(made);
    return made;
  }

  /** Blank lines between thought and answer belong to neither. */
  trimmed({ text, thought }) {
    if (thought || this.begun) return text;
    const shown = text.trimStart();
    this.begun = shown !== "";
    return shown;
  }

  judge() {
    const { run, gold } = this, found = run.boxed;
    if (run.reason === "length") this.verdict.textContent = "Cut off at max tokens.";
    else if (gold !== null && found !== null) {
      this.verdict.textContent = found === gold ? `${found} is right.` : `${found} is wrong; ${gold} is right.`;
      this.verdict.classList.add(found === gold ? "good" : "bad");
    }
  }

  /** Mark token i, or none; scroll to it where it was not pointed at. */
  mark(i, scroll) {
    this.text.querySelector(".at")?.classList.remove("at");
    const span = this.spans[i];
    if (!span) return;
    span.classList.add("at");
    if (scroll) span.scrollIntoView({ block: "nearest" });
  }
}

/** What was cut off took less time for another reason than being quick. */
const comparable = (run, base) => run !== base && [run, base].every((one) => one?.state === "done" && one.reason === "stop");

const faster = (run, base) => (comparable(run, base) ? `${times(base.seconds / run.seconds)} times as fast` : "");

/** How two times compare, split into fewer tokens and cheaper ones. */
export function compared(ours, llm) {
  if (!comparable(ours, llm)) return "cut off, so its time does not compare with that of the LLM alone";
  const speed = llm.seconds / ours.seconds, fewer = llm.count / ours.count, each = speed / fewer;
  const tokens = fewer === 1 ? "as many tokens" : `${ratio(fewer, "fewer", "more")} tokens`;
  return `${times(speed)} times as fast as the LLM alone: ${tokens}, ${ratio(each, "less", "more")} time for each`;
}

const ratio = (value, down, up) => (value >= 1 ? `${times(value)} times ${down}` : `${times(1 / value)} times ${up}`);

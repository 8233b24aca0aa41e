// Who was writing when: a row per answer, all on one axis of seconds. A lane per side, and below it
// the entropy of every proposal on the scale of the slider, with tau as a line.

import { el, seconds } from "./format.js";
import { share } from "./scale.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000, LANE = 9, GAP = 3, STRIP = 30;
const NICE = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

/** The smallest round number of seconds that is not below this, and the way between two ticks. */
export function axis(most) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(most, 0.01)));
  const end = unit * NICE.find((one) => one * unit >= most * (1 - 1e-9));
  const parts = { 1: 5, 1.5: 3, 2: 4, 3: 3, 4: 4, 5: 5, 6: 3, 8: 4, 10: 5 }[NICE.find((one) => one * unit === end)] ?? 5;
  return { end, ticks: Array.from({ length: parts + 1 }, (_, i) => end * i / parts) };
}

const PATHS = ["grid", "at", "base", "slm wait", "llm wait", "slm gone", "slm", "llm", "slm stem", "llm stem", "tau", "tick"];

/** Draws what is new, as far as the axis stays: an answer may have many thousand tokens. */
class Row {
  constructor(run) {
    this.run = run;
    this.top = Object.fromEntries(run.sides.map((side, at) => [side, at * (LANE + GAP)]));
    this.height = run.sides.length * (LANE + GAP) + GAP + STRIP;
    this.svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of Object.entries({ viewBox: `0 0 ${WIDTH} ${this.height}`, height: this.height,
      preserveAspectRatio: "none", tabindex: "0", role: "group",
      "aria-label": `Timeline of ${run.name}; left and right move, n and p go to hand-offs` })) this.svg.setAttribute(key, value);
    this.paths = Object.fromEntries(PATHS.map((name) => [name, document.createElementNS(SVG, "path")]));
    for (const [name, path] of Object.entries(this.paths)) path.setAttribute("class", name);
    this.svg.append(...Object.values(this.paths));
    this.time = el("span", { class: "soft" });
    this.box = el("div", { class: "lane" }, el("div", { class: "who" }, el("b", {}, run.name), this.time), this.svg);
    this.begin({ end: 1, ticks: [] });
  }

  begin({ end, ticks }) {
    const { run, height } = this;
    Object.assign(this, { end, tau: run.tau, count: 0, last: null, drawn: Object.fromEntries(PATHS.map((name) => [name, ""])) });
    this.drawn.grid = ticks.map((tick) => `M${this.x(tick)} 0V${height}`).join("");
    this.drawn.base = run.sides.map((side) => `M0 ${this.top[side] + LANE / 2}H${WIDTH}`).join("") + `M0 ${height}H${WIDTH}`;
    if (!run.side && run.tau > 0 && run.tau < 1) this.drawn.tau = `M0 ${this.rise(run.tau)}H${WIDTH}`;
  }

  draw(axis) {
    if (axis.end !== this.end || this.run.tau !== this.tau || !this.count) this.begin(axis);
    const { tokens, seconds: spent } = this.run;
    for (; this.count < tokens.length; this.count++) this.add(tokens[this.count]);
    for (const [name, path] of Object.entries(this.paths))
      if (name !== "at") path.setAttribute("d", this.drawn[name] + (this.last?.kind === name ? this.block(this.last) : ""));
    this.time.textContent = tokens.length ? seconds(spent) : "";
  }

  add(token) {
    const { side } = token, kind = token.i === 0 ? `${side} wait` : token.keep || side === "llm" ? side : "slm gone";
    if (this.last?.kind === kind) this.last.to = token.seconds;
    else {
      if (this.last) this.drawn[this.last.kind] += this.block(this.last);
      this.last = { kind, top: this.top[side], from: token.from, to: token.seconds };
    }
    const rise = this.rise(token.entropy);
    if (rise < this.height - 0.5) this.drawn[`${side} stem`] += `M${this.x(token.seconds)} ${this.height}V${rise}`;
    if (!token.keep) this.drawn.tick += `M${this.x(token.seconds)} ${this.top[side] - 1}v${LANE + 2}`;
  }

  /** Show which token is looked at. */
  point(i) {
    const token = this.run.tokens[i];
    this.paths.at.setAttribute("d", token ? `M${this.x(token.from)} 0H${this.x(token.seconds)}V${this.height}H${this.x(token.from)}z` : "");
  }

  block({ top, from, to }) { return `M${this.x(from)} ${top}H${this.x(to)}V${top + LANE}H${this.x(from)}z`; }

  x(time) { return (WIDTH * Math.min(time / this.end, 1)).toFixed(2); }

  rise(value) { return (this.height - STRIP * share(value)).toFixed(1); }

  /** An axis for this row alone; once the answer is there it is exactly as long. */
  get own() {
    const { state, seconds: spent } = this.run;
    return { end: state === "done" ? spent : axis(spent).end, ticks: [] };
  }

  /** Index of the token that was being written there. */
  find(clientX) {
    const { left, width } = this.svg.getBoundingClientRect();
    const time = this.end * (clientX - left) / width, { tokens } = this.run;
    const i = tokens.findIndex((token) => token.seconds >= time);
    return i < 0 ? tokens.length - 1 : i;
  }
}

export class Lanes {
  /** point: called with a run and the index of one of its tokens. */
  constructor(box, point) {
    this.box = box;
    this.point = point;
    this.rows = [];
    this.stretched = false; // each row has an axis of its own, so that none is too small to read
  }

  show(runs) {
    this.rows = runs.map((run) => new Row(run));
    this.marks = el("div", { class: "marks" });
    this.box.replaceChildren(...this.rows.map((row) => row.box), el("div", { class: "axis" }, this.marks));
    for (const row of this.rows)
      for (const kind of ["pointermove", "pointerdown"])
        row.svg.addEventListener(kind, (event) => row.run.tokens.length && this.point(row.run, row.find(event.clientX)));
  }

  draw() {
    const found = axis(Math.max(0.1, ...this.rows.map((row) => row.run.seconds)));
    this.box.classList.toggle("stretched", this.stretched);
    for (const row of this.rows) row.draw(this.stretched ? row.own : found);
    if (this.end === found.end && this.marks.childElementCount) return;
    this.end = found.end;
    this.marks.replaceChildren(...found.ticks.map((tick) => {
      const mark = el("span", {}, String(Number(tick.toPrecision(2))) + (tick === 0 ? "" : " s"));
      mark.style.left = `${100 * tick / found.end}%`;
      return mark;
    }));
  }

  /** Show which token is looked at; null for none. */
  look(chosen) {
    for (const row of this.rows) row.point(chosen?.run === row.run ? chosen.i : -1);
  }
}

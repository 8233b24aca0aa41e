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

class Row {
  constructor(run) {
    this.run = run;
    this.top = Object.fromEntries(run.sides.map((side, at) => [side, at * (LANE + GAP)]));
    this.strip = run.sides.length * (LANE + GAP) + GAP;
    this.height = this.strip + STRIP;
    this.paths = {};
    this.svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of Object.entries({ viewBox: `0 0 ${WIDTH} ${this.height}`, height: this.height,
      preserveAspectRatio: "none", tabindex: "0", role: "group",
      "aria-label": `Timeline of ${run.name}; left and right move, n and p go to hand-offs` })) this.svg.setAttribute(key, value);
    for (const name of ["grid", "at", "base", "slm wait", "llm wait", "slm gone", "slm", "llm", "slm stem", "llm stem", "tau", "tick"]) {
      this.paths[name] = document.createElementNS(SVG, "path");
      this.paths[name].setAttribute("class", name);
      this.svg.append(this.paths[name]);
    }
    this.time = el("span", { class: "soft" });
    this.box = el("div", { class: "lane" }, el("div", { class: "who" }, el("b", {}, run.name), this.time), this.svg);
  }

  draw({ end, ticks }, at) {
    const { run, height } = this;
    this.end = end;
    const x = (time) => (WIDTH * Math.min(time / end, 1)).toFixed(2);
    const drawn = Object.fromEntries(Object.keys(this.paths).map((name) => [name, ""]));
    drawn.grid = ticks.map((tick) => `M${x(tick)} 0V${height}`).join("");
    drawn.base = run.sides.map((side) => `M0 ${this.top[side] + LANE / 2}H${WIDTH}`).join("") + `M0 ${height}H${WIDTH}`;
    if (!run.side && run.tau > 0 && run.tau < 1) drawn.tau = `M0 ${this.rise(run.tau)}H${WIDTH}`;
    for (const token of run.tokens) {
      const top = this.top[token.side];
      const kind = token.i === 0 ? `${token.side} wait` : token.keep || token.side === "llm" ? token.side : "slm gone";
      drawn[kind] += `M${x(token.from)} ${top}H${x(token.seconds)}V${top + LANE}H${x(token.from)}z`;
      drawn[`${token.side} stem`] += `M${x(token.seconds)} ${height}V${this.rise(token.entropy)}`;
      if (!token.keep) drawn.tick += `M${x(token.seconds)} ${top - 1}v${LANE + 2}`;
    }
    const chosen = run.tokens[at];
    if (chosen) drawn.at = `M${x(chosen.from)} 0H${x(chosen.seconds)}V${height}H${x(chosen.from)}z`;
    for (const [name, path] of Object.entries(this.paths)) path.setAttribute("d", drawn[name]);
    this.time.textContent = run.tokens.length ? seconds(run.seconds) : "";
  }

  rise(value) { return (this.height - STRIP * share(value)).toFixed(1); }

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

  draw(chosen) {
    this.box.classList.toggle("stretched", this.stretched);
    const found = axis(Math.max(0.1, ...this.rows.map((row) => row.run.seconds)));
    for (const row of this.rows) {
      const own = { end: row.run.seconds || 1, ticks: [] };
      row.draw(this.stretched ? own : found, chosen?.run === row.run ? chosen.i : -1);
    }
    if (this.end === found.end && this.marks.childElementCount) return;
    this.end = found.end;
    this.marks.replaceChildren(...found.ticks.map((tick) => {
      const mark = el("span", {}, String(Number(tick.toPrecision(2))) + (tick === 0 ? "" : " s"));
      mark.style.left = `${100 * tick / found.end}%`;
      return mark;
    }));
  }
}

// What is asked: the problem, tau, which runs, and the fields under "More".

import { Scale } from "./scale.js";

const $ = (id) => document.getElementById(id);

export class Form {
  /** told: the page's settings; start and stop: what the button does; busy: whether it stops. */
  constructor(told, { start, stop, busy }) {
    Object.assign(this, { told, start, stop, busy });
    this.scale = new Scale(told.tau, told.tau_min, told.tau_max);
    this.slider = $("tau");
    this.moved = false; // else the pair's own rule decides, which may have no tau
    this.setUpTau();
    this.setUpRuns();
    for (const chip of document.querySelectorAll(".chip"))
      chip.addEventListener("click", () => { $("prompt").value = told.examples[chip.dataset.example].problem; $("run").focus(); });
  }

  setUpTau() {
    const { scale, slider } = this, mark = $("tau-own");
    slider.min = scale.first;
    slider.max = scale.last;
    mark.hidden = scale.home === null;
    mark.style.setProperty("--at", (scale.home - scale.first) / (scale.last - scale.first));
    slider.addEventListener("input", () => { this.moved = Number(slider.value) !== scale.home; this.showTau(); });
    $("tau-reset").addEventListener("click", () => { this.goHome(); slider.focus(); });
    this.goHome();
  }

  setUpRuns() {
    for (const side of ["llm", "slm"])
      if (!this.told.alone.includes(side)) Object.assign($(`with-${side}`), { checked: false, disabled: true });
    if (this.told.max_tokens !== null) $("max-tokens").max = this.told.max_tokens;
    $("ask").addEventListener("submit", (event) => { event.preventDefault(); if (!this.busy()) this.start(); });
    // Not by submitting: a form that is not complete could not be stopped.
    $("run").addEventListener("click", (event) => { if (this.busy()) { event.preventDefault(); this.stop(); } });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.busy()) $("ask").requestSubmit();
      if (event.key === "Escape" && this.busy()) this.stop();
    });
  }

  goHome() {
    const { first, last, home } = this.scale;
    this.slider.value = home ?? Math.round((first + last) / 2);
    this.moved = false;
    this.showTau();
  }

  showTau() {
    const { tau, policy } = this.told;
    const own = tau === null ? `the pair\u2019s own rule, ${policy}` : `${tau}, the pair\u2019s own`;
    const words = this.moved ? this.scale.told(Number(this.slider.value)) : own;
    $("tau-value").textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
    $("tau-reset").disabled = !this.moved;
  }

  get tau() { return this.moved ? this.scale.tau(Number(this.slider.value)) : this.told.tau; }
  get problem() { return $("prompt").value; }
  get key() { return $("key")?.value.trim() ?? ""; }

  /** Sides that are to write alone too. */
  get alone() { return ["llm", "slm"].filter((side) => $(`with-${side}`).checked); }

  /** What a right answer to the problem has in its box, where that is known. */
  get gold() {
    return this.told.examples.find((one) => one.problem === this.problem.trim())?.answer ?? null;
  }

  /** The request for one run; runs that are compared share a seed. */
  body(side, seed) {
    const { pair } = this.told, tau = side || !this.moved ? {} : { tau: this.tau };
    const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));
    return {
      model: side ? `${pair}-${side}` : pair,
      messages: [{ role: "user", content: this.problem }],
      stream: true,
      seed,
      max_tokens: number("max-tokens"),
      temperature: number("temperature"),
      rstitch: { provenance: true, ...tau },
    };
  }

  showBusy() {
    $("run").textContent = this.busy() ? "Stop" : "Run";
    $("run").classList.toggle("stop", this.busy());
  }

  /** The key was not accepted. */
  refuseKey() { $("key")?.focus(); }
}

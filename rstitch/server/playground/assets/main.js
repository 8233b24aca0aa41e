// The page: what is asked, the answers one after the other, and which token is looked at.

import { Answer, compared } from "./answer.js";
import { chunks, headers, Trouble, words } from "./ask.js";
import { Detail } from "./detail.js";
import { count, seconds } from "./format.js";
import { Lanes } from "./lanes.js";
import { Run } from "./run.js";
import { Scale } from "./scale.js";

const MOST_WORDS = 1000; // asked for at once; a URL has to hold them

const $ = (id) => document.getElementById(id);
const told = JSON.parse($("settings").textContent);
const scale = new Scale(told.tau, told.tau_min, told.tau_max);
const detail = new Detail($("detail"), told.sizes);
const lanes = new Lanes($("lanes"), (run, i) => choose(run, i));
let answers = []; // of the runs that are shown
let chosen = null; // {run, i}
let writing = null; // AbortController of what is going on
let frame = 0;

// -- what is asked ------------------------------------------------------------------------------

const slider = $("tau");
const own = () => Number(slider.value) === scale.home;

function showTau() {
  const words = scale.told(Number(slider.value));
  $("tau-value").textContent = words;
  slider.setAttribute("aria-valuetext", words);
  $("tau-reset").disabled = own();
}

function setUp() {
  slider.min = scale.first;
  slider.max = scale.last;
  slider.value = scale.home ?? Math.round(Scale.step(0.03));
  if (scale.home !== null) {
    const mark = $("tau-own"), at = (scale.home - scale.first) / (scale.last - scale.first);
    mark.hidden = false;
    mark.style.setProperty("--at", at);
  } else $("tau-reset").hidden = true;
  if (told.max_tokens !== null) $("max-tokens").max = told.max_tokens;
  showTau();
  slider.addEventListener("input", showTau);
  $("tau-reset").addEventListener("click", () => { slider.value = scale.home; showTau(); slider.focus(); });
  for (const chip of document.querySelectorAll(".chip"))
    chip.addEventListener("click", () => { $("prompt").value = told.examples[chip.dataset.example].problem; $("run").focus(); });
  $("stretch").addEventListener("change", (event) => { lanes.stretched = event.target.checked; later(); });
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); start(); });
  $("run").addEventListener("click", (event) => { if (writing) { event.preventDefault(); stop(); } });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !writing) $("ask").requestSubmit();
    if (event.key === "Escape") writing ? stop() : choose(null);
  });
}

const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));
const key = () => $("key")?.value.trim() ?? "";

/** A request for one run; all runs of a click share the seed, so that they are comparable. */
function body(run, seed) {
  const rstitch = { provenance: true };
  if (!run.side && !own()) rstitch.tau = run.tau;
  return {
    model: run.side ? `${told.pair}-${run.side}` : told.pair,
    messages: [{ role: "user", content: $("prompt").value }],
    stream: true, seed, rstitch,
    max_tokens: number("max-tokens"),
    temperature: number("temperature"),
  };
}

// -- the runs -----------------------------------------------------------------------------------

async function start() {
  const runs = [new Run("Stitched", null, own() ? told.tau : scale.tau(Number(slider.value)))];
  for (const side of ["llm", "slm"])
    if ($(`with-${side}`).checked) runs.push(new Run(`${side.toUpperCase()} alone`, side));
  const seed = Math.floor(Math.random() * 2 ** 31);
  const bodies = runs.map((run) => body(run, seed));
  show(runs);
  writing = new AbortController();
  busy(true);
  try {
    for (const [i, run] of runs.entries()) {
      say(`${run.name}: writing.`);
      await write(run, bodies[i]);
    }
    say(summary(runs));
  } catch (error) {
    failed(runs, error);
  } finally {
    writing = null;
    busy(false);
    draw();
    for (const run of runs) name(run).catch(() => {}); // then they stay numbers
  }
}

async function write(run, asked) {
  try {
    for await (const chunk of chunks(asked, key(), writing.signal)) {
      run.add(chunk);
      later();
    }
    run.end("done");
  } catch (error) {
    run.end(error.name === "AbortError" ? "stopped" : "failed");
    throw error;
  } finally {
    draw();
  }
}

/** Discarded proposals come without a text; ask for them once nothing is timed any more. */
async function name(run) {
  const nameless = run.tokens.filter((token) => !token.keep), ids = {};
  for (const side of run.sides)
    ids[side] = [...new Set(nameless.filter((one) => one.side === side).map((one) => one.id))].slice(0, MOST_WORDS);
  const found = nameless.length ? await words(ids, key()) : null;
  if (!found) return;
  for (const token of nameless) token.word = found[token.side][ids[token.side].indexOf(token.id)] ?? "";
  if (chosen?.run === run) detail.show(run, chosen.i);
}

function failed(runs, error) {
  for (const run of runs) if (run.state === "waiting") run.end("not run");
  if (error.name === "AbortError") return say(`Stopped after ${count(runs.reduce((sum, run) => sum + run.count, 0), "token")}.`);
  say("");
  $("results").hidden = !runs[0].id;
  $("trouble").textContent = error instanceof Trouble ? error.message : `The page made a mistake: ${error.message}.`;
  $("trouble").hidden = false;
  if (error.status === 401) $("key")?.focus();
}

function summary(runs) {
  const [ours] = runs, llm = runs.find((run) => run.side === "llm");
  const told = [`Stitched: ${count(ours.count, "token")} in ${seconds(ours.seconds)}`, llm && compared(ours, llm)];
  return `${told.filter(Boolean).join(", ")}.`;
}

const stop = () => writing.abort();
const say = (text) => { $("status").textContent = text; };

function busy(is) {
  $("run").textContent = is ? "Stop" : "Run";
  $("run").classList.toggle("stop", is);
  document.body.classList.toggle("busy", is);
}

// -- what is shown ------------------------------------------------------------------------------

function show(runs) {
  $("intro").hidden = true;
  $("trouble").hidden = true;
  $("results").hidden = false;
  const gold = told.examples.find((one) => one.problem === $("prompt").value.trim())?.answer ?? null;
  const base = runs.find((run) => run.side === "llm");
  answers = runs.map((run) => new Answer(run, { shades: told.shades, gold, base, download }));
  $("answers").replaceChildren(...answers.map((answer) => answer.box));
  $("answers").dataset.columns = runs.length;
  lanes.show(runs);
  for (const answer of answers) {
    for (const kind of ["pointerover", "click"])
      answer.text.addEventListener(kind, (event) => {
        const i = event.target.dataset.i;
        if (i !== undefined) choose(answer.run, Number(i));
      });
    answer.text.addEventListener("keydown", (event) => move(answer.run, event));
  }
  for (const row of lanes.rows) row.svg.addEventListener("keydown", (event) => move(row.run, event));
  choose(null);
}

function later() {
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  cancelAnimationFrame(frame);
  frame = 0;
  for (const answer of answers) answer.draw();
  lanes.draw(chosen);
}

/** Look at a token, or at none. */
function choose(run, i = 0, byKey = false) {
  chosen = run && run.tokens[i] ? { run, i } : null;
  for (const answer of answers) answer.mark(answer.run === chosen?.run ? i : -1, byKey);
  if (chosen) detail.show(run, i);
  else detail.clear();
  if (byKey) $("said").textContent = detail.said(run, i);
  later();
}

/** Arrow keys in an answer or on its timeline. */
function move(run, event) {
  const visible = (token) => !token.keep || token.text !== "";
  const turn = (token) => token.i > 0 && run.tokens[token.i - 1].side !== token.side;
  const [by, wanted] = {
    ArrowRight: [1, visible], ArrowLeft: [-1, visible], n: [1, turn], p: [-1, turn], Home: [1, visible], End: [-1, visible],
  }[event.key] ?? [];
  if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const ends = { Home: -1, End: run.tokens.length };
  let i = (ends[event.key] ?? (chosen?.run === run ? chosen.i : by > 0 ? -1 : run.tokens.length)) + by;
  while (run.tokens[i] && !wanted(run.tokens[i])) i += by;
  if (run.tokens[i]) choose(run, i, true);
}

/** With an API key the browser cannot fetch the link by itself. */
async function download(run, event) {
  if (!key() || event.target.href.startsWith("blob:")) return;
  event.preventDefault();
  const link = event.target, answer = await fetch(link.href, { headers: headers(key()) });
  if (!answer.ok) return;
  link.href = URL.createObjectURL(await answer.blob());
  link.click();
}

setUp();

// The page: the answers, one after the other, and which token is looked at.

import { Answer, compared } from "./answer.js";
import { chunks, headers, Trouble, words } from "./ask.js";
import { Detail } from "./detail.js";
import { Form } from "./form.js";
import { count, seconds } from "./format.js";
import { moved } from "./keys.js";
import { Lanes } from "./lanes.js";
import { Run } from "./run.js";

const MOST_WORDS = 1000; // asked for at once; a URL has to hold them

const $ = (id) => document.getElementById(id);
const told = JSON.parse($("settings").textContent);
let writing = null; // AbortController of what is going on
let answers = []; // of the runs that are shown
let chosen = null; // {run, i}
let frame = 0;

const form = new Form(told, { start, stop: () => writing.abort(), busy: () => writing !== null });
const detail = new Detail($("detail"), told.sizes);
const lanes = new Lanes($("lanes"), (run, i) => choose(run, i));
$("stretch").addEventListener("change", (event) => { lanes.stretched = event.target.checked; later(); });
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !writing) choose(null); });

// -- the runs -----------------------------------------------------------------------------------

async function start() {
  const runs = [new Run("Stitched", null, form.tau)];
  for (const side of form.alone) runs.push(new Run(`${side.toUpperCase()} alone`, side));
  const seed = Math.floor(Math.random() * 2 ** 31);
  const bodies = runs.map((run) => form.body(run.side, seed));
  show(runs);
  writing = new AbortController();
  form.showBusy();
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
    form.showBusy();
    draw();
    for (const run of runs) name(run).catch(() => {}); // then they stay numbers
  }
}

async function write(run, asked) {
  try {
    for await (const chunk of chunks(asked, form.key, writing.signal)) {
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
  const found = nameless.length ? await words(ids, form.key) : null;
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
  if (error.status === 401) form.refuseKey();
}

function summary(runs) {
  const [ours] = runs, llm = runs.find((run) => run.side === "llm");
  const told = [`Stitched: ${count(ours.count, "token")} in ${seconds(ours.seconds)}`, llm && compared(ours, llm)];
  return `${told.filter(Boolean).join(", ")}.`;
}

const say = (text) => { $("status").textContent = text; };

// -- what is shown ------------------------------------------------------------------------------

function show(runs) {
  $("intro").hidden = true;
  $("trouble").hidden = true;
  $("results").hidden = false;
  const base = runs.find((run) => run.side === "llm");
  answers = runs.map((run) => new Answer(run, { shades: told.shades, gold: form.gold, base, download }));
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
  lanes.draw();
  lanes.look(chosen);
}

/** Look at a token, or at none. */
function choose(run, i = 0, byKey = false) {
  chosen = run && run.tokens[i] ? { run, i } : null;
  for (const answer of answers) answer.mark(answer.run === chosen?.run ? i : -1, byKey);
  if (chosen) detail.show(run, i);
  else detail.clear();
  if (byKey) $("said").textContent = detail.said(run, i);
  lanes.look(chosen);
}

function move(run, event) {
  const i = moved(run.tokens, chosen?.run === run ? chosen.i : null, event);
  if (i === null) return;
  event.preventDefault();
  if (run.tokens[i]) choose(run, i, true);
}

/** With an API key the browser cannot fetch the link by itself. */
async function download(run, event) {
  if (!form.key || event.target.href.startsWith("blob:")) return;
  event.preventDefault();
  const link = event.target, answer = await fetch(link.href, { headers: headers(form.key) });
  if (!answer.ok) return;
  link.href = URL.createObjectURL(await answer.blob());
  link.click();
}

"use strict";
// The viewer of answers. Everything that a model wrote goes in as text, never as markup.
(() => {
  const SURE = 0.0125, UNSURE = 0.25; // entropy from which a token is shaded, and fully
  const el = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const seconds = (value) => (value < 10 ? value.toPrecision(3) : value.toFixed(0)) + " s";
  const seen = (text) => text.replace(/\n/g, "\u21b5").replace(/^ | $/g, "\u2423") || "(no text)";
  const verdict = (one) => one.reason === "failed" ? "failed" : one.right ? "right" : "wrong";
  const cut = (one) => (one.reason === "length" ? ", cut off" : "");

  function label(entry) {
    if (entry.kind === "regression") return "LLM right, stitched wrong";
    if (entry.kind === "wrong") return "wrong";
    if (entry.kind === "gain") return "LLM wrong, stitched right";
    return entry.times ? `${entry.times.toFixed(2)} times the LLM's ${entry.unit}` : verdict(entry.ours);
  }

  function tokens(ours) {
    const box = el("div", { class: "answer", tabindex: "0", role: "group",
      "aria-label": "Tokens; arrow keys move, n and p go to hand-offs" });
    if (!ours.t) { box.append(ours.text || ""); return { box, spans: [] }; }
    const spans = ours.t.map((text, i) => {
      const dropped = ours.k[i] !== "1";
      const span = el("span", { class: "tok" + (ours.s[i] === "1" ? " l" : "") + (dropped ? " x" : "") });
      span.textContent = dropped ? text.replace(/\n/g, "\u21b5") : text;
      if (ours.h) {
        const heat = Math.min(Math.max(ours.h[i] - SURE, 0) / (UNSURE - SURE), 1);
        if (heat > 0) span.style.setProperty("--h", (8 + 34 * heat).toFixed(0) + "%");
      }
      span.dataset.i = i;
      return span;
    });
    box.append(...spans);
    return { box, spans };
  }

  function told(info, ours, i, vocabulary) {
    const side = ours.s[i] === "1" ? "LLM" : "SLM";
    const fate = { 1: "wrote", 0: "proposed", 2: "wrote, and lost again," }[ours.k[i]];
    info.replaceChildren(`token ${i + 1} of ${ours.t.length}: ${side} ${fate} `, el("b", {}, seen(ours.t[i])));
    if (ours.h) {
      const size = vocabulary[side.toLowerCase()];
      const nats = size ? ` (${(ours.h[i] * Math.log(size)).toPrecision(3)} nats)` : "";
      info.append(`; entropy ${ours.h[i].toPrecision(3)}${nats}; probability ${Math.exp(ours.p[i]).toPrecision(3)}`);
    }
    if (ours.k[i] === "0") info.append("; discarded, the other side writes this position");
    if (ours.k[i] === "2") info.append("; taken back when the LLM read it");
  }

  function show(place, entry, vocabulary, hidden) {
    const { box, spans } = tokens(entry.ours);
    const info = el("p", { class: "info", "aria-live": "polite" }, "Point at a token, or tap it.");
    let at = -1;
    const go = (i, follow) => {
      if (!(i >= 0 && i < spans.length)) return;
      if (spans[at]) spans[at].classList.remove("at");
      at = i;
      spans[at].classList.add("at");
      told(info, entry.ours, at, vocabulary);
      if (follow) spans[at].scrollIntoView({ block: "nearest" });
    };
    const shownAt = (i) => entry.ours.t[i] !== "" && !(place.classList.contains("hide-x") && entry.ours.k[i] !== "1");
    const step = (by, wanted) => {
      let i = at + by;
      while (i >= 0 && i < spans.length && !(shownAt(i) && wanted(i))) i += by;
      go(i, true);
    };
    const handoff = (i) => i > 0 && entry.ours.s[i] !== entry.ours.s[i - 1];
    const find = (event) => event.target.closest?.(".tok")?.dataset.i;
    for (const kind of ["pointerover", "click"])
      box.addEventListener(kind, (event) => { const i = find(event); if (i !== undefined) go(+i); });
    box.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: [1, () => true], ArrowLeft: [-1, () => true], n: [1, handoff], p: [-1, handoff] };
      if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      step(...moves[event.key]);
    });
    const { ours, llm } = entry;
    const time = (one) => (entry.unit === "time" ? `${seconds(one.seconds)}, ` : "");
    const share = ours.tokens ? (100 * ours.llm_tokens / ours.tokens).toFixed(0) : 0;
    const head = (name, one, more) => el("h5", {}, name + ": ",
      el("span", { class: one.right ? "good" : "bad" }, verdict(one)), el("span", {}, `${cut(one)}, ${more}`));
    const left = el("div", { class: "side" },
      head(entry.method, ours, `${time(ours)}${ours.tokens} tokens, ${share} % of them the LLM's`), box, info);
    const both = el("div", { class: "both" }, left);
    if (llm) both.append(el("div", { class: "side" },
      head("LLM alone", llm, `${time(llm)}${llm.tokens} tokens`),
      el("div", { class: "answer", tabindex: "0", role: "group", "aria-label": "The LLM's answer" }, llm.text)));
    const toggle = el("input", { type: "checkbox" });
    toggle.checked = !hidden();
    toggle.addEventListener("change", () => hidden(!toggle.checked));
    const tools = el("div", { class: "tools" },
      el("span", { class: "tok" }, "SLM"), el("span", { class: "tok l" }, "LLM"),
      el("span", { class: "tok", style: "--h:42%" }, "unsure"), el("span", { class: "tok x" }, "discarded"),
      el("label", {}, toggle, " show discarded"),
      el("span", { class: "keys" }, el("kbd", {}, "\u2191"), el("kbd", {}, "\u2193"), " answer, ",
        el("kbd", {}, "\u2190"), el("kbd", {}, "\u2192"), " token, ", el("kbd", {}, "n"), el("kbd", {}, "p"), " hand-off"));
    const title = [entry.problem, entry.group, entry.sample ? `sample ${entry.sample}` : ""].filter(Boolean).join(", ");
    place.replaceChildren(el("h4", {}, title), tools);
    if (entry.question !== null)
      place.append(el("p", { class: "question", tabindex: "0" }, entry.question, entry.gold !== null ? `\nRight: ${entry.gold}` : ""));
    place.append(both);
  }

  function view(root) {
    const { entries, vocabulary, labels } = JSON.parse(document.getElementById(root.dataset.traces).textContent);
    const list = el("ul", { class: "list", role: "listbox", tabindex: "0", "aria-label": "Answers" });
    const place = el("div", { class: "shown" });
    const hidden = (value) => value === undefined ? place.classList.contains("hide-x") : place.classList.toggle("hide-x", value);
    const items = entries.map((entry, i) => el("li", { role: "option", id: `${root.dataset.traces}-${i}`, "aria-selected": "false" },
      el("span", { class: "name" }, entry.problem + (entry.sample ? ` #${entry.sample}` : "") + (labels > 1 ? `, ${entry.method}` : "")),
      el("span", { class: `kind ${entry.kind}` }, label(entry))));
    let at = -1;
    const go = (i) => {
      if (!items[i]) return;
      items[at]?.setAttribute("aria-selected", "false");
      at = i;
      items[at].setAttribute("aria-selected", "true");
      list.setAttribute("aria-activedescendant", items[at].id);
      const top = items[at].offsetTop - list.offsetTop;
      if (top < list.scrollTop || top + items[at].offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - 40;
      show(place, entries[at], vocabulary, hidden);
    };
    list.append(...items);
    list.addEventListener("click", (event) => go(items.indexOf(event.target.closest("li"))));
    list.addEventListener("keydown", (event) => {
      const moves = { ArrowDown: at + 1, ArrowUp: at - 1, j: at + 1, k: at - 1, Home: 0, End: items.length - 1 };
      if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      go(moves[event.key]);
    });
    root.replaceChildren(list, place);
    go(0);
  }

  document.querySelectorAll(".viewer").forEach(view);
})();

// One answer: its tokens as they come, and what they add up to. Knows nothing of the page.

const MARK = { true: "</think>", false: "<think>" };

export class Run {
  /** side: "slm" or "llm" where one model writes alone, else null. */
  constructor(name, side = null, tau = null) {
    Object.assign(this, { name, side, tau });
    this.state = "waiting"; // writing, done, stopped, failed
    this.tokens = [];
    this.turns = 0;
    this.written = { slm: 0, llm: 0 }; // kept tokens
    this.summary = null;
    this.id = null;
    this.reason = null;
    this.held = []; // tokens that came before it was known whether the answer begins with a thought
    this.thinking = null;
    this.tail = "";
  }

  get sides() { return this.side ? [this.side] : ["slm", "llm"]; }

  /** Take a chunk of the stream. */
  add(chunk) {
    this.state = "writing";
    this.id = chunk.id;
    const [choice] = chunk.choices;
    if (this.thinking === null && choice) {
      if (choice.delta.reasoning) this.thinking = true;
      else if (choice.delta.content || choice.finish_reason) this.thinking = false;
    }
    this.held.push(...(chunk.rstitch?.tokens ?? []));
    if (this.thinking !== null) this.settle();
    if (choice?.finish_reason) {
      this.reason = choice.finish_reason;
      this.summary = chunk.rstitch;
      if (chunk.rstitch.tau !== null) this.tau = chunk.rstitch.tau;
    }
  }

  /** Put tokens in their place. Both marks of a thought belong to it. */
  settle() {
    for (const token of this.held) {
      const closes = token.keep && this.follow(token.text);
      if (token.next !== token.side) this.turns++;
      if (token.keep) this.written[token.side]++;
      const from = this.tokens.at(-1)?.seconds ?? 0;
      this.tokens.push({ ...token, i: this.tokens.length, from, thought: this.thinking || closes, word: token.text });
    }
    this.held = [];
  }

  /** Whether a thought ends with this text. */
  follow(text) {
    let closes = false;
    this.tail += text;
    for (let at; (at = this.tail.indexOf(MARK[this.thinking])) >= 0;) {
      this.tail = this.tail.slice(at + MARK[this.thinking].length);
      closes = this.thinking;
      this.thinking = !this.thinking;
    }
    this.tail = this.tail.slice(-MARK.true.length);
    return closes;
  }

  end(state) {
    this.thinking ??= false;
    this.settle();
    this.state = state;
  }

  get count() { return this.written.slm + this.written.llm; }
  get handoffs() { return this.summary?.handoffs ?? this.turns; }
  get seconds() { return this.summary?.seconds ?? this.tokens.at(-1)?.seconds ?? 0; }
  get first() { return this.tokens.find((token) => token.keep)?.seconds; }
  get rate() { return this.seconds ? this.count / this.seconds : 0; }
  get text() { return this.tokens.filter((token) => token.keep).map((token) => token.text).join(""); }

  /** The proposals that token i came instead of. */
  instead(i) {
    const found = [];
    for (let at = i - 1; at >= 0 && !this.tokens[at].keep; at--) found.unshift(this.tokens[at]);
    return found;
  }

  /** What stands in the last \boxed{...}; null where there is none. */
  get boxed() {
    const text = this.text, at = text.lastIndexOf("\\boxed{");
    if (at < 0) return null;
    for (let i = at + 7, depth = 1; i < text.length; i++) {
      depth += { "{": 1, "}": -1 }[text[i]] ?? 0;
      if (!depth) return text.slice(at + 7, i);
    }
    return null;
  }
}

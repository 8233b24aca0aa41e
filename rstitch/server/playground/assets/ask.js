// One request to the server, and the chunks of its stream.

export class Trouble extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export const headers = (key) => (key ? { authorization: `Bearer ${key}` } : {});

/** Yields the chunks. Throws Trouble in words; an AbortError where the signal ended it. */
export async function* chunks(body, key, signal) {
  const answer = await reached(fetch("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", ...headers(key) },
    body: JSON.stringify(body),
    signal,
  }));
  if (!answer.ok) throw await refusal(answer);
  for await (const data of events(answer.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Trouble(sentence(chunk.error.message));
    yield chunk;
  }
  throw new Trouble("The connection ended before the answer did.");
}

/** Texts of single tokens: ids by side. */
export async function words(ids, key) {
  const query = new URLSearchParams(Object.entries(ids).map(([side, list]) => [side, list.join(",")]));
  const answer = await fetch(`v1/rstitch/words?${query}`, { headers: headers(key) });
  return answer.ok ? answer.json() : null;
}

async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached. Is it still running?");
  }
}

async function refusal(answer) {
  let told = `The server answered with status ${answer.status}.`;
  try {
    told = sentence((await answer.json()).error.message);
  } catch { /* what came is no error of ours; the status has to do */ }
  const wait = Number(answer.headers.get("retry-after"));
  if (wait) told += ` Try again in ${wait} s.`;
  return new Trouble(told, answer.status);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { value, done } = await reached(reader.read());
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have failed already
  }
}

// Server-sent events over fetch, because EventSource cannot send the token.

import { ask } from "./access.js";

/** Read the events of a path until it ends. Each is {event, id, data}. Throws `Refused`, or at an abort. */
export async function* events(path, { signal, lastId } = {}) {
  const headers = { Accept: "text/event-stream" };
  if (lastId !== undefined) headers["Last-Event-ID"] = String(lastId);
  const answer = await ask(path, { signal, headers });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const found = parsed(block);
      if (found !== null) yield found;
    }
  }
}

function parsed(block) {
  const found = { event: "message", id: null, data: [] };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue; // a comment keeps the connection alive
    const text = line.slice(colon + 1).replace(/^ /, "");
    const field = line.slice(0, colon);
    if (field === "data") found.data.push(text);
    else if (field === "event" || field === "id") found[field] = text;
  }
  return found.data.length ? { ...found, data: found.data.join("\n") } : null;
}

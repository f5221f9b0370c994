// The token: it comes in the fragment of the address, which no server sees, and stays in this tab.

const KEY = "streamd.token";

/** Take the token out of the fragment, so that it is neither in the history nor in a copied address. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return;
  setToken(given);
  history.replaceState(null, "", location.pathname + location.search);
}

export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

/** Keep the token, and let all who wait for one try again. */
export function setToken(text) {
  sessionStorage.setItem(KEY, text.trim());
  for (const listener of listeners) listener();
}

const listeners = new Set();

/** Call `listener()` whenever a token was entered. */
export function onToken(listener) {
  listeners.add(listener);
}

/** An answer that is no success. `code` is the HTTP code, or 0 if the daemon did not answer. */
export class Refused extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

/** Fetch a path of the daemon with the token. Throws `Refused`. */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem(KEY);
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the daemon does not answer");
  }
  if (!answer.ok) throw new Refused(answer.status, (await answer.text().catch(() => "")).trim());
  return answer;
}

/** Fetch a document. Throws `Refused`. */
export async function askJson(path, options = {}) {
  const answer = await ask(path, options);
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the answer broke off");
  }
}

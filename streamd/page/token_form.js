// The form that asks for the token, and the note in each part of the page that needs it.

import { hasToken, onToken, setToken } from "./access.js";
import { el, setText } from "./dom.js";

let form = null;

/** The only form of the page, below the sentence of health. Hidden until `askForToken` shows it. */
export function placeTokenForm(root) {
  const input = el("input", {
    type: "password",
    id: "token",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  const why = el("p");
  const label = el("label", { for: "token", text: "Token" });
  const element = el(
    "form",
    { class: "token-form", hidden: true },
    why,
    el("div", { class: "fields" }, label, input, el("button", { type: "submit", text: "Use it" })),
  );
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(input.value);
    input.value = "";
  });
  onToken(() => (element.hidden = true));
  root.append(element);
  form = { element, input, why };
}

/** Show the form. */
export function askForToken({ focus }) {
  const text = hasToken() ? "The daemon refuses this token." : "The daemon asks for its token.";
  setText(
    form.why,
    `${text} “streamd page” prints it, and an address that contains it. It stays in this tab.`,
  );
  form.element.hidden = false;
  if (focus) form.input.focus();
}

/** Stands in a part of the page whose answer was refused. */
export class TokenNote {
  constructor(root) {
    this._text = el("span");
    const enter = el("button", {
      type: "button",
      class: "link",
      text: "Enter the token",
      onclick: () => askForToken({ focus: true }),
    });
    this._element = el("p", { class: "empty", hidden: true }, this._text, enter);
    root.append(this._element);
    onToken(() => (this._element.hidden = true));
  }

  show() {
    const wrong = "The token is wrong. ";
    setText(
      this._text,
      hasToken() ? wrong : "Only with the token, because it shows data of records or senders. ",
    );
    this._element.hidden = false;
  }
}

// The tabs of the page: one panel is visible, the arrow keys move between them, and the address keeps the choice.

import { el, setAttribute } from "./dom.js";

export class Tabs {
  /** `panels` are [name, title, make]; `make(root)` builds the panel when it is shown first. */
  constructor(list, main, panels, onChoice) {
    this._onChoice = onChoice;
    this._panels = panels.map(([name, title, make]) => {
      const tab = el("button", {
        type: "button",
        role: "tab",
        id: `tab-${name}`,
        "aria-controls": `panel-${name}`,
        text: title,
        onclick: () => this.choose(name),
      });
      const panel = el("div", {
        role: "tabpanel",
        id: `panel-${name}`,
        class: `panel panel-${name}`,
        "aria-labelledby": `tab-${name}`,
        hidden: true,
      });
      list.append(tab);
      main.append(panel);
      return { name, tab, panel, make, made: null };
    });
    list.addEventListener("keydown", (event) => this._key(event));
    addEventListener("hashchange", () => this._fromAddress());
    this._fromAddress();
  }

  /** The component of the visible panel. */
  get shown() {
    return this._shown.made;
  }

  /** Every component that was built. */
  get made() {
    return this._panels.map((one) => one.made).filter(Boolean);
  }

  choose(name) {
    const wanted = this._panels.find((one) => one.name === name) ?? this._panels[0];
    for (const one of this._panels) {
      const chosen = one === wanted;
      setAttribute(one.tab, "aria-selected", chosen);
      setAttribute(one.tab, "tabindex", chosen ? "0" : "-1");
      one.panel.hidden = !chosen;
    }
    this._shown = wanted;
    wanted.made ??= wanted.make(wanted.panel);
    if (location.hash.slice(1) !== name)
      history.replaceState(null, "", wanted === this._panels[0] ? location.pathname : `#${name}`);
    wanted.tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    this._onChoice();
  }

  _fromAddress() {
    this.choose(location.hash.slice(1) || this._panels[0].name);
  }

  _key(event) {
    const last = this._panels.length - 1;
    const here = this._panels.indexOf(this._shown);
    const there = {
      ArrowLeft: here === 0 ? last : here - 1,
      ArrowRight: here === last ? 0 : here + 1,
      Home: 0,
      End: last,
    }[event.key];
    if (there === undefined) return;
    event.preventDefault();
    this.choose(this._panels[there].name);
    this._panels[there].tab.focus();
  }
}

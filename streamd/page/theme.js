// The switch between the theme of the system, light and dark. The choice is kept in this browser.

import { el, setText } from "./dom.js";

const KEY = "streamd.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const ICONS = { system: "◐", light: "☀", dark: "☾" };

export function themeSwitch(onChange) {
  let theme = localStorage.getItem(KEY) ?? "system";
  if (!(theme in NEXT)) theme = "system";
  const icon = el("span", { "aria-hidden": "true" });
  const word = el("span");
  const button = el(
    "button",
    { type: "button", class: "quiet", onclick: () => choose(NEXT[theme]) },
    icon,
    word,
  );
  const choose = (wanted) => {
    theme = wanted;
    if (theme === "system") {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem(KEY, theme);
      document.documentElement.dataset.theme = theme;
    }
    setText(icon, ICONS[theme]);
    setText(word, ` ${theme} theme`);
    onChange();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  choose(theme);
  return button;
}

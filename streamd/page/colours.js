// The colours of the style sheet for the canvases of the charts, in the theme of the moment.

const probe = document.createElement("span");
probe.hidden = true;

const found = new Map();

/** The colour of a custom property, for example `stored` for --stored, with an opacity of 0 to 1. */
export function colour(name, opacity = 1) {
  if (!found.has(name)) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    found.set(name, getComputedStyle(probe).color);
  }
  const text = found.get(name);
  return opacity === 1 ? text : text.replace(/^rgb\((.*)\)$/, `rgba($1, ${opacity})`);
}

/** Forget the colours after a change of the theme. */
export function forgetColours() {
  found.clear();
}

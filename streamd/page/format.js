// Numbers, sizes and times as text. Every number has the same separators, so that columns line up.

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 6 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });

export const NOTHING = "–";

export function count(n) {
  return n === null || n === undefined ? NOTHING : WHOLE.format(n);
}

/** A measure: whole numbers exactly, others with so many digits. */
export function measure(n, digits = 6) {
  if (n === null || n === undefined) return NOTHING;
  if (Number.isInteger(n)) return WHOLE.format(n);
  return digits === 6 ? FINE.format(n) : n.toLocaleString("en-US", { maximumSignificantDigits: digits });
}

export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined || Number.isNaN(perSecond)) return NOTHING;
  const digits = Math.abs(perSecond) < 10 && !Number.isInteger(perSecond) ? 1 : 0;
  return `${perSecond.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}/s`;
}

/** A rate for the axis of a chart: 12 k. */
export function short(n) {
  const size = Math.abs(n);
  if (size >= 1e9) return `${FINE.format(n / 1e9)} G`;
  if (size >= 1e6) return `${FINE.format(n / 1e6)} M`;
  if (size >= 1e4) return `${FINE.format(n / 1e3)} k`;
  return FINE.format(n);
}

export function percent(share) {
  if (share === null || share === undefined) return NOTHING;
  const value = share * 100;
  if (value > 0 && value < 1) return "<1 %";
  if (value > 99 && value < 100) return ">99 %";
  return `${Math.round(value)} %`;
}

export function bytes(n) {
  if (n === null || n === undefined) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return "<1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 172800)
    return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(whole / 86400)} days`;
}

/** The time of day in this browser's zone. */
export function clock(wallS) {
  return CLOCK.format(wallS * 1000);
}

/** The time of day to the minute, with the date unless it is today. */
export function since(wallS) {
  const at = new Date(wallS * 1000);
  const minute = MINUTE.format(at);
  return DAY.format(at) === DAY.format(Date.now()) ? minute : `${DAY.format(at)} ${minute}`;
}

/** A time of the daemon (ISO 8601) to the second, in this browser's zone. */
export function moment(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? String(iso) : `${DAY.format(at)} ${CLOCK.format(at)}`;
}

/** A value of a record or of a row as text. */
export function value(found) {
  if (found === null || found === undefined) return NOTHING;
  if (typeof found === "string") return found;
  if (typeof found === "number") return String(found);
  return JSON.stringify(found);
}

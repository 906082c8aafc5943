// Values as a person reads them.

const whole = new Intl.NumberFormat("en");
const fraction = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** @param {number} value */
export const number = (value) => (Number.isInteger(value) ? whole : fraction).format(value);

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** @param {number} bytes */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
  return power ? `${(bytes / 1000 ** power).toPrecision(3)} ${units[power]}` : counted(bytes, "byte");
}

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** @param {string} instant */
export const moment = (instant) => exact.format(new Date(instant));

const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** As short as an axis wants it. @param {string} instant */
export const dated = (instant) => day.format(new Date(instant));

/** How long ago, for people. @param {string} instant */
export function ago(instant) {
  const seconds = Math.max(0, (Date.now() - new Date(instant).getTime()) / 1000);
  if (seconds < 10) return "just now";
  for (const [unit, length] of [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ]) {
    if (seconds >= length) return relative.format(-Math.floor(seconds / length), unit);
  }
  return relative.format(-Math.floor(seconds), "second");
}

/** The last part of a job's id: the first is a time, which jobs of one minute share. @param {string} id */
export const shortId = (id) => id.slice(-8);

/** A column's name as a heading. @param {string} name */
export function heading(name) {
  const words = name.replaceAll("_", " ").replace(/\bid(s?)\b/, "ID$1");
  return words[0].toUpperCase() + words.slice(1);
}

/** Who or what it is, and not how many: written without separators. @param {string} column */
export const isId = (column) => column.endsWith("_id");

/** A cell of the features. @param {unknown} value @param {string} [column] what it is of */
export function cell(value, column = "") {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "number" && !isId(column) ? number(value) : String(value);
}

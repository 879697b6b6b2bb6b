// Numbers as people read them; the same words as the command line's table.

export const by = (values) =>
  !values || !values.length ? "–" : values.map((v) => (v === null ? "–" : String(v))).join("×");

export const once = (values) =>
  values && values.length && values.every((v) => v === values[0]) ? by(values.slice(0, 1)) : by(values);

const three = (n) => (n < 9.995 ? n.toFixed(2) : n < 99.95 ? n.toFixed(1) : n.toFixed(0));

export function count(n) {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]])
    if (n >= 0.9995 * size) return `${three(n / size)} ${unit}`;
  return n.toFixed(0);
}

export function bytes(n) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]])
    if (n >= size) return `${three(n / size)} ${unit}`;
  return `${n} B`;
}

// Positions in the unit that a person measures in, behind their number: " = 9.6 m"; "" without a scale or an entry an axis.
export function beside(scale, values) {
  if (!scale || !values?.length || values.length !== scale.step.length || values.includes(null)) return "";
  const said = values.map((v, i) => number(v) * scale.step[i]).map((v) => (Math.abs(v) >= 1000 ? v.toFixed(0) : String(Number(v.toPrecision(4)))));
  return ` = ${said.every((s) => s === said[0]) ? said[0] : said.join("×")} ${scale.unit}`;
}

// How much more or less: "+30 %", "−12 %", "×4.0" from doubling on; "" where it is the same.
export function change(now, before) {
  if (now === before || !before) return "";
  const ratio = now / before;
  if (ratio >= 2) return `×${ratio.toFixed(1)}`;
  return `${ratio > 1 ? "+" : "−"}${(Math.abs(ratio - 1) * 100).toFixed(1)} %`;
}

// A stride is a whole number or a fraction written "1/2".
export function number(value) {
  if (typeof value !== "string") return value;
  const [a, b] = value.split("/").map(Number);
  return b ? a / b : a;
}

export const percent = (v, digits = 1) => (v === null || v === undefined ? "–" : `${(100 * v).toFixed(digits)} %`);

// A number of an example: few digits, a real minus, and never "-0.00".
export function plainNumber(v) {
  const text = Math.abs(v) < 10 ? v.toFixed(2) : v.toFixed(1);
  return Number(text) === 0 ? "0" : text.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "").replace("-", "−");
}

// What a person reads for a place: "+layer3.1" is a step put in after layer3.1.
export const placeName = (key) => (key.startsWith("+") ? `after ${key.slice(1)}` : key);

// Somebody's text in a message: no characters that are not seen, and not without end.
export const clipped = (text) => String(text).replace(/\p{C}/gu, "").slice(0, 120);

// A word of a command as a shell takes it: nothing in it is run, and a name that looks like an option is none.
export function quoted(word) {
  const clean = String(word).replace(/\p{C}/gu, "").slice(0, 120);
  const shown = /^[\w@%+=:,./-]+$/.test(clean) ? clean : `'${clean.replaceAll("'", "'\\''")}'`;
  return clean.startsWith("-") ? `-- ${shown}` : shown;
}

export const signed = (n) => (n > 0 ? `+${n}` : n < 0 ? `−${-n}` : "0");

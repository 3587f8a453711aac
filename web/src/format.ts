/** Figures and times as people read them. */

const MISSING = "–";

const SCALES = [
  { from: 1e12, unit: "T" },
  { from: 1e9, unit: "G" },
  { from: 1e6, unit: "M" },
  { from: 1e3, unit: "k" },
];

/** Three significant digits and no more: 0.42, 12.3, 1.24k, 336k. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  // Just below a scale, rounding would show 1000 of the smaller unit.
  const scale = SCALES.find(({ from }) => size >= from * 0.9995);
  if (scale) return trimmed(value / scale.from) + scale.unit;
  return Number.isInteger(value) ? String(value) : trimmed(value);
}

export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return MISSING;
  return `${short(value >= 100 ? Math.round(value) : value)}/s`;
}

function trimmed(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.001) return value.toPrecision(1);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return String(Number(value.toFixed(digits)));
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? MISSING : value.toLocaleString("en-US");
}

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return MISSING;
  return value >= 1000 ? seconds(value / 1000) : `${trimmed(value)} ms`;
}

const SPANS = [
  { from: 365.25 * 86_400, unit: "y" },
  { from: 86_400, unit: "d" },
  { from: 3_600, unit: "h" },
  { from: 60, unit: "min" },
];

/** One or two units: 12.3 s, 4 min 5 s, 3 h 12 min, 2.4 y. */
export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  if (size < 1 && size > 0) return `${trimmed(value * 1000)} ms`;
  if (size < 60) return `${trimmed(value)} s`;
  const sign = value < 0 ? "−" : "";
  if (size >= 365.25 * 86_400) return `${sign}${trimmed(size / (365.25 * 86_400))} y`;
  const whole = Math.round(size);
  const at = SPANS.findIndex(({ from }) => whole >= from);
  const span = SPANS[at];
  if (!span) return `${sign}${whole} s`;
  const next = SPANS[at + 1] ?? { from: 1, unit: "s" };
  const rest = Math.floor((whole % span.from) / next.from);
  const head = `${sign}${Math.floor(whole / span.from)} ${span.unit}`;
  return rest === 0 ? head : `${head} ${rest} ${next.unit}`;
}

export function percent(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined) return MISSING;
  const value = ratio * 100;
  if (value > 0 && value < 0.01) return "<0.01%";
  return `${trimmed(value)}%`;
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return MISSING;
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < BYTE_UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${trimmed(size)} ${BYTE_UNITS[unit]}`;
}

/** `2013-02-08 12:00:00` and the fraction if there is one; text that is no time stays as it is. */
export function eventTime(text: string): string {
  const parts = /^([+-]?\d{4,}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)?$/.exec(text);
  if (!parts) return text;
  const [, date, time, fraction, zone] = parts;
  if (zone === undefined || zone === "Z" || /^[+-]00:?00$/.test(zone)) {
    return `${date} ${time}${fraction ?? ""}`;
  }
  // Another zone: the same instant in UTC, with the precision that a `Date` has.
  const instant = new Date(text);
  return Number.isNaN(instant.getTime())
    ? text
    : instant.toISOString().replace("T", " ").replace(/(\.000)?Z$/, "");
}

const two = (value: number) => String(value).padStart(2, "0");

/** Wall-clock time on the reader's own clock: `12:03:44`. */
export function clock(timeMs: number): string {
  const time = new Date(timeMs);
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
}

/** `clock`, with the date unless it is today. */
export function wallTime(timeMs: number, nowMs = Date.now()): string {
  const time = new Date(timeMs);
  if (time.toDateString() === new Date(nowMs).toDateString()) return clock(timeMs);
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${date} ${clock(timeMs)}`;
}

export function plural(amount: number, one: string, many = `${one}s`): string {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}

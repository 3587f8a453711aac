/** Labels for a time axis: clocks of 24 hours, and the date where it changes. */

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const DAY_S = 86_400;
const MONTH_S = 28 * DAY_S;

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

function partsOf(timeS: number, isUtc: boolean): Parts {
  const t = new Date(timeS * 1000);
  return isUtc
    ? {
        year: t.getUTCFullYear(),
        month: t.getUTCMonth(),
        day: t.getUTCDate(),
        hour: t.getUTCHours(),
        minute: t.getUTCMinutes(),
        second: t.getUTCSeconds(),
      }
    : {
        year: t.getFullYear(),
        month: t.getMonth(),
        day: t.getDate(),
        hour: t.getHours(),
        minute: t.getMinutes(),
        second: t.getSeconds(),
      };
}

const two = (value: number) => String(value).padStart(2, "0");

function clockOf(p: Parts, withSeconds: boolean): string {
  const minutes = `${two(p.hour)}:${two(p.minute)}`;
  return withSeconds ? `${minutes}:${two(p.second)}` : minutes;
}

/**
 * One label for each tick, `stepS` seconds apart. The second line tells the date (or the year) at
 * the first tick and wherever it changes; `withDates` is false for spans of the last minutes.
 */
export function timeLabels(
  ticks: readonly number[],
  stepS: number,
  isUtc: boolean,
  withDates: boolean,
): string[] {
  let before = "";
  return ticks.map((tick) => {
    const p = partsOf(tick, isUtc);
    const day = `${MONTHS[p.month]} ${p.day}`;
    const head =
      stepS >= MONTH_S ? MONTHS[p.month]! : stepS >= DAY_S ? day : clockOf(p, stepS < 60);
    const context = stepS >= DAY_S ? String(p.year) : day;
    const line = withDates && context !== before ? `\n${context}` : "";
    before = context;
    return head + line;
  });
}

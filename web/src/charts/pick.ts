import type { Column, Row } from "../api/messages.ts";
import { columnDecimals, decimalsOf } from "../decimals.ts";
import type { Sort } from "../live/view-rows.ts";
import { classOf, isWholeNumber, numberOf, textOf, timeOf } from "../columns.ts";

/** Which columns a chart shows; `kind` follows from the class of the first. */
export type ChartChoice =
  | { kind: "line"; time: number; value: number; split: number | null }
  | { kind: "bars"; labels: number[]; value: number }
  | { kind: "none" };

const NAMES_A_THING = /(^|_)(id|key|code|no|number|year|lat|lon|latitude|longitude)$/i;

/** The columns that can be measured along an axis: numbers that are not part of the key or an id. */
export function measures(columns: readonly Column[], key: readonly number[]): number[] {
  return indexes(columns, (column, i) => {
    return classOf(column) === "number" && !key.includes(i) && !NAMES_A_THING.test(column.name);
  });
}

/**
 * The chart that a view gets unless the reader picks another: a time and a number make lines, a
 * text (or the key) and a number make bars, everything else none.
 */
export function pickChart(columns: readonly Column[], key: readonly number[]): ChartChoice {
  const numbers = measures(columns, key);
  // A mean or a ratio says more than a count; of several, the last tends to be the point.
  const fractions = numbers.filter((i) => !isWholeNumber(columns[i]!));
  const value = fractions.at(-1) ?? numbers.at(-1);
  if (value === undefined) return { kind: "none" };
  const texts = indexes(columns, (column) => classOf(column) === "text");
  const time = indexes(columns, (column) => classOf(column) === "time")[0];
  if (time !== undefined) {
    // With a key that lacks the time, each thing has one row: lines would be single points.
    const isSeries = key.length === 0 || key.includes(time);
    if (isSeries) return { kind: "line", time, value, split: texts[0] ?? null };
  }
  const keyTexts = texts.filter((i) => key.includes(i));
  const labels = keyTexts.length > 0 ? keyTexts : texts.length > 0 ? texts : [...key];
  return labels.length > 0 ? { kind: "bars", labels, value } : { kind: "none" };
}

/** The choice that the reader's two or three picks make. */
export function chartOf(
  columns: readonly Column[],
  along: number[],
  value: number,
  split: number | null,
): ChartChoice {
  const first = along[0];
  if (first === undefined) return { kind: "none" };
  const isTime = classOf(columns[first]!) === "time";
  return isTime ? { kind: "line", time: first, value, split } : { kind: "bars", labels: along, value };
}

function indexes(columns: readonly Column[], keep: (column: Column, i: number) => boolean): number[] {
  return columns.flatMap((column, i) => (keep(column, i) ? [i] : []));
}

/** The order in which the rows of a large view come, so that those worth drawing come first. */
export function chartOrder(choice: ChartChoice, columns: readonly Column[]): Sort | null {
  if (choice.kind !== "bars") return null;
  const first = isOrdered(choice, columns) ? choice.labels[0] : choice.value;
  const column = first === undefined ? undefined : columns[first];
  return column ? { column: column.name, descending: first === choice.value } : null;
}

/** Bars labelled by a number stand in its order; the others by their value. */
export function isOrdered(choice: ChartChoice & { kind: "bars" }, columns: readonly Column[]): boolean {
  const first = columns[choice.labels[0] ?? -1];
  return choice.labels.length === 1 && first !== undefined && classOf(first) === "number";
}

export interface Line {
  label: string;
  values: (number | null)[];
}

export interface Lines {
  times: number[];
  lines: Line[];
  /** Series that are not drawn, because nobody can tell so many lines apart. */
  hiddenLines: number;
  /** Points that stand for the mean of several rows. */
  mergedPoints: number;
}

export const LINES_MAX = 6;

/** The rows of a view as lines over time; the lines with the largest values win. */
export function linesOf(rows: readonly Row[], choice: ChartChoice & { kind: "line" }): Lines {
  const { time, value, split } = choice;
  const series = new Map<string, Map<number, number[]>>();
  const allTimes = new Set<number>();
  for (const row of rows) {
    const at = timeOf(row[time]);
    const number = numberOf(row[value]);
    if (at === null || number === null) continue;
    const label = split === null ? "" : textOf(row[split]);
    const points = series.get(label) ?? new Map<number, number[]>();
    series.set(label, points);
    points.set(at, [...(points.get(at) ?? []), number]);
    allTimes.add(at);
  }
  const times = [...allTimes].sort((a, b) => a - b);
  const weight = (points: Map<number, number[]>) =>
    [...points.values()].reduce((sum, numbers) => sum + Math.abs(mean(numbers)), 0);
  const drawn = [...series].sort((a, b) => weight(b[1]) - weight(a[1])).slice(0, LINES_MAX);
  // By name, so that a line keeps its colour while the values change.
  drawn.sort((a, b) => a[0].localeCompare(b[0]));
  const lines = drawn.map(([label, points]) => ({
    label,
    values: times.map((at) => (points.has(at) ? mean(points.get(at)!) : null)),
  }));
  const merged = drawn.flatMap(([, points]) => [...points.values()]).filter((n) => n.length > 1);
  return { times, lines, hiddenLines: series.size - drawn.length, mergedPoints: merged.length };
}

const mean = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0) / numbers.length;

export interface Bar {
  label: string;
  value: number;
}

/** The rows as bars: by value if labelled by text, in order of the label if that is a number. */
export function barsOf(
  rows: readonly Row[],
  columns: readonly Column[],
  choice: ChartChoice & { kind: "bars" },
): Bar[] {
  const { labels, value } = choice;
  const bars = rows.flatMap((row) => {
    const number = numberOf(row[value]);
    if (number === null) return [];
    return [{ label: labels.map((i) => textOf(row[i])).join(" · "), value: number }];
  });
  return isOrdered(choice, columns)
    ? bars.sort((a, b) => Number(a.label) - Number(b.label))
    : bars.sort((a, b) => b.value - a.value);
}

/** The values that a chart of the rows shows. */
function chartValues(
  rows: readonly Row[],
  columns: readonly Column[],
  choice: ChartChoice,
  barsMax: number,
): (number | null)[] {
  if (choice.kind === "line") return linesOf(rows, choice).lines.flatMap((line) => line.values);
  if (choice.kind === "none") return [];
  return barsOf(rows, columns, choice).slice(0, barsMax).map((bar) => bar.value);
}

/**
 * The order of the columns where there is little room: what the chart is about comes first. The
 * end of a window says no more than its start.
 */
export function columnOrder(columns: readonly Column[], choice: ChartChoice): number[] {
  const hasStart = columns.some((column) => column.name === "window_start");
  const drawn =
    choice.kind === "line"
      ? [choice.time, ...(choice.split === null ? [] : [choice.split]), choice.value]
      : choice.kind === "bars"
        ? [...choice.labels, choice.value]
        : [];
  const rest = indexes(columns, ({ name }, i) => !drawn.includes(i) && !(hasStart && name === "window_end"));
  return [...drawn, ...rest];
}

/** The digits after the point of each column, so that a table and the chart beside it agree. */
export function visibleDecimals(
  columns: readonly Column[],
  tableRows: readonly Row[],
  chartRows: readonly Row[],
  choice: ChartChoice,
  barsMax: number,
): number[] {
  const decimals = columnDecimals(columns, tableRows);
  if (choice.kind === "none") return decimals;
  const ofChart = decimalsOf(chartValues(chartRows, columns, choice, barsMax));
  return decimals.map((digits, i) => (i === choice.value ? Math.max(digits, ofChart) : digits));
}

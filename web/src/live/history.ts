import type { HistoryPoint, Stats } from "../api/messages.ts";
import { cell } from "./cell.ts";

/** The server keeps as much. */
const SPAN_S = 15 * 60;
/** Points further apart than this are not joined by a line: nothing is known in between. */
const GAP_S = 3;

export type Figure = Exclude<keyof HistoryPoint, "time_ms">;

/** The last 15 minutes, one point a second, oldest first. A new array whenever a point is added. */
export const history = cell<readonly HistoryPoint[]>([]);

const startOfSecond = (timeMs: number) => Math.floor(timeMs / 1000) * 1000;

export function pointOf(stats: Stats): HistoryPoint {
  return {
    time_ms: startOfSecond(stats.time_ms),
    rows_per_s: stats.rows_per_s,
    p50_ms: stats.latency?.p50_ms ?? null,
    p95_ms: stats.latency?.p95_ms ?? null,
    p99_ms: stats.latency?.p99_ms ?? null,
    error_rate: stats.error_rate,
    watermark_lag_s: stats.watermark_lag_s,
  };
}

/** `points` with `next` at its end; the latest figures of a second stand for it. */
export function appended(points: readonly HistoryPoint[], next: HistoryPoint): HistoryPoint[] {
  const oldest = next.time_ms - SPAN_S * 1000;
  return [...points.filter((p) => p.time_ms >= oldest && p.time_ms < next.time_ms), next];
}

export function replaceHistory(points: readonly HistoryPoint[]): void {
  const rounded = points.map((p) => ({ ...p, time_ms: startOfSecond(p.time_ms) }));
  const bySecond = new Map(rounded.map((p) => [p.time_ms, p]));
  history.set([...bySecond.values()].sort((a, b) => a.time_ms - b.time_ms));
}

export type Plot = [number[], ...(number | null)[][]];

/** The arrays that the chart draws: times in seconds, then one array for each figure. */
export function plotOf(points: readonly HistoryPoint[], figures: readonly Figure[]): Plot {
  const times: number[] = [];
  const lines: (number | null)[][] = figures.map(() => []);
  for (const point of points) {
    const time = point.time_ms / 1000;
    const before = times.at(-1);
    if (before !== undefined && time - before > GAP_S) {
      times.push(before + 1);
      for (const line of lines) line.push(null);
    }
    times.push(time);
    figures.forEach((figure, i) => lines[i]?.push(point[figure]));
  }
  return [times, ...lines];
}

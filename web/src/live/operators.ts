import type { GraphNode, Pipeline, Stats } from "../api/messages.ts";
import { cell } from "./cell.ts";

/** What the graph shows of a node. */
export interface NodeFigures {
  rowsPerS: number;
  /** `null` where the node does no work that is measured. */
  busyRatio: number | null;
  /** Rows that leave the node each second: how thick its edges are. */
  outPerS: number;
  state: "running" | "finished" | "failed" | "retrying";
  error: string | null;
}

/** An operator is called the busiest only if it works at least this share of the time. */
const BUSIEST_MIN = 0.02;
/** How much busier another operator must be to take over, so that the mark does not jump about. */
const TAKEOVER = 1.15;
/** Weight of the newest figure in the smoothed busy ratio. */
const SMOOTHING = 0.3;

/** The node id of the busiest operator, if any is busy. */
export const busiest = cell<string | null>(null);

const smoothedBusy = new Map<string, number>();
/** Rows a second out of each operator (by id) and into each sink (by name), smoothed. */
const outRates = new Map<string, number>();
const sinkRates = new Map<string, number>();
let previous: Stats | null = null;

/** Takes in one stats message. */
export function followOperators(stats: Stats): void {
  const seconds = previous ? (stats.time_ms - previous.time_ms) / 1000 : 0;
  for (const id of smoothedBusy.keys()) if (!(id in stats.operators)) smoothedBusy.delete(id);
  for (const [id, now] of Object.entries(stats.operators)) {
    const smoothed = smoothedBusy.get(id) ?? now.busy_ratio;
    smoothedBusy.set(id, smoothed + SMOOTHING * (now.busy_ratio - smoothed));
    followRate(outRates, id, now.rows_out, previous?.operators[id]?.rows_out, seconds);
  }
  for (const [name, now] of Object.entries(stats.sinks)) {
    followRate(sinkRates, name, now.rows_total, previous?.sinks[name]?.rows_total, seconds);
  }
  previous = stats;
  busiest.set(busiestOf(smoothedBusy, busiest.get()));
}

function followRate(
  rates: Map<string, number>,
  name: string,
  total: number,
  totalBefore: number | undefined,
  seconds: number,
): void {
  if (totalBefore === undefined || seconds <= 0) return;
  const rate = Math.max(0, total - totalBefore) / seconds;
  const rateBefore = rates.get(name) ?? rate;
  const smoothed = rateBefore + SMOOTHING * (rate - rateBefore);
  // Smoothing alone never arrives at zero, and an idle sink must be seen to be idle.
  rates.set(name, rate === 0 && smoothed < 0.5 ? 0 : smoothed);
}

/** The busiest of `ratios`; `current` stays unless another is clearly busier. */
export function busiestOf(ratios: ReadonlyMap<string, number>, current: string | null) {
  let best: string | null = null;
  let bestRatio = BUSIEST_MIN;
  for (const [id, ratio] of ratios) {
    const rank = id === current ? ratio * TAKEOVER : ratio;
    if (rank > bestRatio) [best, bestRatio] = [id, rank];
  }
  return best;
}

export function figuresOf(node: GraphNode, stats: Stats | null): NodeFigures {
  const operator = stats?.operators[node.id];
  const running = { state: "running", error: null } as const;
  const busyRatio = operator?.busy_ratio ?? null;
  const measured = {
    rowsPerS: operator?.rows_per_s ?? 0,
    busyRatio,
    outPerS: outRates.get(node.id) ?? operator?.rows_per_s ?? 0,
  };
  const name = node.name ?? "";
  if (node.kind === "source") {
    const source = stats?.sources[name];
    if (!source) return { ...measured, ...running };
    const { rows_per_s: rowsPerS, state, error } = source;
    return { rowsPerS, busyRatio, outPerS: rowsPerS, state, error };
  }
  if (node.kind === "view") {
    const rate = stats?.views[name]?.changes_per_s ?? measured.rowsPerS;
    return { rowsPerS: rate, busyRatio, outPerS: rate, ...running };
  }
  if (node.kind === "sink") {
    const sink = stats?.sinks[name];
    const rowsPerS = sinkRates.get(name) ?? 0;
    return { ...measured, rowsPerS, state: sink?.state ?? "running", error: sink?.error ?? null };
  }
  return { ...measured, ...running };
}

/** The label of a node for people, for example `aggregate (delays)`. */
export function nodeTitle(pipeline: Pipeline | null, id: string): string {
  const node = pipeline?.graph.nodes.find((n) => n.id === id);
  return node ? (node.name ?? node.label) : id;
}

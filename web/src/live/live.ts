import { api, ApiError } from "../api/client.ts";
import type { DeadLetter, Pipeline, Stats, ViewEvent } from "../api/messages.ts";
import { cell, useCell } from "./cell.ts";
import { EventStream } from "./events.ts";
import { appended, history, pointOf, replaceHistory } from "./history.ts";
import { followOperators } from "./operators.ts";
import { followCheckpoint, followVerification, loadVerification } from "./verification.ts";

export interface Connection {
  state: "connecting" | "live" | "lost";
  /** Counts the connections so far; whoever fetched something fetches it again when this rises. */
  generation: number;
  lostAt: number | null;
  retryAt: number | null;
}

export const connection = cell<Connection>({
  state: "connecting",
  generation: 0,
  lostAt: null,
  retryAt: null,
});
export const pipeline = cell<Pipeline | null>(null);
export const stats = cell<Stats | null>(null);
/** When the figures on the page arrived, by this machine's clock. */
export const heardAt = cell<number | null>(null);
/** Why the pipeline's description could not be had, although the stream is open. */
export const loadError = cell<ApiError | null>(null);
/** Rise with each alert or dead letter that the server tells of. */
export const alertRevision = cell(0);
export const deadLetterRevision = cell(0);

type ViewListener = (event: ViewEvent) => void;
const viewListeners = new Map<string, Set<ViewListener>>();

/** Calls `listener` for each change of view `name`, until the returned function is called. */
export function onViewEvent(name: string, listener: ViewListener): () => void {
  const listeners = viewListeners.get(name) ?? new Set();
  viewListeners.set(name, listeners.add(listener));
  return () => listeners.delete(listener);
}

const LOAD_RETRY_MS = 2_000;
let loadTimer: number | undefined;

/** Follows the pipeline for as long as the page lives. */
export function startLive(): () => void {
  return new EventStream({ opened, lost, message }).start();
}

function opened(): void {
  const generation = connection.get().generation + 1;
  connection.set({ state: "live", generation, lostAt: null, retryAt: null });
  void load(generation);
}

function lost(retryInMs: number): void {
  window.clearTimeout(loadTimer);
  const { generation, lostAt } = connection.get();
  const now = Date.now();
  connection.set({ state: "lost", generation, lostAt: lostAt ?? now, retryAt: now + retryInMs });
}

/** Fetches what the stream does not repeat: after a reconnect, nothing known before is trusted. */
async function load(generation: number): Promise<void> {
  const isCurrent = () =>
    connection.get().generation === generation && connection.get().state === "live";
  try {
    const [description, past] = await Promise.all([api.pipeline(), api.history()]);
    if (!isCurrent()) return;
    pipeline.set(description);
    replaceHistory(past.points);
    loadError.set(null);
    void loadVerification();
  } catch (error) {
    if (!isCurrent()) return;
    loadError.set(ApiError.from(error));
    loadTimer = window.setTimeout(() => void load(generation), LOAD_RETRY_MS);
  }
}

function message(event: string, data: unknown): void {
  if (event === "stats") {
    takeStats(data as Stats);
  } else if (event === "view") {
    const change = data as ViewEvent;
    for (const listener of viewListeners.get(change.view) ?? []) listener(change);
  } else if (event === "alert") {
    alertRevision.set(alertRevision.get() + 1);
  } else if (event === "dead_letter") {
    const { id } = data as DeadLetter;
    if (id) deadLetterRevision.set(deadLetterRevision.get() + 1);
  } else if (event === "verification") {
    void loadVerification();
  }
}

function takeStats(next: Stats): void {
  followOperators(next);
  followCheckpoint(next.epoch);
  followVerification();
  stats.set(next);
  heardAt.set(Date.now());
  history.set(appended(history.get(), pointOf(next)));
}

export const useConnection = () => useCell(connection);
export const useIsLive = () => useCell(connection, (c) => c.state === "live");
export const usePipeline = () => useCell(pipeline);
export const useStats = <S,>(select: (stats: Stats | null) => S): S => useCell(stats, select);

export function activeAlerts(stats: Stats | null): number {
  return Object.values(stats?.alerts ?? {}).reduce((sum, alert) => sum + alert.active, 0);
}

/** The shapes of the HTTP API, as the server writes them. Names and units are the server's. */

export interface Column {
  name: string;
  /** The SQL name of the type, for example `BIGINT` or `DECIMAL(10,2)`. */
  type: string;
}

/** A value of a row. Integers beyond 2^53 arrive as text, see `exact-json.ts`. */
export type Value = string | number | boolean | null | Value[] | { [field: string]: Value };
export type Row = Value[];

export interface SourceInfo {
  name: string;
  type: string;
  columns: Column[];
  primary_key: string[] | null;
  event_time: string | null;
}

export interface ViewInfo {
  name: string;
  sql: string;
  emit: "changes" | "final";
  kept: boolean;
  columns: Column[];
  key: string[] | null;
}

export interface SinkInfo {
  name: string;
  type: string;
  from: string;
  mode: string;
}

export interface AlertInfo {
  name: string;
  sql: string;
  columns: Column[];
}

export type NodeKind = "source" | "operator" | "view" | "sink" | "alert";

export interface GraphNode {
  id: string;
  kind: NodeKind;
  label: string;
  detail: string;
  name: string | null;
  recompute: boolean;
}

export interface GraphEdge {
  from: string;
  to: string;
}

export interface Pipeline {
  name: string;
  version: string;
  started_at_ms: number;
  workers: number;
  sources: SourceInfo[];
  views: ViewInfo[];
  sinks: SinkInfo[];
  alerts: AlertInfo[];
  graph: { nodes: GraphNode[]; edges: GraphEdge[] };
}

export interface SourceStats {
  state: "running" | "finished" | "failed";
  error: string | null;
  rows_total: number;
  rows_per_s: number;
  rejected_total: number;
  watermark: string | null;
}

export interface OperatorStats {
  rows_in: number;
  rows_out: number;
  rows_per_s: number;
  /** Share of the last second spent working, 0 to 1. */
  busy_ratio: number;
  state_rows: number;
  state_bytes: number;
}

export interface SinkStats {
  state: "running" | "retrying" | "finished" | "failed";
  error: string | null;
  rows_total: number;
  pending_epochs: number;
  epoch: number;
}

export interface Latency {
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
}

export interface Stats {
  time_ms: number;
  epoch: number;
  state: "running" | "finished" | "failed";
  uptime_s: number;
  rows_per_s: number;
  rows_total: number;
  errors_per_s: number;
  /** Rejected rows of all rows over the last 10 s, 0 to 1. */
  error_rate: number | null;
  dead_letters_total: number;
  latency: Latency | null;
  watermark: string | null;
  watermark_lag_s: number | null;
  epoch_ms: number | null;
  journal_bytes: number;
  state_bytes: number;
  resident_bytes: number;
  sources: Record<string, SourceStats>;
  operators: Record<string, OperatorStats>;
  views: Record<string, { rows: number; changes_per_s: number }>;
  sinks: Record<string, SinkStats>;
  alerts: Record<string, { active: number }>;
}

/** One second of the pipeline's past. */
export interface HistoryPoint {
  time_ms: number;
  rows_per_s: number | null;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  error_rate: number | null;
  watermark_lag_s: number | null;
}

export interface ViewRows {
  name: string;
  epoch: number;
  total: number;
  columns: Column[];
  rows: Row[];
  /** The epoch's time, if the rows are those of a past one. */
  time_ms?: number;
}

export interface ViewEvent {
  view: string;
  epoch: number;
  total: number;
  changes: { weight: number; row: Row }[];
  truncated: boolean;
}

export const DEAD_LETTER_CLASSES = [
  "wrong-type",
  "unparsable",
  "missing-key",
  "too-long",
  "late",
  "unknown-row",
  "undelivered",
] as const;

export type DeadLetterState = "open" | "retried" | "dropped";

export interface DeadLetter {
  id: string;
  source: string;
  stage: "source" | "view" | "sink";
  class: string;
  message: string;
  position: string;
  epoch: number;
  at_ms: number;
  preview: string;
  state: DeadLetterState;
}

export interface DeadLetterDetail extends DeadLetter {
  text: string;
  base64: string;
  /** The header line, for CSV. */
  context: string | null;
}

export interface DeadLetterPage {
  total: number;
  open: number;
  items: DeadLetter[];
}

export interface AlertStatus extends AlertInfo {
  active: { row: Row; since_ms: number }[];
  history: { at_ms: number; event: "fired" | "resolved"; row: Row }[];
}

export interface QueryResult {
  epoch: number;
  columns: Column[];
  rows: Row[];
}

export interface Checkpoint {
  epoch: number;
  time_ms: number;
  input_root: string;
  chain: string;
  views: Record<string, { rows: number; digest: string }>;
}

/** What `syncline verify --format json` prints. */
export interface VerificationReport {
  verdict: "verified" | "partly" | "mismatch";
  pipeline: string;
  epoch: number;
  input: { epochs: number; rows: number; root: string; chain: string } | null;
  /** Which rows the batch engine computed, if not all. */
  sample?: { rows: number; seed: number };
  views: {
    view: string;
    rows: number;
    digest: string | null;
    is_recorded: boolean;
    by_batch: boolean;
    by_replay: boolean;
    /** So many of its rows the batch engine computed, in a verification of samples. */
    sampled?: number;
  }[];
  sinks: { sink: string; epoch: number; lines: number }[];
  manifest: { run: string; epoch: number; key: string | null; is_signed: boolean } | null;
  mismatches: Mismatch[];
  unchecked: string[];
  notes: string[];
}

export interface Mismatch {
  what: string;
  epoch: number | null;
  message: string;
  rows: string[];
}

export interface Verification {
  state: "never" | "running" | "verified" | "partly" | "mismatch" | "failed";
  epoch: number | null;
  /** When it began, if it is running, or else when it ended. */
  at_ms: number | null;
  by: "page" | "watch" | null;
  epochs_done: number | null;
  error: string | null;
  /** Of the last one that has ended. */
  report: VerificationReport | null;
}

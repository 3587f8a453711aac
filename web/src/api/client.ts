import { parseExact } from "./exact-json.ts";
import type {
  AlertStatus,
  Checkpoint,
  DeadLetterDetail,
  DeadLetterPage,
  HistoryPoint,
  Pipeline,
  QueryResult,
  Stats,
  Verification,
  ViewRows,
} from "./messages.ts";

/** What went wrong, why, and what to do about it: the server's own three parts. */
export class ApiError extends Error {
  readonly detail: string | null;
  readonly hint: string | null;

  constructor(message: string, detail: string | null = null, hint: string | null = null) {
    super(message);
    this.name = "ApiError";
    this.detail = detail;
    this.hint = hint;
  }

  static from(error: unknown): ApiError {
    if (error instanceof ApiError) return error;
    return new ApiError(error instanceof Error ? error.message : String(error));
  }
}

/** How long an answer may take before the server counts as unreachable. */
const ANSWER_TIMEOUT_MS = 30_000;
/** The same for what is computed again from the journal, which may be long. */
const REPLAY_TIMEOUT_MS = 600_000;

/** Relative to the page, so that it also works below a proxy's path. */
export function apiUrl(path: string): string {
  return new URL(`api/v1/${path}`, document.baseURI.replace(/#.*$/, "")).href;
}

async function request<T>(
  path: string,
  init: RequestInit = {},
  timeoutMs = ANSWER_TIMEOUT_MS,
): Promise<T> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const signal = init.signal ? AbortSignal.any([init.signal, timeout]) : timeout;
  let response: Response;
  let text: string;
  try {
    response = await fetch(apiUrl(path), { cache: "no-store", ...init, signal });
    text = await response.text();
  } catch (error) {
    if (init.signal?.aborted) throw error;
    const hint = "The pipeline may have stopped; the page goes on trying to reach it.";
    throw new ApiError("The server did not answer", null, hint);
  }
  const body = parseBody(text);
  if (!response.ok) throw errorOf(response, body);
  if (body === undefined) throw new ApiError("The server's answer is not JSON", text.slice(0, 200));
  return body as T;
}

function parseBody(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return undefined;
  }
}

function errorOf(response: Response, body: unknown): ApiError {
  const error = (body as { error?: Record<string, unknown> } | null | undefined)?.error;
  const text = (field: unknown) => (typeof field === "string" && field !== "" ? field : null);
  const status = `The server answered ${response.status} ${response.statusText}`.trim();
  return new ApiError(text(error?.["message"]) ?? status, text(error?.["detail"]), text(error?.["hint"]));
}

function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const headers = { "content-type": "application/json" };
  const init: RequestInit = { method: "POST", headers, body: JSON.stringify(body) };
  return request(path, signal ? { ...init, signal } : init);
}

function get<T>(path: string, signal?: AbortSignal, timeoutMs?: number): Promise<T> {
  return request(path, signal ? { signal } : {}, timeoutMs);
}

export interface DeadLetterFilter {
  source: string;
  class: string;
  state: string;
  limit: number;
  offset: number;
}

const name = encodeURIComponent;

export const api = {
  pipeline: () => get<Pipeline>("pipeline"),
  stats: () => get<Stats>("stats"),
  history: () => get<{ points: HistoryPoint[] }>("history"),

  viewRows: (view: string, limit: number, offset: number, signal?: AbortSignal) =>
    get<ViewRows>(`views/${name(view)}?limit=${limit}&offset=${offset}`, signal),
  viewRowsAt: (view: string, epoch: number, limit: number, offset: number, signal?: AbortSignal) => {
    const path = `views/${name(view)}?at=${epoch}&limit=${limit}&offset=${offset}`;
    return get<ViewRows>(path, signal, REPLAY_TIMEOUT_MS);
  },
  viewCsvUrl: (view: string) => apiUrl(`views/${name(view)}/csv`),

  deadLetters: (filter: DeadLetterFilter, signal?: AbortSignal) => {
    const set = Object.entries(filter).filter(([, value]) => value !== "");
    const query = new URLSearchParams(set.map(([key, value]) => [key, String(value)]));
    return get<DeadLetterPage>(`dead-letters?${query}`, signal);
  },
  deadLetter: (id: string, signal?: AbortSignal) =>
    get<DeadLetterDetail>(`dead-letters/${name(id)}`, signal),
  /** `text` only where it was edited: the original bytes need not be valid text. */
  retryDeadLetter: (id: string, text: string | null) =>
    post<unknown>(`dead-letters/${name(id)}/retry`, text === null ? {} : { text }),
  dropDeadLetter: (id: string) => post<unknown>(`dead-letters/${name(id)}/drop`, {}),

  checkpoint: () => get<Checkpoint>("checkpoint"),
  verification: () => get<Verification>("verification"),
  verify: () => post<Verification>("verification", {}),

  alerts: (signal?: AbortSignal) => get<{ alerts: AlertStatus[] }>("alerts", signal),
  query: (sql: string, signal?: AbortSignal) => post<QueryResult>("query", { sql }, signal),
};

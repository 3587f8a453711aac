import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { api, ApiError } from "../api/client.ts";
import type { Pipeline, QueryResult } from "../api/messages.ts";
import { count, milliseconds, plural } from "../format.ts";
import { useIsLive } from "../live/live.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { RowTable } from "../views/row-table.tsx";

/** More rows than this make the page slow and nobody reads them. */
const ROWS_SHOWN = 500;
const STORAGE_KEY = "syncline.query";

interface Answer extends QueryResult {
  tookMs: number;
}

/** Asks the kept views with SQL. */
export function QueryPage({ pipeline }: { pipeline: Pipeline }) {
  const kept = pipeline.views.filter((view) => view.kept);
  const [sql, setSql] = useState(() => storedSql() ?? example(kept[0]?.name));
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [isRunning, setIsRunning] = useState(false);
  const running = useRef<AbortController | null>(null);
  const isLive = useIsLive();
  useEffect(() => () => running.current?.abort(), []);

  const run = async () => {
    if (sql.trim() === "" || !isLive) return;
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    storeSql(sql);
    setIsRunning(true);
    const startedAt = performance.now();
    try {
      const result = await api.query(sql, abort.signal);
      setAnswer({ ...result, tookMs: performance.now() - startedAt });
      setError(null);
    } catch (failure) {
      if (abort.signal.aborted) return;
      setError(ApiError.from(failure));
      setAnswer(null);
    } finally {
      if (running.current === abort) setIsRunning(false);
    }
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      void run();
    }
  };

  return (
    <>
      <header className="page-head">
        <div>
          <h1>Query</h1>
          <p className="page-sub">SQL over the kept views, as of the latest epoch</p>
        </div>
      </header>
      <section className="card" aria-label="Query">
        <label className="visually-hidden" htmlFor="sql">
          SQL
        </label>
        <textarea
          id="sql"
          className="editor"
          spellCheck={false}
          autoCapitalize="off"
          rows={Math.min(16, Math.max(4, sql.split("\n").length + 1))}
          value={sql}
          onChange={(e) => setSql(e.target.value)}
          onKeyDown={onKeyDown}
        />
        <div className="actions">
          <button type="button" className="primary" disabled={!isLive || isRunning} onClick={() => void run()}>
            {isRunning ? "Running…" : "Run"}
          </button>
          <span className="note">
            <kbd>Ctrl</kbd> + <kbd>Enter</kbd>
          </span>
          <span className="note num outcome" role="status">
            {answer && `${plural(answer.rows.length, "row")} in ${milliseconds(answer.tookMs)}, epoch ${count(answer.epoch)}`}
          </span>
        </div>
        {error && <ErrorNote error={error} />}
      </section>
      {answer && <Result answer={answer} />}
      <section className="card" aria-labelledby="query-views">
        <h2 id="query-views">Views</h2>
        <dl className="schema">
          {kept.map((view) => (
            <div key={view.name}>
              <dt>
                <button type="button" className="link" onClick={() => setSql(example(view.name))}>
                  {view.name}
                </button>
              </dt>
              <dd>{view.columns.map((c) => `${c.name} ${c.type}`).join(", ")}</dd>
            </div>
          ))}
        </dl>
      </section>
    </>
  );
}

function Result({ answer }: { answer: Answer }) {
  const rows = answer.rows.slice(0, ROWS_SHOWN);
  return (
    <section className="card rows-card" aria-label="Result">
      {rows.length === 0 && <p className="empty">The query has no rows.</p>}
      {rows.length < answer.rows.length && (
        <p className="note">
          The first {ROWS_SHOWN} of {count(answer.rows.length)} rows
        </p>
      )}
      {rows.length > 0 && (
        <div className="table-scroll" tabIndex={0} role="region" aria-label="Rows of the result">
          <RowTable caption="Result" columns={answer.columns} rows={rows} />
        </div>
      )}
    </section>
  );
}

const isPlainName = (name: string) => /^[a-z_][a-z0-9_]*$/.test(name);

function example(view: string | undefined): string {
  if (view === undefined) return "SELECT 1";
  const from = isPlainName(view) ? view : `"${view.replaceAll('"', '""')}"`;
  return `SELECT *\nFROM ${from}\nLIMIT 20`;
}

function storedSql(): string | null {
  try {
    return window.sessionStorage.getItem(STORAGE_KEY);
  } catch {
    return null;
  }
}

function storeSql(sql: string): void {
  try {
    window.sessionStorage.setItem(STORAGE_KEY, sql);
  } catch {
    // Without storage the text is only lost when the page is left.
  }
}

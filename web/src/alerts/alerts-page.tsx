import { useCallback, useEffect } from "react";
import { api } from "../api/client.ts";
import type { AlertStatus, Column, Row } from "../api/messages.ts";
import { classOf } from "../columns.ts";
import { columnDecimals } from "../decimals.ts";
import { plural, seconds, wallTime } from "../format.ts";
import { useCell } from "../live/cell.ts";
import { activeAlerts, alertRevision, useIsLive, useStats } from "../live/live.ts";
import { useRefetched } from "../live/refetch.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { useNow } from "../page/use-now.ts";
import { cellText } from "../views/cell-text.ts";
import { Head } from "../views/row-table.tsx";

const HISTORY_SHOWN = 100;

/** What fires now, and what has fired. */
export function AlertsPage() {
  const revision = useCell(alertRevision);
  const firing = useStats(activeAlerts);
  const fetcher = useCallback((signal: AbortSignal) => api.alerts(signal), []);
  const { data, error, markDirty } = useRefetched(fetcher);
  useEffect(markDirty, [revision, firing, markDirty]);

  const rules = [...(data?.alerts ?? [])].sort((a, b) => b.active.length - a.active.length);
  return (
    <>
      <header className="page-head">
        <div>
          <h1>Alerts</h1>
          <p className="page-sub num">
            {firing > 0 ? `${firing} firing now` : "Nothing is firing"} · {plural(rules.length, "rule")}
          </p>
        </div>
      </header>
      {error && <ErrorNote error={error} />}
      {data && rules.length === 0 && (
        <p className="card empty">
          <strong>No alert rules.</strong> Add some under <code>alerts:</code> in the pipeline file.
        </p>
      )}
      {rules.map((alert) => (
        <Rule key={alert.name} alert={alert} />
      ))}
      {rules.length > 0 && <History alerts={rules} />}
    </>
  );
}

function Rule({ alert }: { alert: AlertStatus }) {
  const isFiring = alert.active.length > 0;
  const now = useNow(useIsLive() && isFiring);
  const heading = `alert-${alert.name}`;
  const decimals = columnDecimals(alert.columns, alert.active.map(({ row }) => row));
  return (
    <section className="card alert-card" data-firing={isFiring || undefined} aria-labelledby={heading}>
      <div className="card-head">
        <h2 id={heading}>{alert.name}</h2>
        <span className="state" data-state={isFiring ? "failed" : "running"}>
          {isFiring ? `${alert.active.length} firing` : "quiet"}
        </span>
      </div>
      <pre className="sql">{alert.sql.trim()}</pre>
      {isFiring && (
        <div className="table-scroll">
          <table className="rows">
            <caption className="visually-hidden">Rows for which {alert.name} fires</caption>
            <thead>
              <tr>
                {alert.columns.map((column) => (
                  <Head key={column.name} column={column} />
                ))}
                <th scope="col">since</th>
              </tr>
            </thead>
            <tbody>
              {alert.active.map(({ row, since_ms: sinceMs }) => (
                <tr key={JSON.stringify(row)} data-testid="alert-active">
                  {alert.columns.map((column, i) => (
                    <td key={column.name} data-class={classOf(column)} data-null={row[i] === null || undefined}>
                      {cellText(row[i], column, false, decimals[i])}
                    </td>
                  ))}
                  <td className="num">
                    {wallTime(sinceMs)}{" "}
                    <span className="dim">{seconds(Math.max(0, Math.round((now - sinceMs) / 1000)))}</span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function History({ alerts }: { alerts: AlertStatus[] }) {
  const events = alerts
    .flatMap(({ name, columns, history }) => history.map((event) => ({ ...event, name, columns })))
    .sort((a, b) => b.at_ms - a.at_ms)
    .slice(0, HISTORY_SHOWN);
  return (
    <section className="card" aria-labelledby="alert-history">
      <h2 id="alert-history">History</h2>
      {events.length === 0 && <p className="empty">No alert has fired so far.</p>}
      <ol className="history">
        {events.map((event, i) => (
          <li key={`${event.at_ms} ${event.name} ${i}`}>
            <time className="num dim" dateTime={new Date(event.at_ms).toISOString()}>
              {wallTime(event.at_ms)}
            </time>
            <span className="state" data-state={event.event === "fired" ? "failed" : "finished"}>
              {event.event}
            </span>
            <b>{event.name}</b>
            <span className="history-row">{inWords(event.columns, event.row)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function inWords(columns: readonly Column[], row: Row): string {
  const words = columns.map((column, i) => {
    const mark = classOf(column) === "time" && row[i] !== null ? " UTC" : "";
    return `${column.name} ${cellText(row[i], column, false)}${mark}`;
  });
  return words.join(", ");
}

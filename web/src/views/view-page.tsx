import { useEffect, useMemo, useState } from "react";
import { api } from "../api/client.ts";
import type { ViewInfo } from "../api/messages.ts";
import { type ChartChoice, chartOrder, pickChart, visibleDecimals } from "../charts/pick.ts";
import { ViewChart } from "../charts/view-chart.tsx";
import { count, plural, rate } from "../format.ts";
import { useIsLive, usePipeline, useStats } from "../live/live.ts";
import { keyIndexes, type Sort, useViewRows } from "../live/view-rows.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { Pager } from "../page/pager.tsx";
import { hrefs } from "../route.ts";
import { ChartPicker } from "./chart-picker.tsx";
import { RowTable } from "./row-table.tsx";
import { EmptyView } from "./view-card.tsx";

const PAGE_ROWS = 50;
const CHART_ROWS = 1_000;
const BARS_SHOWN = 20;

export function ViewPage({ name }: { name: string }) {
  const pipeline = usePipeline();
  const info = pipeline?.views.find((view) => view.name === name);
  if (!pipeline) return <p className="empty">Loading…</p>;
  if (!info) return <UnknownView name={name} views={pipeline.views} />;
  return (
    <>
      <ViewHead info={info} />
      {info.kept ? (
        // A fresh start for each view: neither page nor order carries over.
        <ViewContent key={info.name} info={info} />
      ) : (
        <p className="card empty">
          This view is not kept: only what reads it sees its rows. Set <code>keep: true</code> in the
          pipeline file to see them here.
        </p>
      )}
    </>
  );
}

function UnknownView({ name, views }: { name: string; views: ViewInfo[] }) {
  return (
    <div className="card empty">
      <h1>No view is called {name}</h1>
      <p>
        {views.length === 0 ? "This pipeline has no views." : "This pipeline has: "}
        {views.map((view, i) => (
          <span key={view.name}>
            {i > 0 && ", "}
            <a href={hrefs.view(view.name)}>{view.name}</a>
          </span>
        ))}
      </p>
    </div>
  );
}

function ViewHead({ info }: { info: ViewInfo }) {
  const total = useStats((s) => s?.views[info.name]?.rows);
  const changesPerS = useStats((s) => s?.views[info.name]?.changes_per_s ?? 0);
  const isLive = useIsLive();
  return (
    <header className="page-head">
      <div>
        <h1>{info.name}</h1>
        <p className="page-sub num">
          {total === undefined ? "" : plural(total, "row")} · {changesPerS > 0 ? `${rate(changesPerS)} changes` : "no changes"} · emits{" "}
          {info.emit === "final" ? "final rows of closed windows" : "changes"}
          {info.key && info.key.length > 0 && <> · key {info.key.join(", ")}</>}
        </p>
      </div>
      {info.kept && isLive && (
        <a className="button" href={api.viewCsvUrl(info.name)} download={`${info.name}.csv`}>
          Download CSV
        </a>
      )}
    </header>
  );
}

function ViewContent({ info }: { info: ViewInfo }) {
  const key = useMemo(() => keyIndexes(info), [info]);
  const automatic = useMemo(() => pickChart(info.columns, key), [info, key]);
  const [chosen, setChosen] = useState<ChartChoice | null>(null);
  const [offset, setOffset] = useState(0);
  const [sort, setSort] = useState<Sort | null>(null);
  const choice = chosen ?? automatic;

  const table = useViewRows(info, { limit: PAGE_ROWS, offset, sort, fromEnd: false });
  const isLarge = useStats((s) => (s?.views[info.name]?.rows ?? 0) > CHART_ROWS);
  const chartSort = isLarge ? chartOrder(choice, info.columns) : null;
  const isSeries = choice.kind === "line";
  const chartRange = { limit: CHART_ROWS, offset: 0, sort: chartSort, fromEnd: isSeries };
  const chart = useViewRows(info, chartRange, choice.kind !== "none");
  const total = useStats((s) => s?.views[info.name]?.rows) ?? table.data?.total ?? 0;

  const decimals = useMemo(
    () => visibleDecimals(info.columns, table.data?.rows ?? [], chart.data?.rows ?? [], choice, BARS_SHOWN),
    [info, table.data, chart.data, choice],
  );

  // A view may shrink below the page that is shown.
  useEffect(() => {
    if (offset > 0 && offset >= total) setOffset(Math.floor(Math.max(0, total - 1) / PAGE_ROWS) * PAGE_ROWS);
  }, [offset, total]);

  const sortBy = (column: string) => {
    setOffset(0);
    setSort((now) => nextSort(now, column));
  };

  return (
    <div className="view-page">
      <section className="card" aria-label="Chart">
        <ChartPicker columns={info.columns} choice={choice} onChoose={setChosen} />
        {chart.error && <ErrorNote error={chart.error} />}
        {chart.data && chart.data.rows.length > 0 && (
          <ViewChart
            view={info.name}
            columns={info.columns}
            rows={chart.data.rows}
            total={total}
            isSorted={chartSort !== null}
            choice={choice}
            height={240}
            barsMax={BARS_SHOWN}
            decimals={choice.kind === "none" ? 0 : (decimals[choice.value] ?? 0)}
          />
        )}
      </section>
      <section className="card" aria-label="SQL">
        <h2>SQL</h2>
        <pre className="sql">{info.sql.trim()}</pre>
        <p className="note">{info.columns.map((c) => `${c.name} ${c.type}`).join(" · ")}</p>
      </section>
      <section className="card rows-card" aria-label="Rows">
        <div className="card-head">
          <h2>Rows</h2>
          <span className="dim num">
            {table.data && `as of epoch ${count(table.data.epoch)}`}
            {sort && (
              <button type="button" className="link" onClick={() => setSort(null)}>
                back to the view's own order
              </button>
            )}
          </span>
        </div>
        {table.error && <ErrorNote error={table.error} />}
        {table.data && table.data.rows.length === 0 && total === 0 && <EmptyView info={info} />}
        {table.data && table.data.rows.length > 0 && (
          <div className="table-scroll" tabIndex={0} role="region" aria-label={`Rows of ${info.name}`}>
            <RowTable
              caption={`Rows of ${info.name}`}
              columns={info.columns}
              rows={table.data.rows}
              keyColumns={key}
              decimals={decimals}
              changed={table.data.changed}
              revision={table.data.revision}
              sort={sort}
              onSort={sortBy}
            />
          </div>
        )}
        <Pager label="Rows" offset={offset} limit={PAGE_ROWS} total={total} onOffset={setOffset} />
      </section>
    </div>
  );
}

/** First click: largest first; second: smallest first; third: the view's own order. */
function nextSort(now: Sort | null, column: string): Sort | null {
  if (now?.column !== column) return { column, descending: true };
  return now.descending ? { column, descending: false } : null;
}

import { useEffect, useMemo, useState } from "react";
import { api } from "../api/client.ts";
import type { ViewInfo } from "../api/messages.ts";
import { type ChartChoice, chartOrder, pickChart, visibleDecimals } from "../charts/pick.ts";
import { ViewChart } from "../charts/view-chart.tsx";
import { plural, rate } from "../format.ts";
import { useIsLive, usePipeline, useStats } from "../live/live.ts";
import { keyIndexes, type Sort, usePastRows, useViewRows } from "../live/view-rows.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { hrefs } from "../route.ts";
import { ViewDigest } from "../verification/digest.tsx";
import { ChartPicker } from "./chart-picker.tsx";
import { RowsCard } from "./rows-card.tsx";

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
        <p className="page-sub">
          <ViewDigest view={info.name} />
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
  // The epoch that the rows are shown as of; the chart stays with the present.
  const [at, setAt] = useState<number | null>(null);
  const choice = chosen ?? automatic;

  const live = useViewRows(info, { limit: PAGE_ROWS, offset, sort, fromEnd: false }, at === null);
  const past = usePastRows(info, at, PAGE_ROWS, offset);
  const table = at === null ? live : past;
  const isLarge = useStats((s) => (s?.views[info.name]?.rows ?? 0) > CHART_ROWS);
  const chartSort = isLarge ? chartOrder(choice, info.columns) : null;
  const isSeries = choice.kind === "line";
  const chartRange = { limit: CHART_ROWS, offset: 0, sort: chartSort, fromEnd: isSeries };
  const chart = useViewRows(info, chartRange, choice.kind !== "none");
  const liveTotal = useStats((s) => s?.views[info.name]?.rows) ?? live.data?.total ?? 0;
  const total = at === null ? liveTotal : (past.data?.total ?? 0);

  const decimals = useMemo(
    () => visibleDecimals(info.columns, table.data?.rows ?? [], chart.data?.rows ?? [], choice, BARS_SHOWN),
    [info, table.data, chart.data, choice],
  );

  // A view may shrink below the page that is shown.
  useEffect(() => {
    if (offset > 0 && offset >= total) setOffset(Math.floor(Math.max(0, total - 1) / PAGE_ROWS) * PAGE_ROWS);
  }, [offset, total]);

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
            total={liveTotal}
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
      <RowsCard
        info={info}
        keyColumns={key}
        decimals={decimals}
        epoch={at}
        onEpoch={setAt}
        table={table}
        sort={sort}
        onSort={setSort}
        page={{ offset, limit: PAGE_ROWS, total }}
        onOffset={setOffset}
      />
    </div>
  );
}

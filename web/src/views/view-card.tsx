import { useMemo, useRef } from "react";
import type { ViewInfo } from "../api/messages.ts";
import { timeOf } from "../columns.ts";
import { chartOrder, columnOrder, pickChart, visibleDecimals } from "../charts/pick.ts";
import { ViewChart } from "../charts/view-chart.tsx";
import { plural, rate } from "../format.ts";
import { useStats } from "../live/live.ts";
import { keyIndexes, type RowRange, useViewRows } from "../live/view-rows.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { hrefs } from "../route.ts";
import { ViewDigest } from "../verification/digest.tsx";
import { RowTable } from "./row-table.tsx";
import { useOnScreen } from "./use-on-screen.ts";

const ROWS_FETCHED = 200;
const ROWS_SHOWN = 6;
const BARS_SHOWN = 9;

/** One view on the overview: its first (or latest) rows and its chart. */
export function ViewCard({ info }: { info: ViewInfo }) {
  const card = useRef<HTMLElement>(null);
  const isOnScreen = useOnScreen(card);
  const key = useMemo(() => keyIndexes(info), [info]);
  const choice = useMemo(() => pickChart(info.columns, key), [info, key]);
  const order = useMemo(() => columnOrder(info.columns, choice), [info, choice]);
  const isSeries = choice.kind === "line";
  const isLarge = useStats((s) => (s?.views[info.name]?.rows ?? 0) > ROWS_FETCHED);
  const sort = isLarge ? chartOrder(choice, info.columns) : null;
  const range: RowRange = { limit: ROWS_FETCHED, offset: 0, sort, fromEnd: isSeries };
  const { data, error } = useViewRows(info, range, isOnScreen);
  const total = useStats((s) => s?.views[info.name]?.rows) ?? data?.total ?? 0;
  const which = isSeries ? "Latest" : sort ? "Top" : "First";
  const changesPerS = useStats((s) => s?.views[info.name]?.changes_per_s ?? 0);

  const shown = useMemo(() => {
    const order = (data?.rows ?? []).map((_, i) => i);
    if (choice.kind === "line") {
      const at = (i: number) => timeOf(data?.rows[i]?.[choice.time]) ?? 0;
      order.sort((a, b) => at(b) - at(a));
    }
    const picked = order.slice(0, ROWS_SHOWN);
    return {
      rows: picked.map((i) => data!.rows[i]!),
      changed: new Map(picked.map((i, place) => [place, data?.changed.get(i) ?? new Set<number>()])),
    };
  }, [data, choice]);

  const decimals = useMemo(
    () => visibleDecimals(info.columns, shown.rows, data?.rows ?? [], choice, BARS_SHOWN),
    [info, data, shown, choice],
  );

  const heading = `view-card-${info.name}`;
  return (
    <article className="card view-card" ref={card} aria-labelledby={heading} data-testid={`view-${info.name}`}>
      <header className="card-head">
        <h3 id={heading}>
          <a href={hrefs.view(info.name)}>{info.name}</a>
        </h3>
        <span className="card-figures num">
          {plural(total, "row")}
          <span className="dim"> · {changesPerS > 0 ? `${rate(changesPerS)} changes` : "no changes"}</span>
        </span>
        <ViewDigest view={info.name} />
      </header>
      {error && <ErrorNote error={error} />}
      {data && data.rows.length > 0 && (
        <ViewChart
          view={info.name}
          columns={info.columns}
          rows={data.rows}
          total={total}
          isSorted={sort !== null}
          choice={choice}
          height={150}
          barsMax={BARS_SHOWN}
          decimals={choice.kind === "none" ? 0 : (decimals[choice.value] ?? 0)}
        />
      )}
      {data && data.rows.length === 0 && <EmptyView info={info} />}
      {shown.rows.length > 0 && (
        <>
          <div className="table-scroll">
            <RowTable
              caption={`${which} rows of ${info.name}`}
              columns={info.columns}
              rows={shown.rows}
              keyColumns={key}
              order={order}
              decimals={decimals}
              changed={shown.changed}
              revision={data?.revision ?? 0}
            />
          </div>
          <footer className="card-foot">
            {total > shown.rows.length ? (
              <a href={hrefs.view(info.name)}>
                {which} {shown.rows.length} of {plural(total, "row")}
              </a>
            ) : (
              <span className="dim">All {plural(total, "row")}</span>
            )}
          </footer>
        </>
      )}
      {!data && !error && <p className="empty">Loading…</p>}
    </article>
  );
}

/** A view without rows, and why that may be right. */
export function EmptyView({ info }: { info: ViewInfo }) {
  return (
    <p className="empty">
      <strong>No rows.</strong>{" "}
      {info.emit === "final"
        ? "Rows appear once their window has closed."
        : "Nothing in the input so far matches this view."}
    </p>
  );
}

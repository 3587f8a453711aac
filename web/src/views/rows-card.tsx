import type { ViewInfo, ViewRows } from "../api/messages.ts";
import { count } from "../format.ts";
import type { Fetched } from "../live/refetch.ts";
import type { LiveRows, Sort } from "../live/view-rows.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { Pager } from "../page/pager.tsx";
import { PastSlider } from "./past-slider.tsx";
import { RowTable } from "./row-table.tsx";
import { EmptyView } from "./view-card.tsx";

interface RowsCardProps {
  info: ViewInfo;
  keyColumns: number[];
  decimals: number[];
  /** What the rows are shown as of; `null`: the present. */
  epoch: number | null;
  onEpoch: (epoch: number | null) => void;
  table: Fetched<ViewRows & Partial<Pick<LiveRows, "changed" | "revision">>>;
  /** In the present only: the past has the view's own order. */
  sort: Sort | null;
  onSort: (sort: Sort | null) => void;
  page: { offset: number; limit: number; total: number };
  onOffset: (offset: number) => void;
}

/** The rows of a view, now or as of an epoch. */
export function RowsCard(props: RowsCardProps) {
  const { info, epoch, table, sort, page, onOffset } = props;
  const isLive = epoch === null;
  const { data } = table;
  const isLoading = !isLive && data?.epoch !== epoch && table.error === null;
  const sortBy = (column: string) => {
    onOffset(0);
    props.onSort(nextSort(sort, column));
  };
  return (
    <section className="card rows-card" aria-label="Rows">
      <div className="card-head">
        <h2>Rows</h2>
        <span className="dim num">
          {isLive && data && `as of epoch ${count(data.epoch)}`}
          {isLive && sort && (
            <button type="button" className="link" onClick={() => props.onSort(null)}>
              back to the view's own order
            </button>
          )}
        </span>
      </div>
      <PastSlider epoch={epoch} timeMs={data?.time_ms ?? null} isLoading={isLoading} onEpoch={props.onEpoch} />
      {table.error && <ErrorNote error={table.error} />}
      {data && data.rows.length === 0 && page.total === 0 && <Nothing info={info} isLive={isLive} />}
      {data && data.rows.length > 0 && (
        <div className="table-scroll" tabIndex={0} role="region" aria-label={`Rows of ${info.name}`} aria-busy={isLoading}>
          <RowTable
            caption={`Rows of ${info.name}`}
            columns={info.columns}
            rows={data.rows}
            keyColumns={props.keyColumns}
            decimals={props.decimals}
            changed={data.changed}
            revision={data.revision ?? 0}
            sort={isLive ? sort : null}
            onSort={isLive ? sortBy : undefined}
          />
        </div>
      )}
      <Pager label="Rows" {...page} onOffset={onOffset} />
    </section>
  );
}

function Nothing({ info, isLive }: { info: ViewInfo; isLive: boolean }) {
  return isLive ? <EmptyView info={info} /> : <p className="empty">No rows at the end of that epoch.</p>;
}

/** First click: largest first; second: smallest first; third: the view's own order. */
function nextSort(now: Sort | null, column: string): Sort | null {
  if (now?.column !== column) return { column, descending: true };
  return now.descending ? { column, descending: false } : null;
}

import { useCallback, useEffect, useRef } from "react";
import { api } from "../api/client.ts";
import type { Row, ViewInfo, ViewRows } from "../api/messages.ts";
import { onViewEvent, stats } from "./live.ts";
import { type Fetched, useRefetched } from "./refetch.ts";

export interface Sort {
  column: string;
  descending: boolean;
}

/** Which rows of a view: a page of it, in its own order or sorted; or its last `limit` rows. */
export interface RowRange {
  limit: number;
  offset: number;
  sort: Sort | null;
  fromEnd: boolean;
}

export interface LiveRows extends ViewRows {
  /** Rises with each fetch; tells one flash of a cell from the next. */
  revision: number;
  /** The columns that changed, by the index of the row; only those that the server told of. */
  changed: ReadonlyMap<number, ReadonlySet<number>>;
}

/** Rows of view `info` that follow its changes. */
export function useViewRows(info: ViewInfo, range: RowRange, isVisible = true): Fetched<LiveRows> {
  const { limit, offset, sort, fromEnd } = range;
  const sortColumn = sort?.column ?? null;
  const descending = sort?.descending ?? false;
  const inserted = useRef({ rows: new Set<string>(), isTruncated: false });
  const before = useRef<LiveRows | null>(null);

  const fetcher = useCallback(
    async (signal: AbortSignal) => {
      const told = inserted.current;
      inserted.current = { rows: new Set(), isTruncated: false };
      const sorted = sortColumn === null ? null : { column: sortColumn, descending };
      const start = fromEnd ? Math.max(0, rowCount(info.name) - limit) : offset;
      const answer = sorted
        ? await sortedRows(info, sorted, limit, start, signal)
        : await api.viewRows(info.name, limit, start, signal);
      const last = before.current;
      const isSameRange = last !== null && last.name === info.name;
      const changed = isSameRange
        ? changedCells(last, answer, keyIndexes(info), (row) => told.isTruncated || told.rows.has(row))
        : new Map<number, Set<number>>();
      before.current = { ...answer, revision: (last?.revision ?? 0) + 1, changed };
      return before.current;
    },
    [info, limit, offset, sortColumn, descending, fromEnd],
  );
  // Another page or order is not a change of its rows: nothing flashes.
  useEffect(() => () => void (before.current = null), [fetcher]);

  const rows = useRefetched(fetcher, isVisible);
  const { markDirty } = rows;
  useEffect(() => {
    return onViewEvent(info.name, (event) => {
      for (const { weight, row } of event.changes) {
        if (weight > 0) inserted.current.rows.add(JSON.stringify(row));
      }
      inserted.current.isTruncated ||= event.truncated;
      markDirty();
    });
  }, [info.name, markDirty]);
  return rows;
}

/** Rows of view `info` as they were at the end of `epoch`, in the view's own order. */
export function usePastRows(info: ViewInfo, epoch: number | null, limit: number, offset: number) {
  const fetcher = useCallback(
    (signal: AbortSignal) => api.viewRowsAt(info.name, epoch ?? 1, limit, offset, signal),
    [info.name, epoch, limit, offset],
  );
  return useRefetched(fetcher, epoch !== null);
}

function rowCount(view: string): number {
  return stats.get()?.views[view]?.rows ?? 0;
}

const quoted = (identifier: string) => `"${identifier.replaceAll('"', '""')}"`;

async function sortedRows(
  info: ViewInfo,
  sort: Sort,
  limit: number,
  offset: number,
  signal: AbortSignal,
): Promise<ViewRows> {
  const direction = sort.descending ? "DESC NULLS LAST" : "ASC NULLS LAST";
  // The key breaks ties: otherwise equal rows could stand on two pages, or on none.
  const ties = (info.key ?? []).filter((name) => name !== sort.column).map(quoted);
  const order = [`${quoted(sort.column)} ${direction}`, ...ties].join(", ");
  const sql = `SELECT * FROM ${quoted(info.name)} ORDER BY ${order} LIMIT ${limit} OFFSET ${offset}`;
  const { epoch, columns, rows } = await api.query(sql, signal);
  return { name: info.name, epoch, total: rowCount(info.name), columns, rows };
}

export function keyIndexes(info: ViewInfo): number[] {
  const indexes = (info.key ?? []).map((name) => info.columns.findIndex((c) => c.name === name));
  return indexes.includes(-1) ? [] : indexes;
}

/** What tells a row from the others: its key, or all of it. */
export function rowKey(row: Row, key: readonly number[]): string {
  return JSON.stringify(key.length > 0 ? key.map((i) => row[i]) : row);
}

/** The cells of `after` that differ from the row of the same key in `before`. */
export function changedCells(
  before: Pick<ViewRows, "rows">,
  after: Pick<ViewRows, "rows">,
  key: readonly number[],
  wasInserted: (row: string) => boolean,
): Map<number, Set<number>> {
  const old = new Map(before.rows.map((row) => [rowKey(row, key), row]));
  const changed = new Map<number, Set<number>>();
  after.rows.forEach((row, index) => {
    const was = old.get(rowKey(row, key));
    const differing = row.flatMap((value, i) => (isSame(value, was?.[i]) ? [] : [i]));
    if (differing.length > 0 && wasInserted(JSON.stringify(row))) {
      changed.set(index, new Set(differing));
    }
  });
  return changed;
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
}

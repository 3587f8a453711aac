import { memo } from "react";
import type { Column, Row } from "../api/messages.ts";
import { classOf, textOf } from "../columns.ts";
import { columnDecimals } from "../decimals.ts";
import { rowKey, type Sort } from "../live/view-rows.ts";
import { cellText } from "./cell-text.ts";

interface RowTableProps {
  /** What the table shows, for those who cannot see where it stands. */
  caption: string;
  columns: readonly Column[];
  rows: readonly Row[];
  /** Positions of the key columns; a row keeps its place in the page by them. */
  keyColumns?: readonly number[];
  /** Positions of the columns that are shown, in their order; without it, all. */
  order?: readonly number[];
  /** Digits after the point of each column; without it, as many as its rows need. */
  decimals?: readonly number[];
  changed?: ReadonlyMap<number, ReadonlySet<number>> | undefined;
  revision?: number;
  sort?: Sort | null;
  onSort?: ((column: string) => void) | undefined;
}

const NO_COLUMNS: readonly number[] = [];

/** Rows as a table; cells that have just changed flash. */
export const RowTable = memo(function RowTable(props: RowTableProps) {
  const { caption, columns, rows, keyColumns = NO_COLUMNS, changed, revision = 0 } = props;
  const keys = uniqueKeys(rows, keyColumns);
  const order = props.order ?? columns.map((_, i) => i);
  const decimals = props.decimals ?? columnDecimals(columns, rows);
  return (
    <table className="rows">
      <caption className="visually-hidden">{caption}</caption>
      <thead>
        <tr>
          {order.map((i) => (
            <Head key={i} column={columns[i]!} sort={props.sort ?? null} onSort={props.onSort} />
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row, i) => (
          <tr key={keys[i]} data-testid="row">
            {order.map((j) => {
              const column = columns[j]!;
              const hasChanged = changed?.get(i)?.has(j) ?? false;
              const text = cellText(row[j], column, keyColumns.includes(j), decimals[j]);
              const full = textOf(row[j]);
              return (
                <td
                  key={j}
                  data-class={classOf(column)}
                  data-null={row[j] === null || undefined}
                  // Two names for one animation: a cell that changes again flashes again.
                  data-flash={hasChanged ? (revision % 2 === 0 ? "even" : "odd") : undefined}
                  title={full === text || full.length < 12 ? undefined : full}
                >
                  {text}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
});

interface HeadProps {
  column: Column;
  sort?: Sort | null;
  onSort?: ((column: string) => void) | undefined;
}

export function Head({ column, sort = null, onSort }: HeadProps) {
  const isSorted = sort?.column === column.name;
  const direction = isSorted ? (sort.descending ? "descending" : "ascending") : undefined;
  const kind = classOf(column);
  const label = (
    <>
      {column.name}
      {kind === "time" && <small> UTC</small>}
    </>
  );
  return (
    <th scope="col" data-class={kind} aria-sort={direction} title={column.type}>
      {onSort ? (
        <button type="button" className="sort" onClick={() => onSort(column.name)}>
          {label}
          <span className="sort-mark" aria-hidden="true">
            {isSorted ? (sort.descending ? "▾" : "▴") : ""}
          </span>
        </button>
      ) : (
        label
      )}
    </th>
  );
}

/** Equal rows (a view need not have a key) get a number of their own. */
function uniqueKeys(rows: readonly Row[], keyColumns: readonly number[]): string[] {
  const seen = new Map<string, number>();
  return rows.map((row) => {
    const key = rowKey(row, keyColumns);
    const times = seen.get(key) ?? 0;
    seen.set(key, times + 1);
    return times === 0 ? key : `${key}#${times}`;
  });
}

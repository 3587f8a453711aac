import type { Column, Row, Value } from "./api/messages.ts";
import { classOf, isWholeNumber, numberOf } from "./columns.ts";

/** More digits after the point than this are in the titles of the cells only. */
const DECIMALS_MAX = 3;
/** From here on, thousands are easier to read apart. */
const GROUPED_FROM = 10_000;

/** The fewest digits after the point that show every value, up to three. */
export function decimalsOf(values: Iterable<Value | undefined>): number {
  let most = 0;
  for (const value of values) {
    if (most === DECIMALS_MAX) break;
    most = Math.max(most, decimalsOfOne(value));
  }
  return most;
}

function decimalsOfOne(value: Value | undefined): number {
  const number = numberOf(value);
  if (number === null) return 0;
  // The text of a DECIMAL has the digits that its type asks for, zeros among them.
  if (typeof value === "string") {
    return Math.min(DECIMALS_MAX, /^[^.e]*\.(\d+)$/i.exec(value.trim())?.[1]?.length ?? 0);
  }
  return /\.(\d*?)0*$/.exec(number.toFixed(DECIMALS_MAX))?.[1]?.length ?? 0;
}

/** The digits for each column of a table; 0 for what is no fraction. */
export function columnDecimals(columns: readonly Column[], rows: readonly Row[]): number[] {
  return columns.map((column, i) => {
    if (classOf(column) !== "number" || isWholeNumber(column)) return 0;
    return decimalsOf(rows.map((row) => row[i]));
  });
}

/** A number with so many digits after the point: the same in bars, legends and tables. */
export function numberText(value: number, decimals: number): string {
  const size = Math.abs(value);
  // A tiny value would become 0.000, which it is not.
  if (size > 0 && size < 0.0005) return value.toPrecision(3);
  return value.toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
    useGrouping: size >= GROUPED_FROM,
  });
}

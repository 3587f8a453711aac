import type { Column, Value } from "../api/messages.ts";
import { classOf, isWholeNumber, textOf } from "../columns.ts";
import { eventTime } from "../format.ts";

/** Digits after the point that a table shows; the full value is in the cell's title. */
const FRACTION_DIGITS = 3;
/** From here on, thousands are easier to read apart. */
const GROUPED_FROM = 10_000;

/** A value in a table cell. Keys are never rounded or grouped: they are names. */
export function cellText(value: Value | undefined, column: Column, isKey: boolean): string {
  if (value === null || value === undefined) return "null";
  const kind = classOf(column);
  if (kind === "time" && typeof value === "string") return eventTime(value);
  if (kind !== "number" || typeof value !== "number" || isKey) return textOf(value);
  if (isWholeNumber(column) || Number.isInteger(value)) {
    return Math.abs(value) < GROUPED_FROM ? String(value) : value.toLocaleString("en-US");
  }
  const size = Math.abs(value);
  // A tiny value would become 0.000, which it is not.
  if (size > 0 && size < 0.001) return value.toPrecision(3);
  return value.toLocaleString("en-US", {
    minimumFractionDigits: size < GROUPED_FROM ? FRACTION_DIGITS : 1,
    maximumFractionDigits: size < GROUPED_FROM ? FRACTION_DIGITS : 1,
  });
}

import type { Column, Value } from "../api/messages.ts";
import { classOf, isWholeNumber, numberOf, textOf } from "../columns.ts";
import { decimalsOf, numberText } from "../decimals.ts";
import { eventTime } from "../format.ts";

/**
 * A value in a table cell, with as many digits after the point as the column has, or as the value
 * alone needs. Keys are never rounded or grouped: they are names.
 */
export function cellText(
  value: Value | undefined,
  column: Column,
  isKey: boolean,
  decimals = decimalsOf([value]),
): string {
  if (value === null || value === undefined) return "null";
  const kind = classOf(column);
  if (kind === "time" && typeof value === "string") return eventTime(value);
  const number = kind === "number" && !isKey ? numberOf(value) : null;
  // Text that a double cannot hold exactly stays as it is.
  if (number === null || (typeof value === "string" && !isExact(number))) return textOf(value);
  return numberText(number, isWholeNumber(column) ? 0 : decimals);
}

const isExact = (number: number) => Math.abs(number) < Number.MAX_SAFE_INTEGER / 1000;

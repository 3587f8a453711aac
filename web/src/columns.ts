import type { Column, Value } from "./api/messages.ts";

/** What a column's SQL type means for showing it. */
export type ColumnClass = "time" | "number" | "text" | "boolean" | "other";

const NUMBER = /^(TINY|SMALL|BIG)?INT(EGER)?\b|^(DOUBLE|FLOAT|REAL|DECIMAL|NUMERIC)\b|^U?INT\d*\b/;
const WHOLE_NUMBER = /INT/;
const TIME = /^(TIMESTAMP|DATE)\b/;
const TEXT = /^(TEXT|VARCHAR|CHAR|STRING|UTF8)\b/;

export function classOf(column: Column): ColumnClass {
  const type = column.type.toUpperCase();
  if (TIME.test(type)) return "time";
  if (NUMBER.test(type)) return "number";
  if (TEXT.test(type)) return "text";
  return type === "BOOLEAN" ? "boolean" : "other";
}

export function isWholeNumber(column: Column): boolean {
  return WHOLE_NUMBER.test(column.type.toUpperCase());
}

/** A value as a number: decimals and large integers come as text. `null` if it is none. */
export function numberOf(value: Value | undefined): number | null {
  if (typeof value === "number") return value;
  if (typeof value !== "string" || value.trim() === "") return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

/** A time value as Unix seconds; one without a zone counts as UTC. */
export function timeOf(value: Value | undefined): number | null {
  if (typeof value !== "string") return null;
  const hasZone = /(Z|[+-]\d\d:?\d\d)$/.test(value) || !value.includes(":");
  const timeMs = Date.parse(hasZone ? value : `${value}Z`);
  return Number.isNaN(timeMs) ? null : timeMs / 1000;
}

/** A value in a sentence or on an axis. */
export function textOf(value: Value | undefined): string {
  if (value === null || value === undefined) return "null";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

import type { Value } from "./messages.ts";

type Reviver = (key: string, value: Value, context?: { source?: string }) => Value;

/**
 * Like `JSON.parse`, but an integer too large for a double stays exact, as text.
 *
 * The reviver is slow, so it only runs where the text holds a number that long; a browser without
 * `context.source` falls back to the rounded number.
 */
export function parseExact(text: string): unknown {
  return /[0-9]{16}/.test(text) ? JSON.parse(text, keepLargeIntegers as Reviver) : JSON.parse(text);
}

const keepLargeIntegers: Reviver = (_key, value, context) => {
  const isRounded =
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  const source = context?.source;
  return isRounded && source !== undefined && /^-?[0-9]+$/.test(source) ? source : value;
};

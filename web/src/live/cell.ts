import { useSyncExternalStore } from "react";

/** A value that components can follow. */
export interface Cell<T> {
  get: () => T;
  set: (value: T) => void;
  subscribe: (listener: () => void) => () => void;
}

export function cell<T>(initial: T): Cell<T> {
  let current = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => current,
    set: (value) => {
      if (Object.is(value, current)) return;
      current = value;
      for (const listener of listeners) listener();
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * The part of a cell that `select` picks. A component renders again only when that part changes, so
 * `select` must return a primitive or something that keeps its identity.
 */
export function useCell<T, S = T>(
  source: Cell<T>,
  select: (value: T) => S = (value) => value as unknown as S,
): S {
  return useSyncExternalStore(source.subscribe, () => select(source.get()));
}

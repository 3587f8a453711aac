import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client.ts";
import { useConnection } from "./live.ts";

/** At most two fetches a second … */
const INTERVAL_MS_MIN = 500;
/** … and a server that needs long is left alone for longer: it has a pipeline to run. */
const REST_FACTOR = 4;

export interface Fetched<T> {
  data: T | null;
  error: ApiError | null;
  /** Asks for a new fetch; many calls become one. */
  markDirty: () => void;
}

/**
 * Fetches when shown, when marked dirty, and after each reconnect, but never too often, and not
 * while nobody looks (`isVisible`, or the tab is hidden). `fetcher` must keep its identity; a new
 * one starts over, with the old data shown until the new is there.
 */
export function useRefetched<T>(
  fetcher: (signal: AbortSignal) => Promise<T>,
  isVisible = true,
): Fetched<T> {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const schedule = useRef<() => void>(() => {});
  const { generation, state } = useConnection();
  const isActive = isVisible && state === "live";
  const dirty = useRef(true);

  useEffect(() => {
    dirty.current = true;
  }, [fetcher, generation]);

  useEffect(() => {
    if (!isActive) return;
    const abort = new AbortController();
    let timer: number | undefined;
    let isFetching = false;
    let notBefore = 0;

    const fetchNow = async () => {
      timer = undefined;
      isFetching = true;
      dirty.current = false;
      const startedAt = performance.now();
      try {
        const answer = await fetcher(abort.signal);
        if (abort.signal.aborted) return;
        setData(answer);
        setError(null);
      } catch (failure) {
        if (abort.signal.aborted) return;
        setError(ApiError.from(failure));
      } finally {
        isFetching = false;
        const tookMs = performance.now() - startedAt;
        notBefore = startedAt + Math.max(INTERVAL_MS_MIN, REST_FACTOR * tookMs);
      }
      plan();
    };
    const plan = () => {
      if (!dirty.current || isFetching || timer !== undefined || document.hidden) return;
      const waitMs = Math.max(0, notBefore - performance.now());
      timer = window.setTimeout(() => void fetchNow(), waitMs);
    };

    schedule.current = plan;
    document.addEventListener("visibilitychange", plan);
    plan();
    return () => {
      // What was asked for but not answered is asked for again by whoever comes next.
      if (isFetching) dirty.current = true;
      abort.abort();
      window.clearTimeout(timer);
      schedule.current = () => {};
      document.removeEventListener("visibilitychange", plan);
    };
  }, [fetcher, generation, isActive]);

  const markDirty = useCallback(() => {
    dirty.current = true;
    schedule.current();
  }, []);
  return { data, error, markDirty };
}

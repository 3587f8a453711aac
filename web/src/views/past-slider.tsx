import { useEffect, useRef, useState } from "react";
import { count, wallTime } from "../format.ts";
import { useStats } from "../live/live.ts";
import { epochOf, placeOf } from "./past.ts";

/** A replay of the journal is work: it begins when the slider rests. */
const REST_MS = 250;

interface PastSliderProps {
  /** What is shown; `null`: the present. */
  epoch: number | null;
  /** The time of the epoch, once it is known. */
  timeMs: number | null;
  isLoading: boolean;
  onEpoch: (epoch: number | null) => void;
}

/** Chooses between the present and every epoch before it. */
export function PastSlider({ epoch, timeMs, isLoading, onEpoch }: PastSliderProps) {
  const newest = useStats((s) => s?.epoch ?? 0);
  const [chosen, setChosen] = useState(epoch);
  // While one looks at the past, new epochs do not move it below the pointer.
  const last = useRef(newest);
  if (chosen === null) last.current = newest;
  const { position, max } = placeOf(chosen, last.current);

  useEffect(() => {
    if (chosen === epoch) return;
    const timer = window.setTimeout(() => onEpoch(chosen), chosen === null ? 0 : REST_MS);
    return () => window.clearTimeout(timer);
  }, [chosen, epoch, onEpoch]);

  const isWaiting = isLoading || chosen !== epoch;
  const words = chosen === null ? "live" : `as of epoch ${count(chosen)}`;
  return (
    <div className="past" data-past={chosen !== null || undefined}>
      <label>
        As of
        <input
          type="range"
          min={1}
          max={max}
          value={position}
          aria-label="Epoch"
          aria-valuetext={words}
          data-testid="past-slider"
          onChange={(event) => setChosen(epochOf({ position: Number(event.target.value), max }))}
        />
      </label>
      <output className="num" data-testid="past-state">
        {words}
        {chosen !== null && isWaiting && <span className="dim"> · computed from the journal…</span>}
        {chosen !== null && !isWaiting && timeMs !== null && (
          <>
            , <time dateTime={new Date(timeMs).toISOString()}>{wallTime(timeMs)}</time>
          </>
        )}
      </output>
      {chosen !== null && (
        <button type="button" className="link" onClick={() => setChosen(null)}>
          back to live
        </button>
      )}
    </div>
  );
}

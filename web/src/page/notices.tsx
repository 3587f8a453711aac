import { clock, plural, seconds } from "../format.ts";
import { useCell } from "../live/cell.ts";
import { heardAt, loadError, useConnection, usePipeline, useStats } from "../live/live.ts";
import { verification } from "../live/verification.ts";
import { hrefs } from "../route.ts";
import { placeOf } from "../verification/words.ts";
import { ErrorNote } from "./error-note.tsx";
import { useNow } from "./use-now.ts";

const MISMATCHES_SHOWN = 3;

/** What the reader must know of the pipeline itself. */
export function Notices() {
  return (
    <>
      <LoadFailure />
      <VerificationMismatch />
      <PipelineState />
    </>
  );
}

/** That the figures are old, and since when. Ticks each second, so it is not announced; the connection state in the top bar is. */
export function LostConnection() {
  const { state, lostAt, retryAt } = useConnection();
  const heard = useCell(heardAt);
  const now = useNow(state === "lost");
  if (state !== "lost") return null;
  const since = seconds(Math.max(0, Math.round((now - (lostAt ?? now)) / 1000)));
  const waitS = Math.max(0, Math.ceil(((retryAt ?? now) - now) / 1000));
  return (
    <div className="notice" data-tone="bad" data-testid="connection-banner">
      <strong>
        {heard === null ? "Cannot reach the server" : `Connection lost ${since} ago`}
      </strong>
      <span className="num">
        {heard !== null && `The figures below are from ${clock(heard)}. `}
        {waitS > 0 ? `Trying again in ${waitS} s.` : "Reconnecting…"}
      </span>
    </div>
  );
}

/** That the run is not what its journal says. */
function VerificationMismatch() {
  const mismatches = useCell(verification, (v) => v?.report?.mismatches ?? null);
  if (mismatches === null || mismatches.length === 0) return null;
  return (
    <div className="notice" data-tone="bad" role="alert" data-testid="mismatch-banner">
      <strong>Verification found {plural(mismatches.length, "difference")}</strong>
      <span>
        {mismatches.slice(0, MISMATCHES_SHOWN).map(placeOf).join("; ")}.{" "}
        <a href={hrefs.overview}>What was found</a>
      </span>
    </div>
  );
}

function LoadFailure() {
  const error = useCell(loadError);
  const { state } = useConnection();
  return error && state === "live" ? <ErrorNote error={error} /> : null;
}

function PipelineState() {
  const state = useStats((s) => s?.state ?? null);
  const hasSinks = (usePipeline()?.sinks.length ?? 0) > 0;
  const errors = useStats((s) => {
    const parts = [...Object.entries(s?.sources ?? {}), ...Object.entries(s?.sinks ?? {})];
    return parts.flatMap(([name, part]) => (part.error ? [`${name}: ${part.error}`] : [])).join("\n");
  });
  if (state === "finished") {
    return (
      <div className="notice" data-tone="good" role="status">
        <strong>All input processed</strong>
        <span>{hasSinks ? "Sinks are complete." : "The views are complete."}</span>
      </div>
    );
  }
  if (state === "failed") {
    return (
      <div className="notice" data-tone="bad" role="alert">
        <strong>The pipeline has failed</strong>
        <span className="pre-line">{errors || "The log of the process says why."}</span>
      </div>
    );
  }
  if (errors === "") return null;
  return (
    <div className="notice" data-tone="warn" role="status">
      <strong>Needs attention</strong>
      <span className="pre-line">{errors}</span>
    </div>
  );
}

import { useState } from "react";
import { api, ApiError } from "../api/client.ts";
import type { Mismatch, Verification } from "../api/messages.ts";
import { count, wallTime } from "../format.ts";
import { useIsLive } from "../live/live.ts";
import { loadVerification, useCheckpoint, useVerification } from "../live/verification.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { Hash } from "./digest.tsx";
import { BY_WORDS, placeOf, STATE_WORDS, summary } from "./words.ts";

/** Whether the run is what its journal says: what was last found, and a way to look again. */
export function Reproducible() {
  const verification = useVerification();
  const isLive = useIsLive();
  const [error, setError] = useState<ApiError | null>(null);
  const state = verification?.state ?? "never";

  const verify = async () => {
    try {
      await api.verify();
      setError(null);
    } catch (failure) {
      setError(ApiError.from(failure));
    }
    void loadVerification();
  };

  return (
    <section className="card reproducible" aria-labelledby="reproducible" data-testid="reproducible">
      <div className="card-head">
        <h2 id="reproducible">
          Reproducible{" "}
          <span className="state" role="status" data-verification={state} data-testid="verification-state">
            {STATE_WORDS[state]}
          </span>
        </h2>
        <button type="button" disabled={!isLive || state === "running"} onClick={() => void verify()}>
          Verify now
        </button>
      </div>
      {error && <ErrorNote error={error} />}
      {verification && <About verification={verification} />}
      {verification && state !== "running" && <Findings verification={verification} />}
      <LastCheckpoint />
    </section>
  );
}

/** Which epoch, when, by whom; how far, while it is running. */
function About({ verification }: { verification: Verification }) {
  const { state, epoch, at_ms: atMs, by, epochs_done: done, report } = verification;
  if (state === "never") {
    return (
      <p className="note">
        All views are computed again from the journal, by another engine, and compared with what the run
        recorded. <code>syncline verify --watch</code> does so all the time.
      </p>
    );
  }
  if (state === "running") {
    return (
      <p className="verifying num">
        <progress aria-label="Epochs verified" value={done ?? 0} max={epoch ?? 1} />
        {count(done)} of {count(epoch)} epochs
      </p>
    );
  }
  return (
    <p className="num">
      {epoch !== null && `At the end of epoch ${count(epoch)}`}
      {atMs !== null && (
        <>
          , <time dateTime={new Date(atMs).toISOString()}>{wallTime(atMs)}</time>
        </>
      )}
      {by && <span className="dim"> · {BY_WORDS[by]}</span>}
      {report && <span className="dim"> · {summary(report)}</span>}
    </p>
  );
}

/** What differs, and what nobody has looked at. */
function Findings({ verification: { report, error } }: { verification: Verification }) {
  return (
    <>
      {error && <p className="bad-text pre-line">{error}</p>}
      {report?.mismatches.map((mismatch, i) => <Difference key={i} mismatch={mismatch} />)}
      <Phrases title="Not checked" phrases={report?.unchecked ?? []} />
      <Phrases title="Not asked for" phrases={report?.notes ?? []} />
    </>
  );
}

function Difference({ mismatch }: { mismatch: Mismatch }) {
  return (
    <div className="error-note">
      <strong>{placeOf(mismatch)}</strong>
      <p>{mismatch.message}</p>
      {mismatch.rows.length > 0 && <pre>{mismatch.rows.join("\n")}</pre>}
    </div>
  );
}

function Phrases({ title, phrases }: { title: string; phrases: string[] }) {
  if (phrases.length === 0) return null;
  return (
    <div className="phrases">
      <h3>{title}</h3>
      <ul>
        {phrases.map((phrase) => (
          <li key={phrase}>{phrase}</li>
        ))}
      </ul>
    </div>
  );
}

function LastCheckpoint() {
  const checkpoint = useCheckpoint();
  if (!checkpoint) return <p className="note">No checkpoint yet: one is taken every 10 seconds.</p>;
  return (
    <dl className="facts num">
      <div>
        <dt>Last checkpoint</dt>
        <dd>
          epoch {count(checkpoint.epoch)}, {wallTime(checkpoint.time_ms)}
        </dd>
      </div>
      <div>
        <dt>Input root</dt>
        <dd>
          <Hash of="the input root" hash={checkpoint.input_root} />
        </dd>
      </div>
      <div>
        <dt>Epoch log</dt>
        <dd>
          <Hash of="the hash of the epoch log" hash={checkpoint.chain} />
        </dd>
      </div>
    </dl>
  );
}

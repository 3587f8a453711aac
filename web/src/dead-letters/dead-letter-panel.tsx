import { useCallback, useEffect, useId, useRef, useState } from "react";
import { api, ApiError } from "../api/client.ts";
import type { DeadLetterDetail } from "../api/messages.ts";
import { bytes, count, wallTime } from "../format.ts";
import { useIsLive } from "../live/live.ts";
import { useRefetched } from "../live/refetch.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { hrefs } from "../route.ts";
import { originalOf, reasonOf } from "./original.ts";

interface PanelProps {
  id: string;
  /** The letter was retried or dropped. */
  onChanged: () => void;
}

/** One dead letter: why, where from, its bytes, and what can be done with it. */
export function DeadLetterPanel({ id, onChanged }: PanelProps) {
  const fetcher = useCallback((signal: AbortSignal) => api.deadLetter(id, signal), [id]);
  const { data, error, markDirty } = useRefetched(fetcher);
  const panel = useRef<HTMLElement>(null);
  const isLoaded = data !== null;
  useEffect(() => {
    // On a phone the panel stands below the list, out of sight.
    if (isLoaded) panel.current?.scrollIntoView({ block: "nearest" });
  }, [isLoaded]);
  const onDone = () => {
    markDirty();
    onChanged();
  };
  return (
    <section
      className="card letter-panel"
      ref={panel}
      aria-label={`Dead letter ${id}`}
      data-testid="dead-letter-detail"
    >
      <div className="card-head">
        <h2>Dead letter {id}</h2>
        <a className="button" href={hrefs.deadLetters}>
          Close
        </a>
      </div>
      {error && <ErrorNote error={error} />}
      {!data && !error && <p className="empty">Loading…</p>}
      {data && <Facts letter={data} />}
      {data && <Editor letter={data} onDone={onDone} />}
    </section>
  );
}

function Facts({ letter }: { letter: DeadLetterDetail }) {
  const facts: [string, string][] = [
    [letter.stage, letter.source],
    ["position", letter.position],
    ["epoch", count(letter.epoch)],
    ["set aside", wallTime(letter.at_ms)],
    ["state", letter.state],
  ];
  return (
    <>
      <p className="letter-reason">
        <span className="badge" data-class={letter.class}>
          {letter.class}
        </span>{" "}
        {reasonOf(letter.class)}
      </p>
      <p className="letter-full-message">{letter.message}</p>
      <dl className="facts num">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Editor({ letter, onDone }: { letter: DeadLetterDetail; onDone: () => void }) {
  const [text, setText] = useState(letter.text);
  const [isBusy, setIsBusy] = useState(false);
  const [isDropAsked, setIsDropAsked] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [outcome, setOutcome] = useState("");
  const isLive = useIsLive();
  const editorId = useId();
  const original = originalOf(letter.base64);
  const isEdited = text !== letter.text;
  const canAct = isLive && !isBusy && letter.state === "open";

  const act = async (action: () => Promise<unknown>, done: string) => {
    setIsBusy(true);
    setError(null);
    try {
      await action();
      setOutcome(done);
      onDone();
    } catch (failure) {
      setError(ApiError.from(failure));
    } finally {
      setIsBusy(false);
      setIsDropAsked(false);
    }
  };
  const retry = () =>
    act(() => api.retryDeadLetter(letter.id, isEdited ? text : null), "Queued: it goes in with one of the next epochs.");
  const drop = () => act(() => api.dropDeadLetter(letter.id), "Dropped: it will not be tried again.");

  return (
    <>
      <h3>Original</h3>
      {letter.context && (
        <pre className="original context" aria-label="Header line of the file">
          {letter.context}
        </pre>
      )}
      <pre className="original">{letter.text}</pre>
      <p className="note num">
        {bytes(original.sizeBytes)}
        {!original.isText &&
          ", not all of it text: what cannot be shown is replaced here. Retried unedited, the original bytes go in."}
      </p>
      {letter.state === "open" && (
        <>
          <label className="editor-label" htmlFor={editorId}>
            Correct it here, then retry
          </label>
          <textarea
            id={editorId}
            className="editor"
            spellCheck={false}
            rows={Math.min(8, text.split("\n").length + 2)}
            value={text}
            onChange={(e) => setText(e.target.value)}
          />
          <div className="actions">
            <button type="button" className="primary" disabled={!canAct} onClick={() => void retry()}>
              {isEdited ? "Retry edited row" : "Retry as it is"}
            </button>
            {isEdited && (
              <button type="button" disabled={isBusy} onClick={() => setText(letter.text)}>
                Undo edits
              </button>
            )}
            {isDropAsked ? (
              <>
                <button type="button" className="danger" disabled={!canAct} onClick={() => void drop()}>
                  Drop for good
                </button>
                <button type="button" onClick={() => setIsDropAsked(false)}>
                  Keep
                </button>
              </>
            ) : (
              <button type="button" disabled={!canAct} onClick={() => setIsDropAsked(true)}>
                Drop
              </button>
            )}
          </div>
        </>
      )}
      <p role="status" className="outcome">
        {outcome || (letter.state === "open" ? "" : `This letter was ${letter.state}.`)}
      </p>
      {error && <ErrorNote error={error} />}
    </>
  );
}

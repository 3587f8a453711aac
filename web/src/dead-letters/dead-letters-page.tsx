import { useCallback, useEffect, useState } from "react";
import { api } from "../api/client.ts";
import { type DeadLetter, DEAD_LETTER_CLASSES } from "../api/messages.ts";
import { count, plural, wallTime } from "../format.ts";
import { useCell } from "../live/cell.ts";
import { deadLetterRevision, usePipeline, useStats } from "../live/live.ts";
import { useRefetched } from "../live/refetch.ts";
import { ErrorNote } from "../page/error-note.tsx";
import { Pager } from "../page/pager.tsx";
import { hrefs } from "../route.ts";
import { DeadLetterPanel } from "./dead-letter-panel.tsx";

const PAGE_LETTERS = 50;
const STATES = ["open", "retried", "dropped"];

/** Rows that could not be processed: a list, and the one that is looked at. */
export function DeadLettersPage({ id }: { id: string | null }) {
  const [source, setSource] = useState("");
  const [className, setClassName] = useState("");
  const [state, setState] = useState("open");
  const [offset, setOffset] = useState(0);
  const revision = useCell(deadLetterRevision);
  const allTotal = useStats((s) => s?.dead_letters_total ?? 0);

  const fetcher = useCallback(
    (signal: AbortSignal) => {
      const filter = { source, class: className, state, limit: PAGE_LETTERS, offset };
      return api.deadLetters(filter, signal);
    },
    [source, className, state, offset],
  );
  const { data, error, markDirty } = useRefetched(fetcher);
  useEffect(markDirty, [revision, allTotal, markDirty]);

  const filterBy = (set: (value: string) => void) => (value: string) => {
    setOffset(0);
    set(value);
  };
  const pipeline = usePipeline();
  const origins = [...(pipeline?.sources ?? []), ...(pipeline?.sinks ?? [])].map((o) => o.name);

  return (
    <>
      <header className="page-head">
        <div>
          <h1>Dead letters</h1>
          <p className="page-sub num">
            {data ? `${count(data.open)} open` : ""} · {plural(allTotal, "row")} set aside so far, with
            their original bytes
          </p>
        </div>
      </header>
      <div className="filters" role="group" aria-label="Filter">
        <Filter label="State" value={state} options={STATES} onChange={filterBy(setState)} />
        <Filter label="Reason" value={className} options={DEAD_LETTER_CLASSES} onChange={filterBy(setClassName)} />
        <Filter label="From" value={source} options={origins} onChange={filterBy(setSource)} />
      </div>
      {error && <ErrorNote error={error} />}
      <div className="split" data-open={id !== null || undefined}>
        <section className="card list-card" aria-label="List of dead letters">
          {data && data.items.length === 0 && <NoLetters total={allTotal} />}
          {!data && !error && <p className="empty">Loading…</p>}
          {data && data.items.length > 0 && (
            <ul className="letters">
              {data.items.map((letter) => (
                <Letter key={letter.id} letter={letter} isPicked={letter.id === id} />
              ))}
            </ul>
          )}
          <Pager
            label="Dead letters"
            offset={offset}
            limit={PAGE_LETTERS}
            total={data?.total ?? 0}
            onOffset={setOffset}
          />
        </section>
        {id !== null && <DeadLetterPanel key={id} id={id} onChanged={markDirty} />}
      </div>
    </>
  );
}

function NoLetters({ total }: { total: number }) {
  return (
    <p className="empty">
      <strong>No dead letters here.</strong>{" "}
      {total === 0 ? "Every row so far could be processed." : "None matches the filter."}
    </p>
  );
}

interface FilterProps {
  label: string;
  value: string;
  options: readonly string[];
  onChange: (value: string) => void;
}

function Filter({ label, value, options, onChange }: FilterProps) {
  return (
    <label>
      {label}
      <select value={value} onChange={(e) => onChange(e.target.value)}>
        <option value="">any</option>
        {options.map((option) => (
          <option key={option} value={option}>
            {option}
          </option>
        ))}
      </select>
    </label>
  );
}

function Letter({ letter, isPicked }: { letter: DeadLetter; isPicked: boolean }) {
  return (
    <li data-testid="dead-letter" data-picked={isPicked || undefined}>
      <a href={hrefs.deadLetter(letter.id)} aria-current={isPicked || undefined}>
        <span className="letter-head">
          <span className="badge" data-class={letter.class}>
            {letter.class}
          </span>
          <b>{letter.source}</b>
          <span className="dim num">{letter.position}</span>
          {letter.state !== "open" && <span className="badge quiet">{letter.state}</span>}
          <time className="dim num" dateTime={new Date(letter.at_ms).toISOString()}>
            {wallTime(letter.at_ms)}
          </time>
        </span>
        <span className="letter-message">{letter.message}</span>
        <code className="letter-preview">{letter.preview}</code>
      </a>
    </li>
  );
}

import type { Pipeline } from "../api/messages.ts";
import { count, eventTime, rate } from "../format.ts";
import { useStats } from "../live/live.ts";

/** Every source and sink: whether it works, how far it is, and what is wrong. */
export function Endpoints({ pipeline }: { pipeline: Pipeline }) {
  return (
    <div className="endpoint-grid">
      <section className="card" aria-labelledby="sources">
        <h2 id="sources">Sources</h2>
        <ul className="endpoints">
          {pipeline.sources.map((source) => (
            <SourceItem key={source.name} name={source.name} type={source.type} />
          ))}
        </ul>
      </section>
      <section className="card" aria-labelledby="sinks">
        <h2 id="sinks">Sinks</h2>
        {pipeline.sinks.length === 0 && <p className="note">No sink: the views are kept and shown here.</p>}
        <ul className="endpoints">
          {pipeline.sinks.map((sink) => (
            <SinkItem key={sink.name} name={sink.name} about={`${sink.type}, ${sink.mode} of ${sink.from}`} />
          ))}
        </ul>
      </section>
    </div>
  );
}

function SourceItem({ name, type }: { name: string; type: string }) {
  const source = useStats((s) => s?.sources[name] ?? null);
  return (
    <li>
      <div className="endpoint-head">
        <b>{name}</b> <span className="dim">{type}</span>
        <State state={source?.state ?? null} />
      </div>
      {source && (
        <div className="endpoint-figures num">
          {rate(source.rows_per_s)} · {count(source.rows_total)} rows
          {source.rejected_total > 0 && ` · ${count(source.rejected_total)} rejected`}
          {source.watermark && ` · up to ${eventTime(source.watermark)} UTC`}
        </div>
      )}
      {source?.error && <p className="bad-text">{source.error}</p>}
    </li>
  );
}

function SinkItem({ name, about }: { name: string; about: string }) {
  const sink = useStats((s) => s?.sinks[name] ?? null);
  return (
    <li>
      <div className="endpoint-head">
        <b>{name}</b> <span className="dim">{about}</span>
        <State state={sink?.state ?? null} />
      </div>
      {sink && (
        <div className="endpoint-figures num">
          {count(sink.rows_total)} rows written · durable to epoch {count(sink.epoch)}
          {sink.pending_epochs > 0 && ` · ${count(sink.pending_epochs)} epochs waiting`}
        </div>
      )}
      {sink?.error && <p className="bad-text">{sink.error}</p>}
    </li>
  );
}

function State({ state }: { state: string | null }) {
  return (
    <span className="state" data-state={state ?? "unknown"}>
      {state ?? "unknown"}
    </span>
  );
}

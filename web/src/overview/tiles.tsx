import type { ReactNode } from "react";
import { count, milliseconds, percent, plural, rate, seconds } from "../format.ts";
import { activeAlerts, useStats } from "../live/live.ts";
import { hrefs } from "../route.ts";

type Tone = "plain" | "warn" | "bad";

interface TileProps {
  label: string;
  value: string;
  note: ReactNode;
  tone?: Tone;
  href?: string;
  testId?: string;
}

function Tile({ label, value, note, tone = "plain", href, testId }: TileProps) {
  return (
    <div className="tile" data-tone={tone}>
      <dt>{href ? <a href={href}>{label}</a> : label}</dt>
      <dd>
        <Value text={value} testId={testId} />
        <span className="tile-note num">{note}</span>
      </dd>
    </div>
  );
}

/** A figure with its units smaller than its digits: `12.3 ms`, `10 min 3 s`, `1.2k/s`. */
function Value({ text, testId }: { text: string; testId?: string | undefined }) {
  return (
    <span className="tile-value num" data-testid={testId}>
      {text.split(/([a-z/%]+)/i).map((part, i) => (i % 2 === 1 ? <small key={i}>{part}</small> : part))}
    </span>
  );
}

/** The figures that tell at a glance whether all is well. */
export function Tiles() {
  const stats = useStats((s) => s);
  const firing = activeAlerts(stats);
  const deadLetters = stats?.dead_letters_total ?? 0;
  const errorRate = stats?.error_rate ?? null;
  const latency = stats?.latency ?? null;
  return (
    <dl className="tiles">
      <Tile
        label="Rows per second"
        value={rate(stats?.rows_per_s)}
        note={<span data-testid="rows-total">{count(stats?.rows_total)} in total</span>}
        testId="rows-per-s"
      />
      <div className="tile tile-wide">
        <dt>End-to-end latency</dt>
        <dd className="tile-trio">
          <Percentile name="p50" value={latency?.p50_ms} />
          <Percentile name="p95" value={latency?.p95_ms} />
          <Percentile name="p99" value={latency?.p99_ms} />
        </dd>
      </div>
      <Tile
        label="Error rate"
        value={percent(errorRate)}
        note={`${rate(stats?.errors_per_s)} rejected`}
        tone={(errorRate ?? 0) > 0.01 ? "bad" : "plain"}
      />
      <Tile
        label="Watermark lag"
        value={seconds(stats?.watermark_lag_s)}
        note={stats?.watermark_lag_s == null ? "no event time yet" : "event-time clock"}
      />
      <Tile
        label="Dead letters"
        value={count(stats?.dead_letters_total)}
        note={deadLetters > 0 ? "rows set aside" : "none so far"}
        tone={deadLetters > 0 ? "warn" : "plain"}
        href={hrefs.deadLetters}
      />
      <Tile
        label="Active alerts"
        value={stats ? count(firing) : "–"}
        note={alertNote(firing, Object.keys(stats?.alerts ?? {}).length)}
        tone={firing > 0 ? "bad" : "plain"}
        href={hrefs.alerts}
      />
    </dl>
  );
}

function alertNote(firing: number, rules: number): string {
  if (rules === 0) return "no rules";
  return firing > 0 ? `of ${plural(rules, "rule")}` : `${plural(rules, "rule")} quiet`;
}

function Percentile({ name, value }: { name: string; value: number | null | undefined }) {
  return (
    <span>
      <Value text={milliseconds(value)} />
      <span className="tile-note">{name}</span>
    </span>
  );
}

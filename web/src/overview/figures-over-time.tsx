import { useMemo, useState } from "react";
import { type ChartLine, TimeChart } from "../charts/time-chart.tsx";
import { clock, milliseconds, percent, rate, seconds } from "../format.ts";
import { useCell } from "../live/cell.ts";
import { type Figure, history, plotOf } from "../live/history.ts";

interface ChartSpec {
  title: string;
  figures: readonly Figure[];
  lines: readonly ChartLine[];
  format: (value: number | null | undefined) => string;
  isDuration?: boolean;
}

const CHARTS: readonly ChartSpec[] = [
  {
    title: "Rows per second",
    figures: ["rows_per_s"],
    lines: [{ label: "rows", color: "--chart-1" }],
    format: rate,
  },
  {
    title: "End-to-end latency",
    figures: ["p50_ms", "p95_ms", "p99_ms"],
    lines: [
      { label: "p50", color: "--chart-1" },
      { label: "p95", color: "--chart-2" },
      { label: "p99", color: "--chart-3" },
    ],
    format: milliseconds,
  },
  {
    title: "Error rate",
    figures: ["error_rate"],
    lines: [{ label: "rejected", color: "--chart-4" }],
    format: percent,
  },
  {
    title: "Watermark lag",
    figures: ["watermark_lag_s"],
    lines: [{ label: "lag", color: "--chart-5" }],
    format: seconds,
    isDuration: true,
  },
];

const SPANS = [
  { label: "1 min", spanS: 60 },
  { label: "5 min", spanS: 300 },
  { label: "15 min", spanS: 900 },
];

const formatTime = (timeS: number) => clock(timeS * 1000);

export function FiguresOverTime() {
  const [spanS, setSpanS] = useState(300);
  return (
    <section aria-labelledby="over-time">
      <div className="section-head">
        <h2 id="over-time">Over time</h2>
        <div className="segments" role="group" aria-label="Time span of the charts">
          {SPANS.map((span) => (
            <button
              key={span.spanS}
              type="button"
              aria-pressed={span.spanS === spanS}
              onClick={() => setSpanS(span.spanS)}
            >
              {span.label}
            </button>
          ))}
        </div>
      </div>
      <div className="chart-grid">
        {CHARTS.map((spec) => (
          <FigureChart key={spec.title} spec={spec} spanS={spanS} />
        ))}
      </div>
    </section>
  );
}

function FigureChart({ spec, spanS }: { spec: ChartSpec; spanS: number }) {
  const points = useCell(history);
  const data = useMemo(() => {
    const newest = points.at(-1)?.time_ms ?? 0;
    // One point more than is shown, so that the line enters from the edge.
    const from = newest - (spanS + 2) * 1000;
    return plotOf(points.filter((point) => point.time_ms >= from), spec.figures);
  }, [points, spec, spanS]);
  return (
    <article className="card chart-card">
      <h3>{spec.title}</h3>
      <TimeChart
        name={spec.title}
        data={data}
        lines={spec.lines}
        format={spec.format}
        formatTime={formatTime}
        height={132}
        isUtc={false}
        isDuration={spec.isDuration ?? false}
        spanS={spanS}
        syncKey="figures"
      />
    </article>
  );
}

import type { Bar } from "./pick.ts";

interface BarChartProps {
  name: string;
  bars: readonly Bar[];
  limit: number;
  format: (value: number | null | undefined) => string;
}

/** Horizontal bars as a list, so that it reads the same to everyone. */
export function BarChart({ name, bars, limit, format }: BarChartProps) {
  const shown = bars.slice(0, limit);
  const low = Math.min(0, ...shown.map((bar) => bar.value));
  const high = Math.max(0, ...shown.map((bar) => bar.value));
  const span = high - low || 1;
  const percentOf = (value: number) => `${(value / span) * 100}%`;
  return (
    <ul className="bars" aria-label={name}>
      {shown.map(({ label, value }, i) => (
        <li className="bar" key={`${label} ${i}`}>
          <span className="bar-label" title={label}>
            {label}
          </span>
          <span className="bar-track" aria-hidden="true">
            <i
              className="bar-fill"
              data-negative={value < 0 || undefined}
              style={{
                left: percentOf(Math.min(value, 0) - low),
                width: percentOf(Math.abs(value)),
              }}
            />
          </span>
          <span className="bar-value num">{format(value)}</span>
        </li>
      ))}
    </ul>
  );
}

import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useCell } from "../live/cell.ts";
import { paletteRevision, resolveColor } from "../theme.ts";
import { timeLabels } from "./axis.ts";

export interface ChartLine {
  label: string;
  /** A CSS custom property, for example `--chart-1`. */
  color: string;
}

interface TimeChartProps {
  /** Says what the chart shows to those who cannot see it; the latest values are added. */
  name: string;
  data: uPlot.AlignedData;
  lines: readonly ChartLine[];
  format: (value: number | null | undefined) => string;
  formatTime: (timeS: number) => string;
  height: number;
  isUtc: boolean;
  /** Formats the ticks of the axis, if not like the values. */
  formatTick?: (value: number | null | undefined) => string;
  /** The legend tells the last value that a line has, even if it ends before the others. */
  keepsLast?: boolean;
  /** Values are seconds: the ticks of the axis then stand at whole minutes and hours. */
  isDuration?: boolean;
  /** The seconds before the newest point that are shown; without it, everything is. */
  spanS?: number;
  /** Charts with the same key show the same moment under the pointer. */
  syncKey?: string;
}

/** Steps of an axis of durations, in seconds. */
const DURATION_STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 432_000, 864_000, 2_592_000, 7_776_000,
  31_557_600, 63_115_200, 157_788_000, 315_576_000,
];

const AXIS_FONT = "11px system-ui, sans-serif";

/** Lines over time, with a legend that tells the latest values, or those under the pointer. */
export function TimeChart(props: TimeChartProps) {
  const { name, data, lines, format, formatTime, height } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const palette = useCell(paletteRevision);
  // The plot is made anew when its make-up changes, and only fed when its data do.
  const makeup = JSON.stringify([lines, props.isUtc, props.syncKey, height]);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const width = Math.max(120, element.clientWidth);
    const made = new uPlot(optionsFor(latest, width, setPointed), latest.current.data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => {
      const next = element.clientWidth;
      if (next > 0 && next !== made.width) made.setSize({ width: next, height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [makeup, palette, height]);

  useEffect(() => {
    plot.current?.setData(data);
  }, [data, props.spanS]);

  const times = data[0];
  const shown = pointed !== null && pointed < times.length ? pointed : times.length - 1;
  const time = times[shown];
  const keepsLast = (props.keepsLast ?? false) && pointed === null;
  const values = lines.map((_, i) => (keepsLast ? lastOf(data[i + 1]) : data[i + 1]?.[shown]));
  const summary = lines.map((line, i) => `${line.label} ${format(values[i])}`).join(", ");
  const label = `${name}. ${time === undefined ? "No data yet." : `Latest: ${summary}.`}`;

  return (
    <div className="chart" role="img" aria-label={label}>
      <div className="chart-legend" aria-hidden="true">
        {lines.map((line, i) => (
          <span className="legend-item" key={line.label}>
            <i className="legend-swatch" style={{ background: `var(${line.color})` }} />
            <span className="legend-label">{line.label}</span>
            <b className="num">{format(values[i])}</b>
          </span>
        ))}
        <span className="legend-time num">
          {pointed !== null && time !== undefined ? formatTime(time) : ""}
        </span>
      </div>
      <div className="chart-canvas" ref={host} style={{ height }} />
      {times.length === 0 && <p className="chart-empty">No data yet</p>}
    </div>
  );
}

function tickText({ format, formatTick = format }: TimeChartProps, tick: number): string {
  return formatTick(tick);
}

function lastOf(values: ArrayLike<number | null | undefined> | undefined): number | null {
  for (let i = (values?.length ?? 0) - 1; i >= 0; i -= 1) {
    const value = values?.[i];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

function optionsFor(
  latest: { current: TimeChartProps },
  width: number,
  setPointed: (index: number | null) => void,
): uPlot.Options {
  const { lines, height, isUtc, syncKey } = latest.current;
  const text = resolveColor("--text-3");
  const grid = resolveColor("--chart-grid");
  const isAlone = lines.length === 1;
  const axis = { stroke: text, font: AXIS_FONT, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  return {
    width,
    height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { size: 6 },
      ...(syncKey === undefined ? {} : { sync: { key: syncKey } }),
    },
    scales: { x: { range: (_, min, max) => timeRange(min, max, latest.current.spanS) }, y: { range: valueRange } },
    axes: [
      {
        ...axis,
        size: isUtc ? 38 : 24,
        gap: 4,
        space: 64,
        values: (_, ticks, __, ___, stepS) => timeLabels(ticks, stepS, isUtc, isUtc),
      },
      {
        ...axis,
        size: 56,
        gap: 6,
        space: 32,
        values: (_, ticks) => ticks.map((tick) => tickText(latest.current, tick)),
        ...(latest.current.isDuration ? { incrs: DURATION_STEPS } : {}),
      },
    ],
    series: [
      {},
      ...lines.map((line) => {
        const stroke = resolveColor(line.color);
        const fill = isAlone ? { fill: faded(stroke) } : {};
        return { label: line.label, stroke, width: 1.5, points: { size: 4 }, ...fill };
      }),
    ],
    hooks: { setCursor: [(u) => setPointed(u.cursor.idx ?? null)] },
  };
}

function timeRange(min: number, max: number, spanS: number | undefined): [number, number] {
  if (spanS !== undefined) return [max - spanS, max];
  return min === max ? [min - 1, max + 1] : [min, max];
}

/** Zero is always in sight: a chart that starts elsewhere makes small changes look large. */
function valueRange(_: uPlot, min: number, max: number): [number, number] {
  const low = Math.min(0, min);
  const high = Math.max(0, max);
  const room = (high - low) * 0.1;
  if (room === 0) return [0, 1];
  return [low < 0 ? low - room : 0, high > 0 ? high + room : 0];
}

function faded(color: string): string {
  return color.replace(/^rgb\((.*)\)$/, (_, parts: string) => `rgba(${parts}, 0.12)`);
}

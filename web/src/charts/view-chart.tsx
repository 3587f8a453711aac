import { useMemo } from "react";
import type { Column, Row } from "../api/messages.ts";
import { numberText } from "../decimals.ts";
import { count, eventTime, plural, short } from "../format.ts";
import { BarChart } from "./bar-chart.tsx";
import { barsOf, type ChartChoice, isOrdered, linesOf } from "./pick.ts";
import { TimeChart } from "./time-chart.tsx";

interface ViewChartProps {
  view: string;
  columns: readonly Column[];
  rows: readonly Row[];
  total: number;
  /** Whether the rows are the first of all by the value that is drawn. */
  isSorted: boolean;
  choice: ChartChoice;
  height: number;
  barsMax: number;
  /** Digits after the point of the values. */
  decimals: number;
}

/** Values as the table shows them. */
const withDecimals = (decimals: number) => (value: number | null | undefined) =>
  value === null || value === undefined ? "–" : numberText(value, decimals);


/** The rows of a view as lines or bars, and a note on whatever they leave out. */
export function ViewChart(props: ViewChartProps) {
  const { choice } = props;
  if (choice.kind === "line") return <ViewLines {...props} choice={choice} />;
  if (choice.kind === "bars") return <ViewBars {...props} choice={choice} />;
  return null;
}

const formatTime = (timeS: number) =>
  `${eventTime(new Date(timeS * 1000).toISOString().replace(".000Z", "Z"))} UTC`;

function ViewLines(props: ViewChartProps & { choice: ChartChoice & { kind: "line" } }) {
  const { view, columns, rows, total, choice, height } = props;
  const drawn = useMemo(() => linesOf(rows, choice), [rows, choice]);
  const data = useMemo(
    () => [drawn.times, ...drawn.lines.map((line) => line.values)] as [number[], ...(number | null)[][]],
    [drawn],
  );
  const valueName = columns[choice.value]?.name ?? "";
  const lines = drawn.lines.map((line, i) => ({
    label: line.label || valueName,
    color: `--chart-${i + 1}`,
  }));
  const splitName = choice.split === null ? "" : ` by ${columns[choice.split]?.name}`;
  const notes = [
    `${valueName}${splitName}`,
    rows.length < total && `latest ${count(rows.length)} of ${plural(total, "row")}`,
    drawn.hiddenLines > 0 && `${drawn.hiddenLines} smaller series not drawn`,
    drawn.mergedPoints > 0 && "rows of the same time drawn as their mean",
  ];
  return (
    <figure className="view-chart">
      <TimeChart
        name={`${view}: ${valueName}${splitName} over ${columns[choice.time]?.name}`}
        data={data}
        lines={lines}
        format={withDecimals(props.decimals)}
        formatTick={short}
        keepsLast
        formatTime={formatTime}
        height={height}
        isUtc
      />
      <Notes notes={notes} />
    </figure>
  );
}

function ViewBars(props: ViewChartProps & { choice: ChartChoice & { kind: "bars" } }) {
  const { view, columns, rows, total, isSorted, choice, barsMax } = props;
  const bars = useMemo(() => barsOf(rows, columns, choice), [rows, columns, choice]);
  const valueName = columns[choice.value]?.name ?? "";
  const labelNames = choice.labels.map((i) => columns[i]?.name).join(", ");
  const shown = Math.min(barsMax, bars.length);
  const order = isOrdered(choice, columns) ? "first" : "largest";
  const notes = [
    `${valueName} by ${labelNames}`,
    shown < bars.length && `${order} ${shown} of ${count(isSorted ? total : bars.length)}`,
    rows.length < total && !isSorted && `among ${count(rows.length)} of ${plural(total, "row")}`,
  ];
  return (
    <figure className="view-chart">
      <BarChart
        name={`${view}: ${valueName} by ${labelNames}`}
        bars={bars}
        limit={barsMax}
        format={withDecimals(props.decimals)}
      />
      <Notes notes={notes} />
    </figure>
  );
}

function Notes({ notes }: { notes: (string | false)[] }) {
  const said = notes.filter((note) => note !== false);
  return <figcaption className="note">{said.join(" · ")}</figcaption>;
}

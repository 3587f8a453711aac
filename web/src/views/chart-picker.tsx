import type { Column } from "../api/messages.ts";
import { classOf } from "../columns.ts";
import { chartOf, type ChartChoice } from "../charts/pick.ts";

interface ChartPickerProps {
  columns: readonly Column[];
  choice: ChartChoice;
  onChoose: (choice: ChartChoice) => void;
}

/** Lets the reader choose what is drawn along what. */
export function ChartPicker({ columns, choice, onChoose }: ChartPickerProps) {
  const all = columns.map((column, i) => ({ column, i }));
  const numbers = all.filter(({ column }) => classOf(column) === "number");
  if (numbers.length === 0) return <p className="note">No numeric column, so no chart.</p>;

  const firstNumber = numbers[0]?.i ?? 0;
  const value = choice.kind === "none" ? firstNumber : choice.value;
  const along = choice.kind === "line" ? [choice.time] : choice.kind === "bars" ? choice.labels : [];
  const split = choice.kind === "line" ? choice.split : null;
  const alongText = along.join(",");
  // The automatic choice may label bars by several columns at once.
  const joined = along.length > 1 ? [along] : [];
  const alongOptions = [...joined, ...all.filter(({ i }) => i !== value).map(({ i }) => [i])];
  const names = (indexes: number[]) => indexes.map((i) => columns[i]?.name).join(" + ");

  return (
    <div className="picker">
      <label>
        Show
        <select
          value={value}
          onChange={(e) => onChoose(chartOf(columns, along, Number(e.target.value), split))}
        >
          {numbers.map(({ column, i }) => (
            <option key={i} value={i}>
              {column.name}
            </option>
          ))}
        </select>
      </label>
      <label>
        by
        <select
          value={alongText}
          onChange={(e) => {
            const next = e.target.value === "" ? [] : e.target.value.split(",").map(Number);
            onChoose(chartOf(columns, next, value, split));
          }}
        >
          <option value="">nothing (no chart)</option>
          {alongOptions.map((indexes) => (
            <option key={indexes.join(",")} value={indexes.join(",")}>
              {names(indexes)}
            </option>
          ))}
        </select>
      </label>
      {choice.kind === "line" && (
        <label>
          one line for each
          <select
            value={split ?? ""}
            onChange={(e) => {
              const next = e.target.value === "" ? null : Number(e.target.value);
              onChoose(chartOf(columns, along, value, next));
            }}
          >
            <option value="">(a single line)</option>
            {all
              .filter(({ i }) => i !== value && i !== choice.time)
              .map(({ column, i }) => (
                <option key={i} value={i}>
                  {column.name}
                </option>
              ))}
          </select>
        </label>
      )}
    </div>
  );
}

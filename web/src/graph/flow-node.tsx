import { Handle, type Node, type NodeProps, Position } from "@xyflow/react";
import type { GraphNode } from "../api/messages.ts";
import { bytes, percent, rate } from "../format.ts";
import { useCell } from "../live/cell.ts";
import { useStats } from "../live/live.ts";
import { busiest, figuresOf } from "../live/operators.ts";
import { hrefs } from "../route.ts";

export type FlowNodeType = Node<
  { node: GraphNode; isKept: boolean; isTree: boolean; onPick: (id: string) => void },
  "flow"
>;

const STATE_WORDS = { running: "", finished: "finished", failed: "failed", retrying: "retrying" };

/** A node with its live figures. A kept view is a link to its rows; the others show their detail. */
export function FlowNode({ data, selected }: NodeProps<FlowNodeType>) {
  const { node, isKept, isTree, onPick } = data;
  const rowsPerS = useStats((s) => rate(figuresOf(node, s).rowsPerS));
  const busyPercent = useStats((s) => {
    const ratio = figuresOf(node, s).busyRatio;
    return ratio === null ? null : Math.round(ratio * 100);
  });
  const state = useStats((s) => figuresOf(node, s).state);
  const error = useStats((s) => figuresOf(node, s).error);
  const active = useStats((s) => (node.kind === "alert" ? (s?.alerts[node.name ?? ""]?.active ?? 0) : 0));
  const isBusiest = useCell(busiest, (id) => id === node.id);

  const title = node.name ?? node.label;
  const figures = node.kind === "alert" ? (active > 0 ? `${active} firing` : "quiet") : rowsPerS;
  const content = (
    <>
      <span className="node-kind">
        {node.kind === "operator" ? (node.recompute ? "recomputed" : "operator") : node.kind}
        {isBusiest && <b className="node-busiest">busiest</b>}
        {STATE_WORDS[state] && <b className="node-state">{STATE_WORDS[state]}</b>}
      </span>
      <span className="node-title">{title}</span>
      <span className="node-figures num">
        {error === null ? figures : <span className="node-error">{error}</span>}
        {busyPercent !== null && <span className="dim">{busyPercent}% busy</span>}
      </span>
      {busyPercent !== null && (
        <span className="node-busy" aria-hidden="true">
          <i style={{ width: `${Math.min(100, busyPercent)}%` }} />
        </span>
      )}
    </>
  );
  const look = {
    className: "node nodrag nopan",
    "data-kind": node.kind,
    "data-state": state,
    "data-firing": active > 0 || undefined,
    "data-busiest": isBusiest || undefined,
    "data-selected": selected || undefined,
    "data-testid": `node-${node.id}`,
    title: error ?? node.detail,
  };
  return (
    <>
      <Handle type="target" position={Position.Left} isConnectable={false} />
      {node.kind === "view" && node.name !== null && isKept ? (
        <a {...look} href={hrefs.view(node.name)}>
          {content}
        </a>
      ) : (
        <button {...look} type="button" aria-expanded={selected} onClick={() => onPick(node.id)}>
          {content}
        </button>
      )}
      <Handle
        type="source"
        className={isTree ? "tree-handle" : ""}
        position={isTree ? Position.Bottom : Position.Right}
        isConnectable={false}
      />
    </>
  );
}

/** What there is to know of one node, in words. */
export function NodeDetail({ node, onClose }: { node: GraphNode; onClose: () => void }) {
  const operator = useStats((s) => s?.operators[node.id] ?? null);
  const error = useStats((s) => figuresOf(node, s).error);
  return (
    <div className="node-detail" role="region" aria-label={`Detail of ${node.name ?? node.label}`}>
      <div className="card-head">
        <h3>
          {node.name ?? node.label} <span className="dim">{node.kind}</span>
        </h3>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
      {node.detail && <pre className="sql">{node.detail}</pre>}
      {error && (
        <p className="bad-text">
          <strong>Error:</strong> {error}
        </p>
      )}
      {node.recompute && (
        <p className="note">Recomputed for each key that changes, not maintained row by row.</p>
      )}
      {operator && (
        <dl className="facts num">
          <Fact name="rows in" value={operator.rows_in.toLocaleString("en-US")} />
          <Fact name="rows out" value={operator.rows_out.toLocaleString("en-US")} />
          <Fact name="rate" value={rate(operator.rows_per_s)} />
          <Fact name="busy" value={percent(operator.busy_ratio)} />
          <Fact name="rows of state" value={operator.state_rows.toLocaleString("en-US")} />
          <Fact name="state" value={bytes(operator.state_bytes)} />
        </dl>
      )}
    </div>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

import { BaseEdge, type Edge, type EdgeProps, getBezierPath } from "@xyflow/react";
import type { GraphNode } from "../api/messages.ts";
import { useStats } from "../live/live.ts";
import { figuresOf } from "../live/operators.ts";

export type FlowEdgeType = Edge<{ from: GraphNode; isTree: boolean }, "flow">;

/** Steps of the rate, so that an edge is drawn anew only when its look changes. */
function strength(rowsPerS: number): number {
  return rowsPerS <= 0 ? 0 : Math.min(6, 1 + Math.floor(Math.log10(1 + rowsPerS)));
}

/** An edge that grows thicker, and whose dashes run, with the rows that pass. */
export function FlowEdge(props: EdgeProps<FlowEdgeType>) {
  const { data } = props;
  const level = useStats((s) => (data ? strength(figuresOf(data.from, s).outPerS) : 0));
  const path = data?.isTree ? treePath(props) : getBezierPath(props)[0];
  const width = 1.25 + level * 0.55;
  return (
    <>
      <BaseEdge id={props.id} path={path} className="edge-base" style={{ strokeWidth: width }} />
      {level > 0 && (
        <path d={path} className="edge-flow" data-level={level} style={{ strokeWidth: width }} />
      )}
    </>
  );
}

/** Down from below a node, then right to its reader; straight down to one that is no further in. */
function treePath({ sourceX, sourceY, targetX, targetY }: EdgeProps<FlowEdgeType>): string {
  if (targetX <= sourceX) return `M${sourceX},${sourceY} V${targetY}`;
  const corner = Math.min(6, targetX - sourceX);
  const bend = `Q${sourceX},${targetY} ${sourceX + corner},${targetY}`;
  return `M${sourceX},${sourceY} V${targetY - corner} ${bend} H${targetX}`;
}

import { Graph, layout } from "@dagrejs/dagre";
import type { GraphEdge, GraphNode } from "../api/messages.ts";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Placed {
  boxes: Map<string, Box>;
  width: number;
  height: number;
}

const HEIGHT = 62;
const ROOMY = { width: 164, ranksep: 44 };
/** As far as the roomy drawing may be made smaller before the compact one is easier to read. */
const SHRINK = 0.88;
const COMPACT = { width: 134, ranksep: 26 };

/** Places the nodes along the flow, from left to right, closer together if `width` asks for it. */
export function placeInFlow(
  nodes: readonly GraphNode[],
  edges: readonly GraphEdge[],
  width: number,
): Placed {
  const roomy = layered(nodes, edges, ROOMY);
  return roomy.width * SHRINK <= width ? roomy : layered(nodes, edges, COMPACT);
}

function layered(
  nodes: readonly GraphNode[],
  edges: readonly GraphEdge[],
  size: { width: number; ranksep: number },
): Placed {
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 18, ranksep: size.ranksep, marginx: 4, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: size.width, height: HEIGHT });
  const known = new Set(nodes.map((node) => node.id));
  for (const { from, to } of edges) if (known.has(from) && known.has(to)) graph.setEdge(from, to);
  layout(graph);

  const boxes = nodes.map(({ id }): [string, Box] => {
    const { x, y } = graph.node(id);
    // dagre tells the middle of a node, the drawing needs its corner.
    const corner = { x: (x ?? 0) - size.width / 2, y: (y ?? 0) - HEIGHT / 2 };
    return [id, { ...corner, width: size.width, height: HEIGHT }];
  });
  const { width, height } = graph.graph();
  return { boxes: new Map(boxes), width: width ?? 0, height: height ?? 0 };
}

const TREE_INDENT = 16;
/** Deeper nodes stand no further in: their text needs the room. */
const TREE_DEPTH_MAX = 7;
const TREE_GAP = 10;

/**
 * Places the nodes below each other like the lines of a file tree, each after what it reads: on a
 * phone nothing else is readable without moving the graph about.
 */
export function placeAsTree(
  nodes: readonly GraphNode[],
  edges: readonly GraphEdge[],
  width: number,
): Placed {
  const readers = new Map<string, string[]>();
  for (const { from, to } of edges) readers.set(from, [...(readers.get(from) ?? []), to]);
  const read = new Set(edges.map((edge) => edge.to));
  const ids = nodes.map((node) => node.id);
  const starts = ids.filter((id) => !read.has(id));
  const order = inOrder(starts, ids, readers);
  const depths = new Map<string, number>();
  const boxes = new Map<string, Box>();
  order.forEach((id, line) => {
    const depth = depths.get(id) ?? 0;
    for (const reader of readers.get(id) ?? []) {
      depths.set(reader, Math.max(depths.get(reader) ?? 0, depth + 1));
    }
    const x = Math.min(depth, TREE_DEPTH_MAX) * TREE_INDENT;
    boxes.set(id, { x, y: line * (HEIGHT + TREE_GAP), width: width - x, height: HEIGHT });
  });
  return { boxes, width, height: order.length * (HEIGHT + TREE_GAP) - TREE_GAP };
}

/** Every node after all that it reads, and right after the last of them, beginning at `starts`. */
function inOrder(
  starts: readonly string[],
  ids: readonly string[],
  readers: ReadonlyMap<string, string[]>,
): string[] {
  const known = new Set(ids);
  const seen = new Set<string>();
  const finished: string[] = [];
  const visit = (id: string) => {
    if (seen.has(id) || !known.has(id)) return;
    seen.add(id);
    // Turned round at the end, so the last reader is visited first.
    for (const reader of [...(readers.get(id) ?? [])].reverse()) visit(reader);
    finished.push(id);
  };
  for (const start of [...starts].reverse()) visit(start);
  // A recursive view alone may have no start.
  for (const id of ids) visit(id);
  return finished.reverse();
}

interface Flow {
  nodes: GraphNode[];
  edges: GraphEdge[];
}

/** The graph without operators that only pass columns on: their neighbours are joined instead. */
export function withoutPassing({ nodes, edges }: Flow): Flow {
  let kept = nodes;
  let joined = edges;
  for (const node of nodes) {
    const into = joined.filter((edge) => edge.to === node.id);
    const out = joined.filter((edge) => edge.from === node.id);
    const [before, after] = [into[0], out[0]];
    const passes = node.kind === "operator" && node.label === "project";
    if (!passes || into.length !== 1 || out.length !== 1 || !before || !after) continue;
    kept = kept.filter((other) => other !== node);
    joined = joined.filter((edge) => edge !== before && edge !== after);
    if (!joined.some((edge) => edge.from === before.from && edge.to === after.to)) {
      joined = [...joined, { from: before.from, to: after.to }];
    }
  }
  return { nodes: kept, edges: joined };
}

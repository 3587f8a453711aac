import {
  Background,
  BackgroundVariant,
  Controls,
  getViewportForBounds,
  ReactFlow,
  type ReactFlowInstance,
  ReactFlowProvider,
  useReactFlow,
  useStore,
} from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Pipeline } from "../api/messages.ts";
import { useCell } from "../live/cell.ts";
import { useStats } from "../live/live.ts";
import { busiest, nodeTitle } from "../live/operators.ts";
import { FlowEdge, type FlowEdgeType } from "./flow-edge.tsx";
import { FlowNode, type FlowNodeType, NodeDetail } from "./flow-node.tsx";
import { type Box, placeAsTree, placeInFlow, withoutPassing } from "./layout.ts";

const NODE_TYPES = { flow: FlowNode };
const EDGE_TYPES = { flow: FlowEdge };
/** Narrower than this, the flow is a tree from top to bottom. */
const TREE_BELOW_PX = 620;
/** Smaller than this, the text of a node is hard to read: the reader can zoom in. */
const ZOOM_READABLE = 0.8;
const ZOOM_MIN = 0.2;
const HEIGHT_MIN_PX = 320;
const HEIGHT_MAX_PX = 640;
/** Room around the graph, so that what stands above it (or below the tree) lies over no node. */
const MARGIN_PX = 8;
const BAND_PX = 40;
const ATTRIBUTION_PX = 22;
const FLOW_PADDING = {
  top: `${BAND_PX}px`,
  right: `${MARGIN_PX}px`,
  bottom: `${MARGIN_PX}px`,
  left: `${MARGIN_PX}px`,
} as const;
const TREE_PADDING = { top: "0px", right: "0px", bottom: `${ATTRIBUTION_PX}px`, left: "0px" } as const;

/** The pipeline as it runs. */
export function PipelineGraph({ pipeline }: { pipeline: Pipeline }) {
  const host = useRef<HTMLDivElement>(null);
  const width = useWidth(host);
  const [picked, setPicked] = useState<string | null>(null);
  const pickedNode = pipeline.graph.nodes.find((node) => node.id === picked);
  return (
    <section className="card graph-card" aria-labelledby="graph-title">
      <div className="card-head">
        <h2 id="graph-title">Pipeline</h2>
        <BusiestLine pipeline={pipeline} />
      </div>
      <div ref={host}>
        {width > 0 && (
          <ReactFlowProvider key={width < TREE_BELOW_PX ? "tree" : "flow"}>
            <Flow
              pipeline={pipeline}
              width={width}
              picked={picked}
              onPick={(id) => setPicked((now) => (now === id ? null : id))}
            />
          </ReactFlowProvider>
        )}
      </div>
      {pickedNode && <NodeDetail node={pickedNode} onClose={() => setPicked(null)} />}
    </section>
  );
}

function BusiestLine({ pipeline }: { pipeline: Pipeline }) {
  const id = useCell(busiest);
  const percentBusy = useStats((s) => Math.round((id ? (s?.operators[id]?.busy_ratio ?? 0) : 0) * 100));
  if (id === null) return <span className="dim">no operator is busy</span>;
  return (
    <span className="busiest-line">
      Busiest: <b>{nodeTitle(pipeline, id)}</b> <span className="num">{percentBusy}%</span>
    </span>
  );
}

interface FlowProps {
  pipeline: Pipeline;
  width: number;
  picked: string | null;
  onPick: (id: string) => void;
}

function Flow({ pipeline, width, picked, onPick }: FlowProps) {
  const isTree = width < TREE_BELOW_PX;
  const { views } = pipeline;
  const graph = useMemo(() => withoutPassing(pipeline.graph), [pipeline.graph]);
  const placed = useMemo(() => {
    const place = isTree ? placeAsTree : placeInFlow;
    return place(graph.nodes, graph.edges, width);
  }, [graph, isTree, width]);
  const pick = useRef(onPick);
  pick.current = onPick;

  const nodes = useMemo<FlowNodeType[]>(() => {
    const kept = new Set(views.filter((view) => view.kept).map((view) => view.name));
    return graph.nodes.flatMap((node) => {
      const box = placed.boxes.get(node.id);
      if (!box) return [];
      const { x, y, width, height } = box;
      const isKept = kept.has(node.name ?? "");
      const data = { node, isKept, isTree, onPick: (id: string) => pick.current(id) };
      const selected = node.id === picked;
      return [{ id: node.id, type: "flow", position: { x, y }, width, height, selected, data }];
    });
  }, [graph, views, placed, isTree, picked]);
  const edges = useMemo<FlowEdgeType[]>(() => {
    const byId = new Map(graph.nodes.map((node) => [node.id, node]));
    return graph.edges.flatMap(({ from, to }) => {
      const node = byId.get(from);
      if (!node || !byId.has(to)) return [];
      const data = { from: node, isTree };
      return [{ id: `${from}-${to}`, type: "flow", source: from, target: to, data }];
    });
  }, [graph, isTree]);

  const room = width - 2 * MARGIN_PX;
  const fitted = placed.height * Math.min(1, room / placed.width) + BAND_PX + MARGIN_PX;
  const height = isTree
    ? placed.height + ATTRIBUTION_PX
    : Math.max(HEIGHT_MIN_PX, Math.min(Math.ceil(fitted), HEIGHT_MAX_PX));
  const zoom = Math.min(room / placed.width, (height - BAND_PX - MARGIN_PX) / placed.height);
  const isSmall = !isTree && zoom < ZOOM_READABLE;

  const flow = useReactFlow<FlowNodeType, FlowEdgeType>();
  const boxWidth = useStore((s) => s.width);
  const boxHeight = useStore((s) => s.height);
  const fit = useMemo(
    () => ({ padding: isTree ? TREE_PADDING : FLOW_PADDING, minZoom: ZOOM_MIN, maxZoom: 1 }),
    [isTree],
  );
  // The layout has set the size of every node, so there is nothing to measure first.
  const refit = useCallback(() => {
    if (boxWidth === 0 || boxHeight === 0) return;
    const bounds = { x: 0, y: 0, width: placed.width, height: placed.height };
    const { padding, minZoom, maxZoom } = fit;
    void flow.setViewport(getViewportForBounds(bounds, boxWidth, boxHeight, minZoom, maxZoom, padding));
  }, [flow, fit, placed, boxWidth, boxHeight]);
  useEffect(refit, [refit]);

  return (
    <div
      className="graph"
      style={{ height }}
      onFocus={(event) => revealNode(event.target, flow, placed.boxes)}
    >
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        minZoom={ZOOM_MIN}
        maxZoom={1.6}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        elementsSelectable={false}
        panOnDrag={isSmall}
        zoomOnScroll={false}
        zoomOnDoubleClick={false}
        zoomOnPinch={isSmall}
        preventScrolling={false}
        attributionPosition={isTree ? "bottom-left" : "top-right"}
        aria-label="Graph of the pipeline"
      >
        {!isTree && <Background variant={BackgroundVariant.Dots} gap={18} size={1} />}
        {isSmall && (
          <Controls
            showInteractive={false}
            position="top-left"
            orientation="horizontal"
            onFitView={refit}
            fitViewOptions={fit}
          />
        )}
      </ReactFlow>
    </div>
  );
}

/** Brings a node that the keyboard has reached into sight. */
function revealNode(
  target: Element,
  flow: ReactFlowInstance<FlowNodeType, FlowEdgeType>,
  boxes: ReadonlyMap<string, Box>,
): void {
  const id = target.closest(".react-flow__node")?.getAttribute("data-id");
  const place = id ? boxes.get(id) : undefined;
  const frame = target.closest(".graph")?.getBoundingClientRect();
  if (!place || !frame || !target.matches(":focus-visible")) return;
  const box = target.getBoundingClientRect();
  const isInside =
    box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom;
  if (isInside) return;
  const middle = { x: place.x + place.width / 2, y: place.y + place.height / 2 };
  void flow.setCenter(middle.x, middle.y, { zoom: flow.getZoom() });
}

/** The element's width, followed; 0 until it is known. */
function useWidth(element: React.RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const target = element.current;
    if (!target) return;
    const observer = new ResizeObserver(() => setWidth(target.clientWidth));
    observer.observe(target);
    return () => observer.disconnect();
  }, [element]);
  return width;
}

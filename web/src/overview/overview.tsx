import type { Pipeline } from "../api/messages.ts";
import { PipelineGraph } from "../graph/pipeline-graph.tsx";
import { bytes, milliseconds, seconds } from "../format.ts";
import { useStats } from "../live/live.ts";
import { Reproducible } from "../verification/reproducible.tsx";
import { ViewCard } from "../views/view-card.tsx";
import { Endpoints } from "./endpoints.tsx";
import { FiguresOverTime } from "./figures-over-time.tsx";
import { Tiles } from "./tiles.tsx";

export function Overview({ pipeline }: { pipeline: Pipeline }) {
  const kept = pipeline.views.filter((view) => view.kept);
  return (
    <>
      <h1 className="visually-hidden">Overview of {pipeline.name}</h1>
      <Tiles />
      <FiguresOverTime />
      <PipelineGraph pipeline={pipeline} />
      <Reproducible />
      <section aria-labelledby="views">
        <div className="section-head">
          <h2 id="views">Views</h2>
        </div>
        {kept.length === 0 && <p className="card empty">This pipeline keeps no view.</p>}
        <div className="view-grid">
          {kept.map((view) => (
            <ViewCard key={view.name} info={view} />
          ))}
        </div>
      </section>
      <Endpoints pipeline={pipeline} />
      <Machine pipeline={pipeline} />
    </>
  );
}

/** What the process itself needs. */
function Machine({ pipeline }: { pipeline: Pipeline }) {
  const stats = useStats((s) => s);
  const facts = [
    ["uptime", seconds(stats ? Math.floor(stats.uptime_s) : null)],
    ["workers", String(pipeline.workers)],
    ["last epoch took", milliseconds(stats?.epoch_ms)],
    ["journal", bytes(stats?.journal_bytes)],
    ["state", bytes(stats?.state_bytes)],
    ["memory", bytes(stats?.resident_bytes)],
  ];
  return (
    <dl className="facts num machine">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

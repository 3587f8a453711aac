import { count, eventTime } from "../format.ts";
import { useConnection, usePipeline, useStats } from "../live/live.ts";

/** Which pipeline, how it is, and where it stands. */
export function Topbar() {
  const pipeline = usePipeline();
  const state = useStats((s) => s?.state ?? null);
  const epoch = useStats((s) => s?.epoch ?? null);
  const watermark = useStats((s) => s?.watermark ?? null);
  return (
    <header className="topbar">
      <div className="topbar-name">
        <strong>{pipeline?.name ?? "Syncline"}</strong>
        {state && (
          <span className="state" data-state={state}>
            {state}
          </span>
        )}
      </div>
      <dl className="topbar-facts num">
        <div>
          <dt>Event time</dt>
          <dd title="The watermark: everything before it has arrived">
            {watermark ? `${eventTime(watermark).replace(/\.\d+$/, "")} UTC` : "–"}
          </dd>
        </div>
        <div>
          <dt>Epoch</dt>
          <dd>{count(epoch)}</dd>
        </div>
      </dl>
      <ConnectionState />
    </header>
  );
}

const CONNECTION_WORDS = { connecting: "Connecting", live: "Live", lost: "Connection lost" };

function ConnectionState() {
  const { state } = useConnection();
  return (
    <span className="connection" role="status" data-state={state} data-testid="connection">
      {CONNECTION_WORDS[state]}
    </span>
  );
}

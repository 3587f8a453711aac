import { useEffect, useMemo, useRef } from "react";
import { AlertsPage } from "./alerts/alerts-page.tsx";
import { DeadLettersPage } from "./dead-letters/dead-letters-page.tsx";
import { useConnection, usePipeline } from "./live/live.ts";
import { Overview } from "./overview/overview.tsx";
import { LostConnection, Notices } from "./page/notices.tsx";
import { Sidebar } from "./page/sidebar.tsx";
import { Topbar } from "./page/topbar.tsx";
import { QueryPage } from "./query/query-page.tsx";
import { hrefs, parseRoute, type Route, useHash } from "./route.ts";
import { ViewPage } from "./views/view-page.tsx";

export function App() {
  const hash = useHash();
  const route = useMemo(() => parseRoute(hash), [hash]);
  const { state } = useConnection();
  const pipeline = usePipeline();
  const main = useRef<HTMLElement>(null);
  useTitle(route);

  // A new section starts at its top; another dead letter is still the same section.
  const section = route.page === "view" ? `view ${route.name}` : route.page;
  useEffect(() => {
    // In braces: newer browsers return a promise, and React would take it for a clean-up.
    window.scrollTo(0, 0);
  }, [section]);

  return (
    <div className="shell" data-stale={state === "lost" || undefined}>
      {/* A link to #main would change the route, which lives in the hash. */}
      <button type="button" className="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Sidebar route={route} />
      <div className="column">
        <div className="column-head">
          <Topbar />
          <LostConnection />
        </div>
        <Notices />
        <main ref={main} tabIndex={-1}>
          {pipeline ? <Section route={route} /> : <p className="empty">Waiting for the pipeline…</p>}
        </main>
      </div>
    </div>
  );
}

function Section({ route }: { route: Route }) {
  const pipeline = usePipeline();
  if (!pipeline) return null;
  switch (route.page) {
    case "overview":
      return <Overview pipeline={pipeline} />;
    case "view":
      return <ViewPage name={route.name} />;
    case "dead-letters":
      return <DeadLettersPage id={route.id} />;
    case "alerts":
      return <AlertsPage />;
    case "query":
      return <QueryPage pipeline={pipeline} />;
    case "unknown":
      return (
        <div className="card empty">
          <h1>Nothing here</h1>
          <p>
            This address leads nowhere. <a href={hrefs.overview}>To the overview</a>
          </p>
        </div>
      );
  }
}

const TITLES = {
  overview: "Overview",
  "dead-letters": "Dead letters",
  alerts: "Alerts",
  query: "Query",
  unknown: "Nothing here",
};

function useTitle(route: Route): void {
  const name = usePipeline()?.name ?? "Syncline";
  const title = route.page === "view" ? route.name : TITLES[route.page];
  useEffect(() => {
    document.title = `${title} · ${name}`;
  }, [title, name]);
}

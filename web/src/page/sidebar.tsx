import type { ReactNode } from "react";
import { count } from "../format.ts";
import { useCell } from "../live/cell.ts";
import { activeAlerts, usePipeline, useStats } from "../live/live.ts";
import { hrefs, type Route } from "../route.ts";
import { chooseTheme, theme, THEMES } from "../theme.ts";

/** The way to every section, with what needs attention counted. */
export function Sidebar({ route }: { route: Route }) {
  const pipeline = usePipeline();
  const firing = useStats(activeAlerts);
  const deadLetters = useStats((s) => s?.dead_letters_total ?? 0);
  return (
    <div className="sidebar">
      <a className="brand" href={hrefs.overview}>
        <img src="./icon.svg" alt="" width="20" height="20" />
        Syncline
      </a>
      <nav aria-label="Sections" className="nav">
        <Item href={hrefs.overview} isHere={route.page === "overview"}>
          Overview
        </Item>
        <Item href={hrefs.alerts} isHere={route.page === "alerts"} amount={firing} tone="bad">
          Alerts
        </Item>
        <Item href={hrefs.deadLetters} isHere={route.page === "dead-letters"} amount={deadLetters} tone="warn">
          Dead letters
        </Item>
        <Item href={hrefs.query} isHere={route.page === "query"}>
          Query
        </Item>
        {(pipeline?.views.length ?? 0) > 0 && <span className="nav-title">Views</span>}
        {pipeline?.views.map((view) => (
          <Item
            key={view.name}
            href={hrefs.view(view.name)}
            isHere={route.page === "view" && route.name === view.name}
          >
            {view.name}
          </Item>
        ))}
      </nav>
      <div className="sidebar-foot">
        <ThemeChoice />
        {pipeline && <span className="dim num version">Syncline {pipeline.version}</span>}
      </div>
    </div>
  );
}

interface ItemProps {
  href: string;
  isHere: boolean;
  amount?: number;
  tone?: "warn" | "bad";
  children: ReactNode;
}

function Item({ href, isHere, amount = 0, tone, children }: ItemProps) {
  return (
    <a href={href} aria-current={isHere ? "page" : undefined}>
      <span className="nav-label">{children}</span>
      {amount > 0 && (
        <span className="nav-count num" data-tone={tone}>
          {count(amount)}
        </span>
      )}
    </a>
  );
}

const THEME_NAMES = { system: "System", light: "Light", dark: "Dark" };

function ThemeChoice() {
  const current = useCell(theme);
  return (
    <div className="segments" role="group" aria-label="Colours">
      {THEMES.map((choice) => (
        <button
          key={choice}
          type="button"
          aria-pressed={choice === current}
          onClick={() => chooseTheme(choice)}
        >
          {THEME_NAMES[choice]}
        </button>
      ))}
    </div>
  );
}

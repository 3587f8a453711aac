import { useSyncExternalStore } from "react";

export type Route =
  | { page: "overview" }
  | { page: "view"; name: string }
  | { page: "dead-letters"; id: string | null }
  | { page: "alerts" }
  | { page: "query" }
  | { page: "unknown" };

export const hrefs = {
  overview: "#/",
  view: (name: string) => `#/views/${encodeURIComponent(name)}`,
  deadLetters: "#/dead-letters",
  deadLetter: (id: string) => `#/dead-letters/${encodeURIComponent(id)}`,
  alerts: "#/alerts",
  query: "#/query",
};

export function parseRoute(hash: string): Route {
  const parts = hash.replace(/^#?\/?/, "").split("/").filter((part) => part !== "");
  const [page, argument] = parts.map(decoded);
  if (page === undefined) return { page: "overview" };
  if (page === "views" && argument !== undefined) return { page: "view", name: argument };
  if (page === "dead-letters") return { page, id: argument ?? null };
  if (page === "alerts" || page === "query") return { page };
  return { page: "unknown" };
}

/** A hash typed by hand may hold a lone `%`. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function subscribe(listener: () => void): () => void {
  window.addEventListener("hashchange", listener);
  return () => window.removeEventListener("hashchange", listener);
}

export function useHash(): string {
  return useSyncExternalStore(subscribe, () => window.location.hash);
}

import { useEffect, useState } from "react";
import { count } from "../format.ts";
import { useCell } from "../live/cell.ts";
import { checkpoint } from "../live/verification.ts";
import { shortDigest } from "./words.ts";

const COPIED_MS = 1_500;

interface HashProps {
  /** What it is a hash of. */
  of: string;
  hash: string;
}

/** A hash in short; all of it in its tooltip, and in the clipboard after a click. */
export function Hash({ of, hash }: HashProps) {
  const [state, setState] = useState<"short" | "copied" | "whole">("short");
  useEffect(() => {
    if (state !== "copied") return;
    const timer = window.setTimeout(() => setState("short"), COPIED_MS);
    return () => window.clearTimeout(timer);
  }, [state]);
  if (state === "whole") return <code className="hash">{hash}</code>;

  const copy = () => {
    // Browsers have no clipboard for pages without TLS: then the whole hash is there to be selected.
    const written = navigator.clipboard?.writeText(hash) ?? Promise.reject(new Error("no clipboard"));
    written.then(
      () => setState("copied"),
      () => setState("whole"),
    );
  };
  return (
    <button type="button" className="hash" title={hash} aria-label={`Copy ${of}: ${hash}`} onClick={copy}>
      {state === "copied" ? "copied" : shortDigest(hash)}
    </button>
  );
}

/** The digest of a view in the last checkpoint. */
export function ViewDigest({ view }: { view: string }) {
  const digest = useCell(checkpoint, (c) => c?.views[view]?.digest ?? null);
  const epoch = useCell(checkpoint, (c) => c?.epoch ?? null);
  if (digest === null) return null;
  return (
    <span className="view-digest num">
      digest at epoch {count(epoch)} <Hash of={`the digest of ${view}`} hash={digest} />
    </span>
  );
}

import type { Mismatch, Verification, VerificationReport } from "../api/messages.ts";
import { count, plural } from "../format.ts";

const DIGEST_CHARS = 12;

/** The beginning of a digest, which tells it from others well enough for a reader. */
export function shortDigest(digest: string): string {
  return digest.length > DIGEST_CHARS ? `${digest.slice(0, DIGEST_CHARS)}…` : digest;
}

export const STATE_WORDS: Record<Verification["state"], string> = {
  never: "never verified",
  running: "verifying",
  verified: "verified",
  partly: "partly verified",
  mismatch: "mismatch",
  failed: "failed",
};

export const BY_WORDS = { page: "asked for on the page", watch: "by verify --watch" };

/** What was looked at, in a sentence. */
export function summary({ input, views, mismatches }: VerificationReport): string {
  const journal = input ? `${plural(input.epochs, "epoch")} and ${plural(input.rows, "row")} of the journal, ` : "";
  const differing = mismatches.length > 0 ? `; ${plural(mismatches.length, "difference")}` : "";
  return `${journal}${plural(views.length, "view")} as recorded${differing}`;
}

/** `view totals, epoch 2` */
export function placeOf({ what, epoch }: Mismatch): string {
  return epoch === null ? what : `${what}, epoch ${count(epoch)}`;
}

import { api } from "../api/client.ts";
import type { Checkpoint, Verification } from "../api/messages.ts";
import { cell, useCell } from "./cell.ts";

/** A checkpoint is taken that often at most. */
const CHECKPOINT_INTERVAL_MS = 10_000;

export const verification = cell<Verification | null>(null);
export const checkpoint = cell<Checkpoint | null>(null);

let isLoading = false;
let isDirty = false;
let checkpointNotBefore = 0;

/** Fetches the state of verification; calls while one is under way become one more. */
export async function loadVerification(): Promise<void> {
  isDirty = true;
  if (isLoading) return;
  isLoading = true;
  while (isDirty) {
    isDirty = false;
    try {
      verification.set(await api.verification());
    } catch {
      // The next event or reconnect asks again; meanwhile the page shows what it knew.
    }
  }
  isLoading = false;
}

/** Called with each new figures: progress is not told by events. */
export function followVerification(): void {
  if (verification.get()?.state === "running" && !document.hidden) void loadVerification();
}

/** Called with each new figures: whether there is a newer checkpoint is not told by events. */
export function followCheckpoint(epoch: number): void {
  const isNewest = checkpoint.get()?.epoch === epoch;
  if (isNewest || document.hidden || performance.now() < checkpointNotBefore) return;
  checkpointNotBefore = performance.now() + CHECKPOINT_INTERVAL_MS;
  api.checkpoint().then(checkpoint.set, () => {
    // There is none yet.
  });
}

export const useVerification = () => useCell(verification);
export const useCheckpoint = () => useCell(checkpoint);

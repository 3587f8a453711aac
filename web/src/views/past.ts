/**
 * The places of the slider: 1 to `last` are epochs, and the one to the right of them is the present,
 * which an epoch of `null` stands for.
 */
export interface Place {
  position: number;
  max: number;
}

export function placeOf(epoch: number | null, last: number): Place {
  const max = Math.max(1, last) + 1;
  return { position: epoch === null ? max : Math.min(Math.max(1, epoch), max - 1), max };
}

export function epochOf({ position, max }: Place): number | null {
  return position >= max ? null : Math.max(1, position);
}

/** What is known of the original bytes of a dead letter. */
export interface Original {
  sizeBytes: number;
  /** Whether the bytes are UTF-8, so that the text shown is all of them. */
  isText: boolean;
}

export function originalOf(base64: string): Original {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return { sizeBytes: 0, isText: false };
  }
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { sizeBytes: bytes.length, isText: true };
  } catch {
    return { sizeBytes: bytes.length, isText: false };
  }
}

const REASONS: Record<string, string> = {
  "wrong-type": "A value does not fit the type of its column.",
  unparsable: "The row could not be read in the source's format.",
  "missing-key": "A column of the primary key has no value.",
  "too-long": "The row is longer than allowed.",
  late: "The row came after its window had closed.",
  "unknown-row": "The change removes a row that is not there.",
  undelivered: "The sink refused the row.",
};

/** The class of a dead letter in a sentence. */
export function reasonOf(className: string): string {
  return REASONS[className] ?? "";
}

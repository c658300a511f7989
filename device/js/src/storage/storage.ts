// Where a device keeps what must last: named pieces of bytes, each there whole or not at all.

import type { Bytes } from "../bytes.js";

/** Names are 1 to 100 of `A–Z a–z 0–9 . _ -`, the first no point. */
export interface Storage {
  /** undefined where there is none of that name. */
  read(name: string): Promise<Bytes | undefined>;
  /** In place of what was there. Once this resolves it lasts; if the program dies before, the old content is there or the new. */
  write(name: string, content: Uint8Array): Promise<void>;
  /** Sorted. */
  names(): Promise<string[]>;
  /** Also where there is none. */
  delete(name: string): Promise<void>;
}

/** Storage that cannot be read or written; one line. */
export class StorageError extends Error {
  override readonly name = "StorageError";
}

export function checkName(name: string): void {
  if (/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/.test(name)) return;
  throw new StorageError(
    `${JSON.stringify(name.slice(0, 120))} cannot be a name in storage: expected 1 to 100 of A-Z a-z 0-9 . _ -`,
  );
}

// Where a room's state lasts: IndexedDB, or the tab's memory where the browser forbids it.

import { IndexedDbStorage, MemoryStorage, StorageError } from "../../../../src/index.js";
import { Overflow } from "./overflow.js";

export interface Place {
  readonly storage: Overflow;
  /** Whether it outlives the tab; `why` not. */
  readonly lasting: boolean;
  readonly why: string;
  close(): void;
}

/** Throws StorageError where another tab has it: two tabs would learn two things. */
export async function placeOf(name: string): Promise<Place> {
  try {
    const storage = await IndexedDbStorage.open(name);
    return { storage: new Overflow(storage), lasting: true, why: "", close: () => storage.close() };
  } catch (error) {
    if (!(error instanceof StorageError) || error.message.includes("open in another tab")) throw error;
    return { storage: new Overflow(new MemoryStorage()), lasting: false, why: error.message, close: () => undefined };
  }
}

/** Deletes all that it holds. */
export async function emptied({ storage }: Place): Promise<void> {
  for (const name of await storage.names()) await storage.delete(name);
}

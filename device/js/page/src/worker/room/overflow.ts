// Storage of a browser whose space may be full. What a deletion writes there stays in memory until it fits, or the tab is closed.
//
// Below lies a whole state at any time: what is held is written in its order, and what it no longer names is deleted last.

import { StorageError, type Storage } from "../../../../src/index.js";

export class Overflow implements Storage {
  private readonly held = new Map<string, Uint8Array<ArrayBuffer>>();
  private readonly gone = new Set<string>(); // below, where it is to be deleted once nothing is held
  private tolerant = false;
  private why = "";

  constructor(private readonly below: Storage) {}

  /** Why not all of it is stored; "" where it is. */
  get heldBack(): string {
    return this.held.size ? this.why : "";
  }

  /** What `change` writes is held where there is no space for it. */
  async holding<T>(change: () => Promise<T>): Promise<T> {
    this.tolerant = true;
    try {
      return await change();
    } finally {
      this.tolerant = false;
    }
  }

  async read(name: string) {
    return this.held.get(name)?.slice() ?? (this.gone.has(name) ? undefined : this.below.read(name));
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    try {
      await this.settle();
      await this.below.write(name, content);
    } catch (error) {
      if (!this.tolerant || !isFull(error)) throw error;
      this.why = error.message;
      this.held.delete(name); // the last one written is the last one held
      this.held.set(name, Uint8Array.from(content));
      this.gone.delete(name);
    }
  }

  async names(): Promise<string[]> {
    const below = (await this.below.names()).filter((name) => !this.gone.has(name));
    return [...new Set([...below, ...this.held.keys()])].sort();
  }

  async delete(name: string): Promise<void> {
    this.held.delete(name);
    this.gone.add(name);
    if (!this.held.size) await this.settle();
  }

  private async settle(): Promise<void> {
    for (const [name, content] of this.held) {
      await this.below.write(name, content);
      this.held.delete(name);
    }
    for (const name of this.gone) {
      await this.below.delete(name);
      this.gone.delete(name);
    }
  }
}

export function isFull(error: unknown): error is StorageError {
  return error instanceof StorageError && error.message.includes("QuotaExceededError");
}

// Storage that lasts as long as the program: for tests, and for who wants nothing stored.

import type { Bytes } from "../bytes.js";
import { checkName, type Storage } from "./storage.js";

export class MemoryStorage implements Storage {
  private readonly content = new Map<string, Bytes>();

  async read(name: string): Promise<Bytes | undefined> {
    checkName(name);
    return this.content.get(name)?.slice();
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    checkName(name);
    this.content.set(name, Uint8Array.from(content));
  }

  async names(): Promise<string[]> {
    return [...this.content.keys()].sort();
  }

  async delete(name: string): Promise<void> {
    checkName(name);
    this.content.delete(name);
  }
}

// Where a bundle's files come from: a zip in memory, a server, a folder (node/folder.ts), or an app's own assets.

import type { Bytes } from "../bytes.js";
import { BundleError, shown } from "./errors.js";

/** Size in bytes of a plain file; `link` for one that is a link or lies behind one. */
export type Found = { readonly kind: "file"; readonly bytes: number } | { readonly kind: "missing" | "link" };

/** Files by their path in the bundle. `names` lists all there are, whatever their kind. */
export interface Source {
  /** For messages: where the bundle is. */
  readonly place: string;
  names(): Promise<readonly string[]>;
  /** More than `most` bytes are refused, so any size above it says enough. */
  find(name: string, most: number): Promise<Found>;
  /** At most `most` bytes are wanted: more may be cut off there. Throws where it cannot be read. */
  read(name: string, most: number): Promise<Bytes>;
}

/** Files that lie in memory. */
export class MemorySource implements Source {
  constructor(
    readonly place: string,
    private readonly files: ReadonlyMap<string, Bytes>,
  ) {}

  async names(): Promise<readonly string[]> {
    return [...this.files.keys()];
  }

  async find(name: string): Promise<Found> {
    const file = this.files.get(name);
    return file === undefined ? { kind: "missing" } : { kind: "file", bytes: file.length };
  }

  async read(name: string): Promise<Bytes> {
    const file = this.files.get(name);
    if (file === undefined) throw new BundleError(`${shown(name)} is missing from the bundle: fetch it again`);
    return file;
  }
}

// A bundle in a folder or a zip on a disk, in Node.

import { lstat, open, readFile, readdir, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";

import type { Bytes } from "../bytes.js";
import { Bundle, type OpenOptions } from "../bundle/bundle.js";
import { BundleError } from "../bundle/errors.js";
import type { Found, Source } from "../bundle/source.js";

/** A folder, or a zip of it: whose root holds manifest.json. Throws BundleError. */
export async function openBundle(path: string, options: OpenOptions = {}): Promise<Bundle> {
  const kind = await stat(path).catch(() => null);
  try {
    if (kind?.isDirectory()) return await Bundle.open(new Folder(path), options);
    if (kind?.isFile()) return await Bundle.fromZip(await readBytes(path), options, path);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new BundleError(`${path} cannot be read (${error.code}): check its permissions`);
  }
  throw new BundleError(`no bundle at ${path}: expected a folder with manifest.json, or a zip of it`);
}

/** The files of a folder. No link in it is followed. */
export class Folder implements Source {
  constructor(readonly place: string) {}

  async names(): Promise<string[]> {
    const entries = await readdir(this.place, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(this.place, join(entry.parentPath, entry.name)).split(sep).join("/"));
  }

  async find(name: string): Promise<Found> {
    const parts = name.split("/");
    for (const [place] of parts.entries()) {
      const found = await lstat(join(this.place, ...parts.slice(0, place + 1))).catch(() => null);
      if (found === null) return { kind: "missing" };
      if (found.isSymbolicLink()) return { kind: "link" };
      if (place === parts.length - 1) return found.isFile() ? { kind: "file", bytes: found.size } : { kind: "missing" };
    }
    return { kind: "missing" };
  }

  async read(name: string, most: number): Promise<Bytes> {
    const file = await open(join(this.place, name));
    try {
      const { size } = await file.stat();
      const bytes = new Uint8Array(Math.min(size, most));
      let at = 0;
      while (at < bytes.length) {
        const { bytesRead } = await file.read(bytes, at, bytes.length - at, at);
        if (!bytesRead) break;
        at += bytesRead;
      }
      return bytes.slice(0, at);
    } finally {
      await file.close();
    }
  }
}

async function readBytes(path: string): Promise<Bytes> {
  return Uint8Array.from(await readFile(path));
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === "string" && "syscall" in error;
}

// What tests/device/js/making.py made for a run: real bundles, and what the Python program says of them.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { sha256, utf8, type Bytes } from "../src/bytes.js";

/** The folder, or null where these tests run without Python: what needs it is skipped, which `make test` does not allow. */
export const FIXTURES: string | null = process.env["MENTEE_FIXTURES"] ?? null;

export function place(...parts: string[]): string {
  return join(FIXTURES ?? "", ...parts);
}

export function json<T>(...parts: string[]): T {
  return JSON.parse(readFileSync(place(...parts), "utf8")) as T;
}

export async function bytes(...parts: string[]): Promise<Bytes> {
  return Uint8Array.from(await readFile(place(...parts)));
}

/** What `promise` is refused with. */
export async function refusal(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

/** manifest.json with a right id after `edit`. */
export async function resealed(manifest: Bytes, edit: (content: any) => void): Promise<Bytes> {
  const content = JSON.parse(utf8(manifest));
  edit(content);
  const none = "0".repeat(64);
  const text = JSON.stringify({ ...content, id: none });
  const id = await sha256(new TextEncoder().encode(text));
  return new TextEncoder().encode(text.replace(none, id));
}

/** All files of a bundle's folder by their path. */
export async function filesOf(folder: string): Promise<Map<string, Bytes>> {
  const { files } = json<{ files: Record<string, unknown> }>(folder, "manifest.json");
  const names = ["manifest.json", ...Object.keys(files)];
  return new Map(await Promise.all(names.map(async (name) => [name, await bytes(folder, name)] as const)));
}

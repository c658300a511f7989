import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IDBFactory } from "fake-indexeddb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { FolderStorage } from "../../src/node/folder-storage.js";
import { EncryptedStorage } from "../../src/storage/encrypted.js";
import { IndexedDbStorage } from "../../src/storage/indexeddb.js";
import { MemoryStorage } from "../../src/storage/memory.js";
import { StorageError, type Storage } from "../../src/storage/storage.js";

let scratch: string;
beforeAll(async () => void (scratch = await mkdtemp(join(tmpdir(), "mentee-storage-"))));
afterAll(() => rm(scratch, { recursive: true }));

/** Of the kind that a browser stores, and gives nobody the bytes of. */
async function cryptoKey(): Promise<CryptoKey> {
  return crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

const factory = new IDBFactory();
const KINDS: [string, () => Promise<Storage>][] = [
  ["memory", async () => new MemoryStorage()],
  ["memory, encrypted", async () => EncryptedStorage.open(new MemoryStorage(), await cryptoKey())],
  ["IndexedDB", () => IndexedDbStorage.open("all", factory)],
  ["a folder", () => FolderStorage.open(join(scratch, "all"))],
];

describe.each(KINDS)("storage in %s", (_, open) => {
  test("gives back what was written last, and nothing of what was deleted", async () => {
    const storage = await open();
    expect(await storage.read("a")).toBeUndefined();
    await storage.write("a", Uint8Array.of(1, 2, 3).subarray(1));
    await storage.write("b.safetensors", new Uint8Array());
    await storage.write("a", Uint8Array.of(4));
    expect(await storage.read("a")).toEqual(Uint8Array.of(4));
    expect(await storage.read("b.safetensors")).toEqual(new Uint8Array());
    expect(await storage.names()).toEqual(["a", "b.safetensors"]);
    await storage.delete("a");
    await storage.delete("nothing");
    expect(await storage.names()).toEqual(["b.safetensors"]);
    expect(await storage.read("a")).toBeUndefined();
  });

  test("is no other's memory", async () => {
    const storage = await open();
    const mine = Uint8Array.of(1);
    await storage.write("mine", mine);
    mine[0] = 2;
    const read = await storage.read("mine");
    read![0] = 3;
    expect(await storage.read("mine")).toEqual(Uint8Array.of(1));
  });

  test.each(["", "../x", "a/b", ".hidden", "a\0b", "x".repeat(101), "é"])("refuses the name %j", async (name) => {
    const storage = await open();
    await expect(storage.write(name, new Uint8Array())).rejects.toThrow(StorageError);
    await expect(storage.read(name)).rejects.toThrow(StorageError);
    await expect(storage.delete(name)).rejects.toThrow(StorageError);
  });
});

describe("a folder", () => {
  test("is its owner's alone", async () => {
    const storage = await FolderStorage.open(join(scratch, "own"));
    await storage.write("a", Uint8Array.of(1));
    expect((await stat(storage.folder)).mode & 0o777).toBe(0o700);
    expect((await stat(join(storage.folder, "a"))).mode & 0o777).toBe(0o600);
  });

  test("leaves nothing of what cannot be written", async () => {
    const storage = await FolderStorage.open(join(scratch, "odd"));
    await mkdir(join(storage.folder, "a", "b"), { recursive: true });
    await expect(storage.write("a", Uint8Array.of(1))).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
    expect(await readdir(storage.folder)).toEqual(["a"]);
  });

  test("loses nothing when its program is killed during a save", async () => {
    const folder = join(scratch, "killed");
    let interrupted = 0;
    let acknowledged = 0;
    for (let round = 0; round < 10 || (!interrupted && round < 100); round++) {
      acknowledged = await killed(folder, (round * 7) % 13, acknowledged);
      const left = (await readdir(folder)).filter((name) => name.includes("unfinished"));
      interrupted += left.length;
      const storage = await FolderStorage.open(folder);
      expect(await readdir(folder)).toEqual(["state"]);
      const state = await storage.read("state");
      const n = state![0]!;
      expect([acknowledged, (acknowledged % 250) + 1]).toContain(n); // what was acknowledged, or the one after it
      expect(state).toEqual(new Uint8Array(200_000 + 1000 * n).fill(n));
    }
    expect(interrupted).toBeGreaterThan(0); // else no save was hit
  });

  test("leaves alone what a living process writes", async () => {
    const folder = join(scratch, "living");
    await FolderStorage.open(folder);
    const other = `.a.unfinished-${process.ppid}-0123456789abcdef`;
    await writeFile(join(folder, other), "x");
    await FolderStorage.open(folder);
    expect(await readdir(folder)).toEqual([other]);
  });
});

/** The last n that the victim said before it was killed, some milliseconds after its first. */
async function killed(folder: string, milliseconds: number, before: number): Promise<number> {
  const victim = spawn(process.execPath, [new URL("victim.mjs", import.meta.url).pathname, folder]);
  let said = "";
  victim.stdout.on("data", (part: Buffer) => (said += part.toString()));
  let trouble = "";
  victim.stderr.on("data", (part: Buffer) => (trouble += part.toString()));
  await Promise.race([once(victim.stdout, "data"), once(victim, "exit")]);
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  victim.kill("SIGKILL");
  await once(victim, "close");
  expect(trouble).toBe("");
  return Number(said.split("\n").at(-2) ?? before);
}

describe("IndexedDB", () => {
  test("keeps the old content where a transaction is aborted", async () => {
    const own = new IDBFactory();
    const storage = await IndexedDbStorage.open("aborted", own);
    await storage.write("a", Uint8Array.of(1));
    const database = (storage as unknown as { database: IDBDatabase }).database;
    const transaction = database.transaction.bind(database);
    database.transaction = (...given) => {
      const made = transaction(...given);
      queueMicrotask(() => made.abort());
      return made;
    };
    await expect(storage.write("a", Uint8Array.of(2))).rejects.toThrow(StorageError);
    database.transaction = transaction;
    expect(await storage.read("a")).toEqual(Uint8Array.of(1));
    storage.close();
    expect(await (await IndexedDbStorage.open("aborted", own)).read("a")).toEqual(Uint8Array.of(1));
  });

  test("says where there is none", async () => {
    await expect(IndexedDbStorage.open("x", undefined)).rejects.toThrow(/no IndexedDB/);
  });
});

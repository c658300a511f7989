import { expect, test } from "vitest";

import { MemoryStorage, StorageError } from "../../src/index.js";
import { Overflow } from "../src/worker/room/overflow.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

class Small extends MemoryStorage {
  full = false;

  override async write(name: string, content: Uint8Array): Promise<void> {
    if (this.full) throw new StorageError("QuotaExceededError: it is full");
    await super.write(name, content);
  }
}

test("a deletion works where nothing can be written, and is stored as soon as it fits", async () => {
  const below = new Small();
  const storage = new Overflow(below);
  const told = async (one: Small | Overflow): Promise<Record<string, string>> =>
    Object.fromEntries(
      await Promise.all(
        (await one.names()).map(async (name) => [name, new TextDecoder().decode(await one.read(name))] as const),
      ),
    );
  await storage.write("drawing", bytes("a heart"));
  await storage.write("record", bytes("1 drawing"));
  const before = await told(below);
  below.full = true;
  await expect(storage.write("more", bytes("a star"))).rejects.toThrow("it is full");
  expect([await told(storage), storage.heldBack]).toEqual([before, ""]);

  await storage.holding(async () => {
    await storage.write("record", bytes("0 drawings"));
    await storage.delete("drawing");
  });
  expect(await told(storage)).toEqual({ record: "0 drawings" });
  expect([await told(below), storage.heldBack]).toEqual([before, "QuotaExceededError: it is full"]);
  await expect(storage.write("more", bytes("a star"))).rejects.toThrow("it is full");

  below.full = false;
  await storage.write("more", bytes("a star"));
  expect(await told(below)).toEqual({ more: "a star", record: "0 drawings" });
  expect([await told(storage), storage.heldBack]).toEqual([await told(below), ""]);
});

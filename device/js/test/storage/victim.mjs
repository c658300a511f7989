// node victim.mjs FOLDER: writes "state" again and again, the n-th time as bytes of n, and says each n that is acknowledged.

import { writeSync } from "node:fs";

import { FolderStorage } from "../../dist/node/index.js";

const storage = await FolderStorage.open(process.argv[2]);
const before = await storage.read("state");
for (let n = (before?.[0] ?? 0) + 1; ; n = (n % 250) + 1) {
  await storage.write("state", new Uint8Array(200_000 + 1000 * n).fill(n));
  writeSync(1, `${n}\n`);
}

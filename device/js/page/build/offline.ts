// The service worker, with the first load's files, their checksums, and a version that changes with any of them.

import { createHash } from "node:crypto";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { transformWithEsbuild, type Plugin } from "vite";

import { isFirst } from "./first-load.js";

export function offline(source: string): Plugin {
  return {
    name: "offline",
    apply: "build",
    enforce: "post",
    async writeBundle(_, written) {
      const { publicDir, build } = this.environment.config;
      const folder = build.outDir;
      const sums: Record<string, string> = {};
      const files = [...Object.keys(written), ...(await readdir(publicDir))].filter(isFirst).sort();
      for (const file of files) sums[file] = sha256(await readFile(join(folder, file)));
      const define = {
        SUMS: JSON.stringify(sums),
        VERSION: JSON.stringify(sha256(JSON.stringify(sums)).slice(0, 12)),
      };
      const text = await readFile(source, "utf8");
      const { code } = await transformWithEsbuild(text, source, { define, minify: true, format: "iife" });
      await writeFile(join(folder, "sw.js"), code);
    },
  };
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

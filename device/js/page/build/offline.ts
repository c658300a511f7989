// The service worker, with the list of the first load's files and a version that changes with any of them.

import { createHash } from "node:crypto";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { transformWithEsbuild, type Plugin } from "vite";

import { isFirst } from "./first-load.js";

export function offline(source: string): Plugin {
  let folder = "";
  let publicFolder = "";
  return {
    name: "offline",
    apply: "build",
    enforce: "post",
    configResolved(config) {
      folder = config.build.outDir;
      publicFolder = config.publicDir;
    },
    async writeBundle(_, written) {
      const digest = createHash("sha256");
      const files = [...Object.keys(written), ...(await readdir(publicFolder))].filter(isFirst).sort();
      for (const file of files) digest.update(file).update(await readFile(join(folder, file)));
      const define = {
        FILES: JSON.stringify(["./", ...files.filter((file) => file !== "index.html")]),
        VERSION: JSON.stringify(digest.digest("hex").slice(0, 12)),
      };
      const text = await readFile(source, "utf8");
      const { code } = await transformWithEsbuild(text, source, { define, minify: true, format: "iife" });
      await writeFile(join(folder, "sw.js"), code);
    },
  };
}

// What a first visit loads, gzipped, file by file; a build that is over the limit fails.

import { readFile, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";

import { isFirst } from "./first-load.js";

const MOST = 5e6; // bytes, gzipped

export function sizes(): Plugin {
  return {
    name: "sizes",
    apply: "build",
    enforce: "post",
    async closeBundle() {
      const folder = this.environment.config.build.outDir;
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const paths = entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
      const found: (readonly [string, number])[] = [];
      for (const path of paths.sort())
        found.push([relative(folder, path), gzipSync(await readFile(path), { level: 9 }).length]);
      const first = found.filter(([file]) => isFirst(file) || file === "sw.js");
      const later = found.filter(([file]) => !first.some(([other]) => other === file));
      const report = [
        "first load, gzipped:",
        ...first.map(line),
        line(["in all", sum(first)]),
        "WebGPU, only when it is asked for:",
        ...later.map(line),
        line(["in all", sum(later)]),
      ];
      console.log(report.join("\n"));
      if (sum(first) > MOST) this.error(`the first load is ${sum(first)} bytes gzipped, expected at most ${MOST}`);
    },
  };
}

function line([file, bytes]: readonly [string, number]): string {
  return `  ${(bytes / 1000).toFixed(1).padStart(8)} kB  ${file}`;
}

function sum(files: readonly (readonly [string, number])[]): number {
  return files.reduce((all, [, bytes]) => all + bytes, 0);
}

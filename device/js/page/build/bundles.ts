// Puts the mentees' bundles, which `make page` has exported, beside the page.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Plugin } from "vite";

import { ROOMS } from "../src/shared/settings.js";

export function bundles(folder: string): Plugin {
  return {
    name: "bundles",
    apply: "build",
    async generateBundle() {
      for (const [room, { bundle }] of Object.entries(ROOMS)) {
        const source = await readFile(join(folder, `${room}.zip`)).catch(() => null);
        if (source === null)
          return this.error(`${join(folder, `${room}.zip`)} is not there: run make page, which exports it`);
        this.emitFile({ type: "asset", fileName: bundle, source });
      }
    },
  };
}

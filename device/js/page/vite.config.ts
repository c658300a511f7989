// Builds the page into build/page: static files with relative addresses, which any host can serve.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

import { bundles } from "./build/bundles.js";
import { offline } from "./build/offline.js";
import { policy } from "./build/policy.js";
import { sizes } from "./build/sizes.js";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  base: "./",
  build: {
    outDir: here("../../../build/page"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
  },
  worker: { format: "es" },
  plugins: [
    policy(),
    bundles(process.env["MENTEE_PAGE_BUNDLES"] ?? here("../../../.cache/page")),
    offline(here("sw/sw.ts")),
    sizes(),
  ],
});

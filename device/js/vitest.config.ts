import { defineConfig } from "vitest/config";

// One process, one file at a time: the machine is a small one, and other tests run beside these.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/build.ts",
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});

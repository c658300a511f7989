// Builds dist/ before the tests, for programs that they start.

import { execFileSync } from "node:child_process";

export default function build(): void {
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "--project", "tsconfig.build.json"], {
    stdio: "inherit",
  });
}

// Lighthouse's judgement of the built page: node score.mjs FOLDER. Fails below 90 of 100 for performance or accessibility.
//
// Lighthouse is no package of this project: npx fetches it, 201 packages, the first time. CHROME_PATH names the browser.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const LIGHTHOUSE = "lighthouse@12.8.2";
const LEAST = 0.9;
const [folder = ""] = process.argv.slice(2);
const server = spawn(process.execPath, [fileURLToPath(new URL("serve.mjs", import.meta.url)), folder, "0"]);
const scratch = await mkdtemp(join(tmpdir(), "mentee-score-"));
try {
  const [said] = await once(server.stdout, "data");
  const [address = ""] = /http:\S+/.exec(said) ?? [];
  const report = join(scratch, "report.json");
  const words = ["--only-categories=performance,accessibility", "--output=json", `--output-path=${report}`, "--quiet"];
  const browser = "--chrome-flags=--headless=new --no-sandbox";
  execFileSync("npx", ["--yes", LIGHTHOUSE, address, ...words, browser], { stdio: ["ignore", "inherit", "inherit"] });
  const { categories, audits } = JSON.parse(await readFile(report, "utf8"));
  for (const { title, score } of Object.values(categories)) {
    console.log(`${title}: ${Math.round(100 * score)}`);
    if (score < LEAST) process.exitCode = 1;
  }
  for (const name of ["largest-contentful-paint", "total-blocking-time", "cumulative-layout-shift"])
    console.log(`  ${audits[name].title}: ${audits[name].displayValue}`);
} finally {
  server.kill();
  await rm(scratch, { recursive: true, force: true });
}

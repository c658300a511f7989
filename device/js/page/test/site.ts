// The built page, served as `make page` serves it, and what the Python program drew for it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that tests/device/page/making.py filled: site/ and strokes.json. */
export const MADE = process.env["MENTEE_PAGE"] ?? "";

/** One point (x, y, pressure); a drawing is a list of strokes. */
export type Point = readonly [number, number, number];
export type Drawn = readonly (readonly Point[])[];

/** Of a shape by one hand: drawings to teach it with, and others. */
export interface Shape {
  readonly name: string;
  readonly teach: readonly Drawn[];
  readonly ask: readonly Drawn[];
}

/** `shapes`: ten that the base has not seen; `known`: some that it has. */
export function strokes(): { readonly shapes: readonly Shape[]; readonly known: readonly Shape[] } {
  return JSON.parse(readFileSync(join(MADE, "strokes.json"), "utf8")) as ReturnType<typeof strokes>;
}

export interface Served {
  readonly origin: string;
  close(): Promise<void>;
}

export async function serve(folder = join(MADE, "site")): Promise<Served> {
  const server = spawn(process.execPath, [fileURLToPath(new URL("../serve.mjs", import.meta.url)), folder, "0"]);
  let said = "";
  server.stdout.on("data", (part: Buffer) => (said += part.toString()));
  while (!said.includes("\n")) await Promise.race([once(server.stdout, "data"), once(server, "exit")]);
  const origin = /http:\/\/localhost:\d+/.exec(said)?.[0];
  if (origin === undefined) throw new Error(`the page is not served: ${said}`);
  return {
    origin,
    close: async () => {
      if (server.exitCode !== null || server.signalCode !== null) return;
      const gone = once(server, "exit");
      server.kill();
      await gone;
    },
  };
}

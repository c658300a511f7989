// A headless Chromium that runs a page of ours, and what the page says.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { place } from "../fixtures.js";

export const CHROMIUM: string | null = found();

const TYPES: Record<string, string> = {
  js: "text/javascript",
  mjs: "text/javascript",
  wasm: "application/wasm",
  json: "application/json",
};
const ROOTS: Record<string, (path: string) => string | URL> = {
  dist: (path) => new URL(`../../dist/${path}`, import.meta.url),
  ort: (path) => new URL(`../../node_modules/onnxruntime-web/dist/${path}`, import.meta.url),
  fixtures: (path) => place(path),
};

/** One server for pages; `said` are the messages of the page that is open. */
export class Browser {
  private child: ChildProcess | null = null;
  private script = "";
  private said: any[] = [];
  private heard: (() => void) | null = null;

  private constructor(
    private readonly server: Server,
    private readonly profile: string,
  ) {}

  static async start(profile: string): Promise<Browser> {
    const server = createServer();
    const browser = new Browser(server, profile);
    server.on("request", (request, response) => {
      if (request.method === "POST") {
        let body = "";
        request.on("data", (part) => (body += part));
        request.on("end", () => {
          response.end();
          browser.said.push(JSON.parse(body));
          browser.heard?.();
        });
        return;
      }
      void browser.content(request.url ?? "/").then(
        ([type, content]) => response.writeHead(200, { "content-type": type }).end(content),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return browser;
  }

  /** Opens a page that runs `script`, the body of an async function with `say(what)`. */
  open(script: string): void {
    this.said = [];
    this.script = script;
    const flags = [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--no-first-run",
      `--user-data-dir=${this.profile}`,
    ];
    const url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
    this.child = spawn(CHROMIUM ?? "", [...flags, url], { stdio: "ignore", detached: true });
  }

  /** The first message that `wanted` holds of; what a page threw is thrown here. */
  async hear(wanted: (said: any) => boolean = () => true): Promise<any> {
    for (;;) {
      const wrong = this.said.find((one) => one.error !== undefined);
      if (wrong) throw new Error(wrong.error);
      const one = this.said.find(wanted);
      if (one !== undefined) return one;
      await new Promise<void>((resolve) => (this.heard = resolve));
    }
  }

  /** The last message so far. */
  get last(): any {
    return this.said.at(-1);
  }

  /** All of its processes at once, as when the power goes. */
  async kill(): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child?.pid === undefined || child.exitCode !== null) return;
    const gone = once(child, "exit");
    process.kill(-child.pid, "SIGKILL"); // its group, which it leads
    await gone;
  }

  async close(): Promise<void> {
    await this.kill();
    this.server.closeAllConnections();
    this.server.close();
  }

  private async content(url: string): Promise<[string, string | Buffer]> {
    if (url === "/") return ["text/html", page(this.script)];
    const [, root = "", ...parts] = decodeURIComponent(url).split("/");
    const file = ROOTS[root]?.(parts.join("/"));
    if (file === undefined || parts.includes("..")) throw new Error(`no file ${url}`);
    return [TYPES[url.split(".").at(-1) ?? ""] ?? "application/octet-stream", await readFile(file)];
  }
}

function page(script: string): string {
  return `<script type="module">
const say = (what) => fetch("/", { method: "POST", body: JSON.stringify(what) });
try {
  ${script}
} catch (error) {
  await say({ error: String(error?.stack ?? error) });
}
</script>`;
}

function found(): string | null {
  try {
    return execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  } catch {
    return null;
  }
}

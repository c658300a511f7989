// A headless Chromium, driven over its DevTools protocol, and the site that its pages read.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { transformWithEsbuild } from "vite";

import { place } from "../fixtures.js";

/** The browser's program, or null where there is none: what needs it is skipped. */
export const CHROMIUM: string | null = found();

const FLAGS = ["--headless=new", "--no-sandbox", "--no-first-run", "--remote-debugging-port=0"];
/** Without a graphics card Chromium computes WebGPU on the CPU, slowly, if it is asked to. */
export const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

const TYPES: Record<string, string> = {
  js: "text/javascript",
  mjs: "text/javascript",
  ts: "text/javascript",
  wasm: "application/wasm",
  json: "application/json",
};
const ROOTS: Record<string, (path: string) => string> = {
  dist: (path) => fileURLToPath(new URL(`../../dist/${path}`, import.meta.url)),
  ort: (path) => fileURLToPath(new URL(`../../node_modules/onnxruntime-web/dist/${path}`, import.meta.url)),
  test: (path) => fileURLToPath(new URL(`../${path}`, import.meta.url)),
  fixtures: (path) => place(path),
};

/** One server and one profile; the browser may be killed and started again on them. */
export class Browser {
  private child: ChildProcess | null = null;
  private context: BrowserContext | null = null;

  private constructor(
    private readonly server: Server,
    private readonly profile: string,
    private readonly flags: readonly string[],
  ) {}

  static async start(flags: readonly string[] = ["--disable-gpu"], port = 0): Promise<Browser> {
    const server = createServer((request, response) => {
      void content(request.url ?? "/").then(
        ([type, body]) =>
          response.writeHead(200, { "content-type": type, "access-control-allow-origin": "*" }).end(body),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const browser = new Browser(server, await mkdtemp(join(tmpdir(), "mentee-chromium-")), flags);
    await browser.restart();
    return browser;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Starts it again on what the last one left in its profile. */
  async restart(): Promise<void> {
    const given = [...FLAGS, ...this.flags, `--user-data-dir=${this.profile}`, "about:blank"];
    const child = spawn(CHROMIUM ?? "", given, { stdio: ["ignore", "ignore", "pipe"], detached: true });
    this.child = child;
    let said = "";
    const address = await new Promise<string>((resolve, reject) => {
      child.stderr.on("data", (part: Buffer) => {
        said += part.toString();
        const listening = /DevTools listening on (ws:\S+)/.exec(said)?.[1];
        if (listening !== undefined) resolve(listening);
      });
      child.once("exit", (code) => reject(new Error(`Chromium ended with ${code}: ${said.slice(-2000)}`)));
    });
    this.context = (await chromium.connectOverCDP(address)).contexts()[0] ?? null;
  }

  /** A new tab on the site, empty; or on another `url`. */
  async tab(url = this.origin): Promise<Page> {
    const page = await this.context!.newPage();
    await page.goto(url);
    return page;
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
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** What `script`, the body of an async function, returns in the page; what it throws is thrown here. */
export async function ran(page: Page, script: string): Promise<any> {
  return page.evaluate(`(async () => {${script}})()`);
}

async function content(url: string): Promise<[string, string | Buffer]> {
  if (url === "/") return ["text/html", "<!doctype html><title>a page</title>"];
  const [, root = "", ...parts] = decodeURIComponent(url).split("/");
  const file = ROOTS[root]?.(parts.join("/"));
  if (file === undefined || parts.includes("..")) throw new Error(`no file ${url}`);
  const body = await readFile(file);
  if (url.endsWith(".ts")) return [TYPES["ts"]!, (await transformWithEsbuild(body.toString(), file)).code];
  return [TYPES[url.split(".").at(-1) ?? ""] ?? "application/octet-stream", body];
}

function found(): string | null {
  try {
    return execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
  } catch {
    return null;
  }
}

// node chromium.mjs FOLDER [BROWSER]: check.mjs in a headless Chromium (BROWSER, by default `chromium` on the path).
//
// A page replays the case and posts what came of it to this process, which serves it; exit code 1 where it cannot.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [folder, browser = "chromium"] = process.argv.slice(2);
const TYPES = { mjs: "text/javascript", wasm: "application/wasm" };
const LIMIT_MS = 120_000;
const page = `<script type="module">
const report = (what) => fetch("/result", { method: "POST", body: JSON.stringify(what) });
try {
  const { replay } = await import("/replay.mjs");
  const ort = await import("/dist/ort.training.wasm.min.mjs");
  const read = async (name) => new Uint8Array(await (await fetch("/case/" + name)).arrayBuffer());
  await report({ ...await replay(ort, read, "/dist/"), browser: navigator.userAgent });
} catch (error) {
  await report({ error: String(error?.message ?? error) });
}
</script>`;

const PLACES = {
  "/case/": (name) => join(folder, name),
  "/dist/": (name) => new URL(`node_modules/onnxruntime-web/dist/${name}`, import.meta.url),
  "/": (name) => new URL(name, import.meta.url),
};

async function serve(url) {
  if (url === "/") return ["text/html", page];
  const [prefix] = Object.keys(PLACES).filter((place) => url.startsWith(place));
  const name = url.slice(prefix.length);
  if (!/^[\w.-]+$/.test(name)) throw new Error(`no file ${url}`);
  return [TYPES[name.split(".").pop()] ?? "application/octet-stream", await readFile(PLACES[prefix](name))];
}

const profile = await mkdtemp(join(tmpdir(), "mentee-chromium-"));
let child;
try {
  const result = await new Promise((resolve, reject) => {
    const server = createServer(async (request, response) => {
      try {
        if (request.method === "POST") {
          let body = "";
          for await (const part of request) body += part;
          response.end();
          resolve(JSON.parse(body));
          return;
        }
        const [type, content] = await serve(request.url);
        response.writeHead(200, { "content-type": type }).end(content);
      } catch {
        response.writeHead(404).end();
      }
    }).unref();
    server.listen(0, "127.0.0.1", () => {
      const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", `--user-data-dir=${profile}`];
      child = spawn(browser, [...flags, `http://127.0.0.1:${server.address().port}/`], { stdio: "ignore" });
      child.on("error", reject);
      child.on("exit", (code) => reject(new Error(`${browser} ended with ${code} before the page had a result`)));
    });
    setTimeout(() => reject(new Error(`no result after ${LIMIT_MS / 1000} s`)), LIMIT_MS).unref();
  });
  if (result.error) throw new Error(result.error);
  console.log(JSON.stringify(result));
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
} finally {
  if (child?.exitCode === null) {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill();
    await gone;
  }
  await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

// Serves the built page on this machine, gzipped as hosts do: node serve.mjs FOLDER PORT

import { createServer } from "node:http";
import { readFile, readdir, stat } from "node:fs/promises";
import { extname, resolve, sep } from "node:path";
import { promisify } from "node:util";
import { createHash } from "node:crypto";
import { gzip } from "node:zlib";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};
const zipped = promisify(gzip);
const [folder = "", port = "8000"] = process.argv.slice(2);
const root = resolve(folder);
const cache = new Map();

/** A file's bytes, gzipped once, and what names its content; null where there is none. */
async function found(path) {
  const file = resolve(root, `.${decodeURIComponent(path).replace(/\/$/, "/index.html")}`);
  const about = file.startsWith(root + sep) ? await stat(file).catch(() => null) : null;
  if (!about?.isFile()) return null;
  const there = cache.get(file);
  if (there?.time === about.mtimeMs) return there.content;
  const content = read(file);
  cache.set(file, { time: about.mtimeMs, content });
  return content;
}

async function read(file) {
  const plain = await readFile(file);
  const tag = `"${createHash("sha256").update(plain).digest("hex").slice(0, 16)}"`;
  return { tag, body: await zipped(plain, { level: 9 }), type: TYPES[extname(file)] ?? "application/octet-stream" };
}

const server = createServer(async (request, response) => {
  const file = await found(new URL(request.url ?? "/", "http://localhost").pathname).catch(() => null);
  if (file === null) return response.writeHead(404).end("not found");
  const headers = { etag: file.tag, "cache-control": "no-cache", "x-content-type-options": "nosniff" };
  if (request.headers["if-none-match"] === file.tag) return response.writeHead(304, headers).end();
  const about = { "content-type": file.type, "content-encoding": "gzip", "content-length": file.body.length };
  response.writeHead(200, { ...headers, ...about }).end(request.method === "HEAD" ? undefined : file.body);
});
server.on("error", (error) => {
  console.error(`cannot serve on port ${port} (${error.code}): give another, as in make page PORT=8001`);
  process.exit(1);
});
server.listen(Number(port), "127.0.0.1", () =>
  console.log(`the page is at http://localhost:${server.address().port}/   (Ctrl-C ends it)`),
);

const files = await readdir(root, { recursive: true }).catch(() => []);
for (const file of files) if (!/webgpu|asyncify/.test(file)) await found(`/${file.split(sep).join("/")}`); // so that the first visitor waits less

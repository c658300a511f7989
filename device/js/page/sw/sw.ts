// Keeps the page's files: the first load's at once, others (WebGPU's) when they are asked for. What is here needs no network.

export {};

declare global {
  interface Request {
    readonly isReloadNavigation?: boolean; // not in TypeScript's library
  }
}
declare const self: ServiceWorkerGlobalScope;
declare const SUMS: Readonly<Record<string, string>>; // sha256 of the first load's files, by the build
declare const VERSION: string; // changes with any of them

const HERE = new URL("./", self.location.href).href;
const TAKE_OVER = "take over";
const AGAIN = '<script>location.reload()</script><link rel="icon" href="./icon.svg" />'; // which the new one answers
const CACHE = `mentee-page-${VERSION}`;

self.addEventListener("install", (event) => {
  event.waitUntil(Promise.all(Object.entries(SUMS).map(([file, sum]) => kept(file, sum))));
});

/** Throws for a file that is not whole: it would be answered until the next build. */
async function kept(file: string, sum: string): Promise<void> {
  const path = file === "index.html" ? "./" : file;
  const response = await fetch(path, { cache: "no-cache" }); // what the page has just loaded is not sent again
  const whole = response.clone();
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.arrayBuffer()));
  if ([...found].map((byte) => byte.toString(16).padStart(2, "0")).join("") !== sum)
    throw new Error(`${file} is missing or damaged`);
  await (await caches.open(CACHE)).put(path, whole);
}

/** The page that is open goes on with the files that it came with; the next one has the new ones, and so has this after a reload. */
self.addEventListener("activate", (event) => {
  event.waitUntil(cleared().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === self.location.origin) event.respondWith(answer(event.request));
});

self.addEventListener("message", ({ data }) => {
  if (data === TAKE_OVER) void self.skipWaiting();
});

/** A browser counts a page that is reloaded as one that is open: what waits for it to be closed would wait on. */
async function newer(request: Request): Promise<Response | null> {
  const { waiting } = self.registration;
  if (!request.isReloadNavigation || waiting === null || (await self.clients.matchAll()).length > 1) return null;
  waiting.postMessage(TAKE_OVER);
  return new Response(AGAIN, { headers: { "content-type": "text/html" } });
}

async function answer(request: Request): Promise<Response> {
  const again = await newer(request);
  if (again !== null) return again;
  const cache = await caches.open(CACHE);
  const asked = request.url.split(/[?#]/)[0] === new URL("index.html", HERE).href ? HERE : request;
  const there = await cache.match(asked, { ignoreSearch: true, ignoreVary: true });
  if (there !== undefined) return there;
  const fetched = await fetch(request);
  const ours = request.url.startsWith(new URL("assets/", HERE).href); // other pages of the host are not the page's to keep
  if (ours && fetched.status === 200) await cache.put(request, fetched.clone()).catch(() => undefined); // no space for it
  return fetched;
}

async function cleared(): Promise<void> {
  for (const name of await caches.keys())
    if (name.startsWith("mentee-page-") && name !== CACHE) await caches.delete(name);
}

// Keeps the page's files: the first load's at once, others (WebGPU's) when they are asked for. What is here needs no network.

export {};

declare const self: ServiceWorkerGlobalScope;
declare const FILES: readonly string[]; // of the first load, by the build
declare const VERSION: string; // changes with any of them

const HERE = new URL("./", self.location.href).href;
const CACHE = `mentee-page-${VERSION}`;

self.addEventListener("install", (event) => {
  const fresh = FILES.map((file) => new Request(file, { cache: "no-cache" })); // what the page has just loaded is not sent again
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});

/** The page that is open goes on with the files that it came with; the next one has the new ones. */
self.addEventListener("activate", (event) => {
  event.waitUntil(cleared().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === self.location.origin) event.respondWith(answer(event.request));
});

async function answer(request: Request): Promise<Response> {
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

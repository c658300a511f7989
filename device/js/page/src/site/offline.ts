// The service worker, which keeps the page for when there is no network. It comes last: the first load does not wait for it.

export async function installOffline(): Promise<void> {
  if (!("serviceWorker" in navigator) || import.meta.env.DEV) return;
  try {
    await navigator.serviceWorker.register(new URL("sw.js", document.baseURI), { scope: "./" });
  } catch {
    // as on a plain http:// address other than localhost: the page works, but needs the network to start
  }
}

/** Deletes what it keeps, and itself; what other pages of this host keep stays. */
export async function removeOffline(): Promise<void> {
  try {
    const here = await navigator.serviceWorker?.getRegistration(document.baseURI);
    await here?.unregister();
    if (!("caches" in globalThis)) return;
    for (const name of await caches.keys()) if (name.startsWith("mentee-page-")) await caches.delete(name);
  } catch {
    // storage is forbidden: nothing is kept
  }
}

// The paths that a bundle's files may have.

import { BundleError, shown } from "./errors.js";

export const MANIFEST = "manifest.json";
export const SIGNATURE = "manifest.sig";
const LONGEST_PATH = 1000; // characters
const LONGEST_NAME = 255; // bytes of one part: what file systems take

/** Throws BundleError unless `path` names a file in the bundle's folder on every system, and not the manifest. */
export function checkPath(path: string): void {
  const parts = path.split("/");
  const odd = /[\u0000-\u001f\\:*?"<>|]|\p{Surrogate}/u.test(path);
  const long =
    [...path].length > LONGEST_PATH || parts.some((part) => new TextEncoder().encode(part).length > LONGEST_NAME);
  if (odd || long || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw new BundleError(
      `path ${shown(path, 200)} leaves the bundle's folder or is not a plain relative path with '/': refused`,
    );
  }
  if (path === MANIFEST || path === SIGNATURE) {
    throw new BundleError(
      `manifest.json lists itself in \`files\`, or its signature ("${path}"): neither can hold its own sha256`,
    );
  }
}

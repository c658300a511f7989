// Whose answers a bundle's pack has, and which service may be asked for more of them.

import { BundleError, shown } from "../errors.js";
import { get } from "./fields.js";
import type { JsonObject } from "../../json.js";

/** `service`: an address, "" where none is named. */
export interface MentorSaid {
  readonly fingerprint: string;
  readonly service: string;
}

const SPACE = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // Python's \s
const ADDRESS = new RegExp(`^https?://[^${SPACE}/?#@]{1,290}$`, "u"); // its path is the program's own

/** Whether it is https://HOST[:PORT] or http, without a path. */
export function isAddress(address: unknown): address is string {
  return typeof address === "string" && ADDRESS.test(address);
}

/** `mentor`, null of an older manifest. Throws BundleError. */
export function readMentor(raw: JsonObject): MentorSaid | null {
  if (!raw.has("mentor")) return null;
  const about = get(raw, "mentor", "object");
  const fingerprint = get(about, "fingerprint", "text", "mentor");
  const service = about.has("service") ? get(about, "service", "text", "mentor") : "";
  if (!/^[0-9a-f]{64}$/.test(fingerprint) || (service && !isAddress(service))) {
    throw new BundleError(
      `manifest.json: mentor has fingerprint ${shown(fingerprint)} and service ${shown(service)}, expected 64 hex digits and https://HOST`,
    );
  }
  return { fingerprint, service };
}

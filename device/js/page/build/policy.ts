// The Content-Security-Policy, in a meta tag so that every host serves it: no other origin, in the worker neither.

import type { Plugin } from "vite";

const RULES = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self' blob:", // a blob's worker has this policy, a file's has none
  "connect-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
];

export function policy(): Plugin {
  return {
    name: "policy",
    apply: "build", // Vite's own server puts styles into the page
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: RULES.join("; ") },
        injectTo: "head-prepend",
      },
    ],
  };
}

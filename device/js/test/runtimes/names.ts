// The bundles that tests/device/js/runtimes.py recorded a run of.

export const NAMES = ["adamw", "everything", "nesterov", "depthwise", "transformer", "gru"] as const;

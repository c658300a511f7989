"""Verbs of the command line: make, preflight, inspect, verify, keygen. Each takes SETTING=VALUE arguments."""

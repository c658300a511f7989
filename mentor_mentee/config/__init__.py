"""The command line: YAML files, overrides, mistakes in one line, help."""

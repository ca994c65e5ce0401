"""DVC and git: stages, data, results, and training on another machine."""

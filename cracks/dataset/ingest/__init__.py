"""From the sources into shards, the manifest and the quarantine list."""

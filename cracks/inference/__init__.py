"""What serving needs, and no more: networks, bundles, the handover, batches, photographs."""

//! What this machine has: facts, tools found by probes, pressure, free space, installations.

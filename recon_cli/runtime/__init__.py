"""The machine, and code that is not ours: devices, processes, files larger than memory, torch as its caller has set it."""

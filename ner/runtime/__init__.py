"""The machine: devices, log, processes, how a program ends."""

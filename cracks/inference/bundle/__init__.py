"""The bundle that serving loads: files, calibration, novelty, parity."""

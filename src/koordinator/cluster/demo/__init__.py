"""The demo: a service and batch jobs on this machine, alone, unprotected, and under Koordinator."""

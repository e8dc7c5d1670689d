"""The integer network: its arithmetic, its file and what runs it; no torch unless its engine is asked for."""

"""The report of a run: figures from its log, pictures, one HTML page."""

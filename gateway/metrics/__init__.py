"""What a scrape of `/metrics` reads: numbers from the record, times, and states. Loaded only where it is configured."""

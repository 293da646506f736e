"""The gateway beside others, under growth, over a million requests, and part by part; see docs/performance.md."""

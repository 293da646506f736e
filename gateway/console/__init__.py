"""The console: pages for people, a client of the gateway's own calls. It is loaded only with `console`."""

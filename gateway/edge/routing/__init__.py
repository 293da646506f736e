"""From a request that the door let in to what answers it: the table of routes, and the calls that send."""

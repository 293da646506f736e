"""Makes what is handed out of a commit: archives, the list of parts, sums, and the pages as a site."""

"""Who is calling, how much they may ask, and the settings in force."""

"""What policy files say (`model`, `rules`), how they are loaded (`load`), and the judgement (`decide`)."""

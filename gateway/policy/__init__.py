"""The rules of policy files (`model`, `rules`), their reader (`format`), and the judgement (`decide`, `choose`)."""

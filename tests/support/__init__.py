"""What the tests share: a started gateway, and reading its record."""

"""The strict readers of files that people write, with the place of every problem; secrets; files that change."""

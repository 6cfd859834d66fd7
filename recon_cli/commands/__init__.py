"""One subcommand per file, each a paragraph: parse, call the engine, report, write."""

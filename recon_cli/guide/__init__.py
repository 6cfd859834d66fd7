"""One topic a file, in Markdown: what ``recon guide TOPIC`` shows and the README links to."""

"""An OpenAI-compatible API over HTTP for every backend of a workspace. Knows the workspace; not the command line or pages."""

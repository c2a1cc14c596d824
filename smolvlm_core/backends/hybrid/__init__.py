"""Pictures by the vision encoder in this process, words by llama.cpp: the same prompt and tokens as transformers, sooner."""

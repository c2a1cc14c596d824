"""llama-server processes: started, watched, shared, stopped."""

from smolvlm_core.servers.llama_server import LlamaServer, ServerOptions

__all__ = ["LlamaServer", "ServerOptions"]

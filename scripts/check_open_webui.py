"""Proves that an image question passes through Open WebUI to a server, and that the answer comes from the image.

    python -m scripts.check_open_webui --url http://127.0.0.1:8080 --email a@example.org --password …

Signs in (or signs up if there is no account yet), lists the models, then asks the vision check's questions through Open WebUI's own API.
The exit code is that of the check.
"""

from __future__ import annotations

import argparse

import httpx

from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.check import check
from smolvlm_core.cli.check import EXIT_CODES, print_verdict


def token(url: str, email: str, password: str) -> str:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        account = {"email": email, "password": password}
        answer = client.post("/api/v1/auths/signin", json=account)
        if answer.status_code != 200:
            answer = client.post("/api/v1/auths/signup", json={**account, "name": "SmolVLM Lens"})
        answer.raise_for_status()
        return str(answer.json()["token"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--email", default="lens@example.org")
    parser.add_argument("--password", default="a long password 1")
    parser.add_argument("--model", default="", help="its name there (default: the first one listed)")
    args = parser.parse_args()
    key = token(args.url, args.email, args.password)
    listed = httpx.get(f"{args.url}/api/models", headers={"Authorization": f"Bearer {key}"}, trust_env=False).json()
    names = [model["id"] for model in listed["data"]]
    print(f"models: {', '.join(names) or 'none'}")
    verdict = check(OpenAIBackend(f"{args.url}/api", args.model or names[0], key))
    print_verdict(f"{args.model or names[0]} through Open WebUI", verdict)
    for asked in verdict.asked[:3]:
        print(f"{asked.canary.question} ({asked.condition}) {asked.answer}")
    return EXIT_CODES[verdict.verdict]


if __name__ == "__main__":
    raise SystemExit(main())

"""An unmodified Python agent: urllib and a model behind HTTP, nothing of Dragons.

    python3 my_agent.py MODEL_URL TASK

It asks the model, reads the answer word by word as it is made, and files a report.
urllib takes its proxy from the environment, as it always does.
"""

import json
import sys
import urllib.error
import urllib.request


def post(url, body):
    """Sends JSON and returns the answer, open, to be read as it comes."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=20)


def ask(model, task):
    """Yields the words of the model's answer, one event each."""
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": task}]}
    with post(model + "/v1/chat/completions", body) as events:
        for line in events:
            data = line.decode().strip().removeprefix("data: ")
            if data == "[DONE]":
                return
            if data:
                yield json.loads(data)["choices"][0]["delta"]["content"]


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: my_agent.py MODEL_URL TASK")
    model, task = sys.argv[1:]
    print("answer:", " ".join(ask(model, task)))
    try:
        with post(model + "/v1/files", {"report": task}) as answer:
            print("filed:", answer.status)
    except urllib.error.HTTPError as error:
        refusal = json.load(error)
        print("not filed:", error.code, refusal["title"])


if __name__ == "__main__":
    main()

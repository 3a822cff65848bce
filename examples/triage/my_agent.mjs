// An unmodified Node agent: fetch and a model behind HTTP, nothing of Dragons.
//
//     node my_agent.mjs API_URL TICKET
//
// It reads a ticket, asks the model about it, reads the answer word by word as it is made, and wants
// to close the ticket. Node's fetch goes by the proxy that its environment names, as every program of
// Node's does that is started with NODE_USE_ENV_PROXY.

const [api, ticket] = process.argv.slice(2);
if (api === undefined || ticket === undefined) {
  console.error("usage: my_agent.mjs API_URL TICKET");
  process.exit(64);
}

/** The words of the model's answer, one event each. */
async function* ask(content) {
  const answer = await fetch(`${api}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "small", stream: true, messages: [{ role: "user", content }] }),
  });
  if (!answer.ok) throw new Error(`the model said ${answer.status}`);
  let rest = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + piece).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data).choices[0].delta.content;
    }
  }
}

const { title } = await (await fetch(`${api}/tickets/${ticket}`)).json();
console.log(`ticket ${ticket}: ${title}`);
console.log("answer:", (await Array.fromAsync(ask(title))).join(" "));

const closed = await fetch(`${api}/tickets/${ticket}`, { method: "DELETE" });
// A refusal says what would have been needed. It is not an error of the network, so nothing is tried again.
if (closed.ok) console.log("closed");
else console.log("not closed:", closed.status, (await closed.json()).title);

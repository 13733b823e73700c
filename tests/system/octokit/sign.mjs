// SPDX-License-Identifier: Apache-2.0
//
// Prints one line of JSON for each delivery: what it shows, its headers, and
// its body in base64, signed with the secret that is the first argument.
// Pushes and pings of every GitHub version in the package, as JSON and as a
// form; of github.com the other events, too.

import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { sign } from "@octokit/webhooks-methods";

const require = createRequire(import.meta.url);
const home = dirname(require.resolve("@octokit/webhooks-examples/package.json"));
const secret = process.argv[2];

function print(name, event, type, signature, body) {
  const line = JSON.stringify({
    name,
    event,
    headers: {
      "X-GitHub-Event": event,
      "X-GitHub-Delivery": randomUUID(),
      "Content-Type": type,
      "X-Hub-Signature-256": signature,
    },
    body: Buffer.from(body).toString("base64"),
  });
  process.stdout.write(line + "\n");
}

for (const entry of readdirSync(home, { withFileTypes: true })) {
  if (!entry.isDirectory() || !/^(api\.github\.com|ghes-)/.test(entry.name)) continue;
  for (const { name: event, examples } of require(join(home, entry.name, "index.json"))) {
    const ours = event === "push" || event === "ping";
    if (!ours && entry.name !== "api.github.com") continue;
    for (const [i, payload] of examples.entries()) {
      const name = `${entry.name} ${event} ${i}`;
      const json = JSON.stringify(payload);
      print(name, event, "application/json", await sign(secret, json), json);
      if (!ours) continue;
      const form = new URLSearchParams({ payload: json }).toString();
      const formType = "application/x-www-form-urlencoded";
      print(`${name} form`, event, formType, await sign(secret, form), form);
      print(`${name} wrong secret`, event, "application/json", await sign(`${secret}x`, json), json);
      print(`${name} changed body`, event, "application/json", await sign(secret, json), json + " ");
    }
  }
}
